"""What a measurement leaves on disk: the report, a table, curves, and shares of the queries.

Letters: Q queries, G gallery items.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pertinent.engine.compare import Interval, Share, by_label, by_tag_count, confidence
from pertinent.engine.curves import Curve, precision_recall, precision_recall_by_radius
from pertinent.engine.judging import Trial
from pertinent.engine.report import Report
from pertinent.errors import InputError
from pertinent.files import finite, read_json, write_bytes, write_json, write_text
from pertinent.functional.code_statistics import code_statistics

MOST_POINTS = 512


def write_results(folder: Path, trial: Trial, reports: Mapping[str, Report], facts: Mapping[str, Any]) -> None:
    """Write `report.json`, `table.md`, and for measured vectors `curves.csv` and `curves.svg`.

    The report holds every query's value, confidence intervals and the metrics of each share of the queries: by label,
    or by number of tags. Where codes were ranked, also statistics of the codes.

    Raises:
        StorageError: the folder cannot be written.
    """
    said: dict[str, Any] = {**facts, "reports": {}}
    intervals = {name: confidence(report) for name, report in reports.items()}
    for name, report in reports.items():
        said["reports"][name] = {
            **report.to_json(per_query=True),
            "confidence": finite({metric: vars(interval) for metric, interval in intervals[name].items()}),
            "shares": finite([vars(share) for share in _shares(trial, report)]),
        }
    ranked = facts.get("ranking") is None and facts.get("stages") is None
    similarity = next(iter(reports.values())).similarity
    if ranked and similarity == "hamming":
        codes = trial.queries if trial.gallery is None else trial.gallery
        said["codes"] = code_statistics(codes).to_json()
    write_json(folder / "report.json", said)
    write_text(folder / "table.md", _table(reports, intervals))
    if ranked:
        curves = _curves(trial, similarity, next(iter(reports.values())).ties)
        write_text(folder / "curves.csv", _rows(curves))
        write_bytes(folder / "curves.svg", _picture(curves))


def read_results(path: Path) -> dict[str, Report]:
    """Read the reports of `write_results`, given its folder or its `report.json`.

    Raises:
        StorageError: no such file.
        InputError: it holds no reports.
    """
    content = read_json(path / "report.json" if path.is_dir() else path)
    if not isinstance(content, dict) or not content.get("reports"):
        raise InputError(f"{path} holds no reports; give the folder that `pertinent evaluate --out` wrote")
    return {name: Report.from_json(values) for name, values in content["reports"].items()}


def _table(reports: Mapping[str, Report], intervals: Mapping[str, Mapping[str, Interval]]) -> str:
    """All reports as one Markdown table, in percent, with intervals and conventions, and notes below."""
    lines = ["| | metric | value | 95% interval | queries | left out | what it is |", "|---|---|---|---|---|---|---|"]
    for name, report in reports.items():
        for row in report.table():
            interval = intervals[name].get(row.metric)
            between = f"{100 * interval.low:.2f} to {100 * interval.high:.2f}" if interval is not None else ""
            cells = (
                name,
                f"`{row.metric}`",
                f"{100 * row.mean:.2f}",
                between,
                row.queries,
                row.skipped,
                row.convention,
            )
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    notes = [note for report in reports.values() for note in report.notes()]
    return "\n".join([*lines, *([""] if notes else []), *(f"- {note}" for note in notes)]) + "\n"


def _shares(trial: Trial, report: Report) -> Sequence[Share]:
    if trial.labels is None:
        return ()
    if trial.labels.dtype == np.bool_:
        return by_tag_count(report, trial.labels)
    return by_label(report, trial.labels.reshape(len(trial.labels), -1)[:, 0], trial.label_names)


def _curves(trial: Trial, similarity: str, ties: str) -> dict[str, Curve]:
    curves = {}
    for name, relevance in trial.relevances.items():
        ranks = precision_recall(trial.queries, trial.gallery, relevance=relevance, similarity=similarity, ties=ties)
        curves[f"{name} by rank".strip()] = ranks
        if similarity == "hamming":
            curves[f"{name} by radius".strip()] = precision_recall_by_radius(
                trial.queries, trial.gallery, relevance=relevance
            )
    return curves


def _kept(curve: Curve) -> list[int]:
    """Points worth writing: all of a short curve, else ever wider apart."""
    count = len(curve.at)
    if count <= MOST_POINTS:
        return list(range(count))
    return sorted(set(np.geomspace(1, count, MOST_POINTS).astype(int) - 1))


def _rows(curves: Mapping[str, Curve]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["curve", "at", "precision", "recall", "queries that find nothing"])
    for name, curve in curves.items():
        for point in _kept(curve):
            values = (f"{curve.precision[point]:.6f}", f"{curve.recall[point]:.6f}", int(curve.empty[point]))
            writer.writerow([name, int(curve.at[point]), *values])
    return text.getvalue()


def _picture(curves: Mapping[str, Curve]) -> bytes:
    """Precision over recall, and both over the rank or radius, as an SVG."""
    # A figure of its own, not pyplot's: nothing of the caller's is touched, and no window is needed.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, curve in curves.items():
        kept = _kept(curve)
        left.plot(curve.recall[kept], curve.precision[kept], label=name)
        (line,) = right.plot(curve.at[kept], curve.precision[kept], label=f"precision {name}")
        right.plot(curve.at[kept], curve.recall[kept], "--", color=line.get_color(), label=f"recall {name}")
    left.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1))
    by_rank = all(curve.by == "rank" for curve in curves.values())
    right.set(xlabel="rank" if by_rank else "rank or radius", ylim=(0, 1), xscale="log" if by_rank else "symlog")
    right.set_xlim(left=min(int(curve.at[0]) for curve in curves.values()))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    picture = io.BytesIO()
    figure.savefig(picture, format="svg")
    return picture.getvalue()
