"""The command that makes sweeps."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from pertinent.engine.sweep import Sweep


def sweep(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, such as happier/glyphs, or a YAML file.")],
    out: Annotated[Path, typer.Option(help="Folder of the runs and the table.")],
    words: Annotated[
        list[str] | None, typer.Argument(help="Settings: key=value, or key=a,b,c to try several; a list is [1,2].")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Make each with train.seed 0 to this less one.")] = None,
    by: Annotated[str | None, typer.Option(help="Metric that sorts the table; default evaluate.select.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the sweep in the folder.")] = False,
) -> None:
    """Train every combination of the listed settings, and compare them in a table."""
    from pertinent.cli import screen
    from pertinent.engine.sweep import Sweep

    plan = Sweep(recipe, words or [], out, seeds=seeds, by=by)
    try:
        with screen.Screen() as listener:

            def hear(event: dict[str, Any]) -> None:
                if event["event"] == "sweep":
                    listener.title = f"{event['number']}/{event['of']} {event['name']}"
                listener(event)

            for made in plan.run(resume=resume, listener=hear):
                if made is not plan.combinations[-1]:
                    screen.out.print(_table(plan))
    except KeyboardInterrupt:
        options = [*(["--seeds", str(seeds)] if seeds else []), *(["--by", by] if by else [])]
        again = shlex.join(["pertinent", "sweep", recipe, *(words or []), *options, "--out", str(out), "--resume"])
        screen.err.print(f"interrupted; go on with: {again}", soft_wrap=True)
        raise SystemExit(130) from None
    screen.out.print(_table(plan))
    screen.out.print(f"\ntable  {out / 'sweep.md'}", soft_wrap=True)
    for name, text in plan.failed.items():
        screen.err.print(f"failed: {name}: {text}", style="red", soft_wrap=True)
    if plan.failed:
        raise SystemExit(1)


def _table(plan: Sweep) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, title in enumerate(plan.header()):
        table.add_column(title, justify="left" if number < len(plan.rows[0].settings) else "right")
    for row in plan.ranked():
        table.add_row(*plan.cells(row))
    return table
