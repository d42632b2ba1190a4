"""`pertinent average`: one figure of several test sets or levels, as DyML has it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pertinent.errors import InputError

if TYPE_CHECKING:
    from pertinent.engine.report import Report


def average(
    reports: Annotated[
        list[Path],
        typer.Argument(metavar="REPORT", help="Files of `evaluate --json`: one a test set, or one with levels."),
    ],
) -> None:
    """Average reports without weights: of several test sets over the sets, of one over the levels of its labels.

    So the papers on DyML do, with three sets of Vehicle and of Animal and three levels of Product.
    """
    from pertinent.cli import screen
    from pertinent.engine.protocols import overall

    if len({path.resolve() for path in reports}) < len(reports):
        raise InputError(f"a report is given twice: {', '.join(map(str, reports))}; give each test set once")
    read = [_read(path) for path in reports]
    if len(read) == 1:
        columns = {"mean of levels": overall(read[0])}
    else:
        stems = [path.stem for path in reports]
        names = stems if len(set(stems)) == len(stems) else [str(path) for path in reports]
        columns = {name: dict(report.mean) for name, report in zip(names, read, strict=True)} | {
            f"mean of {len(read)}": overall(read)
        }
    screen.out.print(screen.metric_table(columns))


def _read(path: Path) -> Report:
    from pertinent.engine.report import Report
    from pertinent.files import read_json

    content = read_json(path)
    if not isinstance(content, dict) or "mean" not in content:
        raise InputError(f"{path} is not one report; give a file that `pertinent evaluate --json` wrote")
    return Report.from_json(content)
