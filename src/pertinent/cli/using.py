"""The command that writes a report, and the table of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pertinent.errors import InputError

if TYPE_CHECKING:
    from pertinent.engine.run import Run


def report(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    compare: Annotated[list[Path] | None, typer.Option(help="Another run to show beside it; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="HTML file; default RUN/report.html.")] = None,
    page: Annotated[
        str | None, typer.Option(help="Address where `serve` serves the run: failures then lead to the search page.")
    ] = None,
) -> None:
    """Write the self-contained HTML report of a run."""
    from pertinent.cli import screen
    from pertinent.engine.run import Run
    from pertinent.report.collect import report_run

    paths = [run, *(compare or [])]
    names = [path.resolve().name for path in paths]
    # Runs of one name in different folders are told apart by their paths.
    names = [name if names.count(name) == 1 else str(path) for name, path in zip(names, paths, strict=True)]
    if len(set(names)) < len(names):
        raise InputError(f"a run is given twice: {', '.join(names)}; compare different runs")
    opened, *others = [Run.open(path) for path in paths]
    path = report_run(opened, dict(zip(names[1:], others, strict=True)), names[0] if others else None, out, page)
    screen.out.print(f"report {path}", soft_wrap=True)


def show_run(run: Run) -> None:
    """Print a run's metrics before and after training."""
    from pertinent.cli import screen
    from pertinent.engine.measure import load_evaluation

    before, after = (load_evaluation(run.evaluation(name)) for name in ("before", "best"))
    columns = {"before": before["mean"], "after": after["mean"]}
    screen.out.print(screen.metric_table(columns, conventions=after["convention"]))
