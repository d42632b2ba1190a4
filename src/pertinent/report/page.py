"""Write a report as one HTML file that asks the network for nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pertinent.files import write_bytes
from pertinent.report.content import MetricRow, ReportContent
from pertinent.report.figures import HEIGHT, WIDTH, plots
from pertinent.report.pictures import Pictures
from pertinent.report.severity import severities, shares

DASH = "–"
_MINUS = "−"


@dataclass(frozen=True)
class Cell:
    """One number of the metric table: its text, its difference to the first model, and how many queries it skips."""

    text: str
    change: str
    improves: bool | None
    skipped: int


@dataclass(frozen=True)
class TableRow:
    """One metric of the table with a cell a model."""

    row: MetricRow
    cells: list[Cell]
    unit: str


def write_report(content: ReportContent, path: str | Path) -> Path:
    """Write a report to `path`, whole or not at all, and return the path.

    Pictures are embedded as thumbnails, each once. Folders on the way to `path` are made.

    Raises:
        StorageError: the folder cannot be made or the file cannot be written.
    """
    scale = severities(content.levels)
    table = [_table_row(row, content.models) for row in content.metrics]
    hits_in_gallery = [
        (model, shares((hit for example in content.gallery for hit in example.hits.get(model, ())), scale))
        for model in content.models
    ]
    page = render(
        "report.html.j2",
        title=content.title,
        content=content,
        scale=scale,
        table=table,
        plots=plots(content.curves, subject=content.models[-1]),
        gallery_shares=[(model, found) for model, found in hits_in_gallery if found],
    )
    return write_page(page, path)


def render(template: str, **values: Any) -> str:
    """Fill a template of this package; every value is escaped."""
    return _environment().get_template(template).render(pictures=Pictures(), shares=shares, **values)


def write_page(page: str, path: str | Path) -> Path:
    """Write the text of a page in one step; raises StorageError."""
    target = Path(path)
    write_bytes(target, page.encode("utf-8", errors="backslashreplace"))
    return target


def percent(value: float | None) -> str:
    """Return a number in 0..1 as percent with one decimal and no sign; a dash for None and NaN."""
    return f"{100 * value:.1f}" if _known(value) else DASH


def score(value: float | None) -> str:
    """Return a similarity with two decimals, or one where it is ten or more; a dash for None and NaN."""
    if not _known(value):
        return DASH
    rounded = round(value, 2 if abs(value) < 10 else 1) + 0.0  # adding zero drops the sign of a negative zero
    return (f"{rounded:.2f}" if abs(value) < 10 else f"{rounded:.1f}").replace("-", _MINUS)


def _table_row(row: MetricRow, models: Sequence[str]) -> TableRow:
    known = [value for value in row.values.values() if _known(value)]
    in_percent = row.bounded and all(-1e-6 <= value <= 1 + 1e-6 for value in known)
    show = percent if in_percent else score
    first = row.values.get(models[0])
    cells = []
    for model in models:
        value = row.values.get(model)
        change, improves = "", None
        if model != models[0] and _known(value) and _known(first):
            change = _signed(100 * (value - first), 1) if in_percent else _signed(value - first, 2)
            improves = None if change.startswith("±") else (value > first) == (row.better == "higher")
        cells.append(Cell(show(value), change, improves, row.skipped.get(model, 0)))
    return TableRow(row, cells, "%" if in_percent else "")


def _signed(difference: float, decimals: int) -> str:
    rounded = round(difference, decimals)
    sign = "±" if rounded == 0 else "+" if rounded > 0 else _MINUS
    return f"{sign}{abs(rounded):.{decimals}f}"


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, score=score)
    environment.globals.update(plot_width=WIDTH, plot_height=HEIGHT)
    return environment
