"""Write figures: SVG, PNG and CSV of each, and a page that shows them all."""

from __future__ import annotations

import base64
import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pertinent.engine.figures import Line, Numbers
from pertinent.files import new_folder, write_bytes, write_text
from pertinent.report._figure_drawing import DARK, LIGHT, draw
from pertinent.report._figure_set import FIGURES, Figure, FigureSet
from pertinent.report.page import DASH, render

PAGE = "index.html"
COLUMNS = ("panel", "line", "at", "x", "y", "low", "high", "runs")
_ENDINGS = ("svg", "png", "csv")


@dataclass(frozen=True)
class Shown:
    """One figure on the page.

    Attributes:
        figure: what it shows.
        light: data URI of the picture on white.
        dark: data URI of the picture on black.
        table: rows of the panels that hold one value a line: a name, and for each line a value and its range.
        around: what the ranges are.
        spoken: the picture in words.
    """

    figure: Figure
    light: str
    dark: str
    table: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    around: str
    spoken: str


def write_figures(made: FigureSet, folder: Path, title: str = "Figures") -> None:
    """Write `KEY.svg`, `KEY.png` and `KEY.csv` of every figure, and `index.html`, all or none.

    Args:
        made: the figures.
        folder: replaced where it holds older figures.
        title: of the page.

    Raises:
        StorageError: the folder holds other files, or cannot be written.
    """
    own = {PAGE, *(f"{key}.{ending}" for key in FIGURES for ending in _ENDINGS)}
    with new_folder(folder, own) as temporary:
        shown = []
        for figure in made.figures:
            light = draw(figure, made.names, LIGHT, "svg")
            write_bytes(temporary / f"{figure.key}.svg", light)
            write_bytes(temporary / f"{figure.key}.png", draw(figure, made.names, LIGHT, "png"))
            write_text(temporary / f"{figure.key}.csv", numbers(figure))
            shown.append(_shown(figure, made.names, light))
        write_text(temporary / PAGE, render("figures.html.j2", title=title, made=made, shown=shown, scale=[]))


def numbers(figure: Figure) -> str:
    """The numbers of a figure as CSV, one row a point; what is not known is left empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for panel in figure.panels:
        for line in panel.lines:
            for point in range(len(line.at)):
                values = [_number(side, point) for side in (line.x, line.y, line.low, line.high)]
                writer.writerow([panel.title, line.name, int(line.at[point]), *values, line.runs])
    return text.getvalue()


def _number(side: Numbers | None, point: int) -> str:
    return "" if side is None or math.isnan(side[point]) else f"{side[point]:.10g}"


def _shown(figure: Figure, names: Sequence[str], light: bytes) -> Shown:
    rows = []
    for panel in figure.panels:
        if panel.kind == "value":
            cells = {line.name: _cell(line) for line in panel.lines}
            rows.append((panel.title, [cells.get(name, (DASH, "")) for name in names]))
    around = dict.fromkeys(line.around for panel in figure.panels for line in panel.lines if line.around)
    spoken = "; ".join(f"{panel.title}: {', '.join(map(_ends, panel.lines))}" for panel in figure.panels)
    dark = draw(figure, names, DARK, "svg")
    return Shown(figure, _uri(light), _uri(dark), rows, "; ".join(around), spoken)


def _cell(line: Line) -> tuple[str, str]:
    """A value, and the ends of what lies around it."""
    value = f"{line.y[0]:.4f}" if math.isfinite(line.y[0]) else DASH
    if line.low is None or line.high is None or math.isnan(line.low[0]):
        return value, ""
    return value, f"{line.low[0]:.4f} to {line.high[0]:.4f}"


def _ends(line: Line) -> str:
    if len(line.y) == 1:
        return f"{line.name} {line.y[0]:.4g}"
    return f"{line.name} from {line.y[0]:.4g} to {line.y[-1]:.4g}"


def _uri(picture: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(picture).decode("ascii")
