"""What a person sees while long work goes on: a live line in a terminal, plain lines in a log."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

# Paths are shown as they are: nothing in them is markup, and in a file or a pipe no line is folded.
out = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 10_000)
err = Console(highlight=False, markup=False, emoji=False, stderr=True)

# Seconds between two progress lines where the output is no terminal.
QUIET_FOR = 15.0


class Screen:
    """A listener that shows events; use it as a context manager."""

    def __init__(self, title: str = "") -> None:
        self.title = title
        self.live = out.is_terminal
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[words]}", markup=False),
        )
        self.bar = Progress(*columns, console=out)
        self.task: Any = None
        self.printed = 0.0

    def __enter__(self) -> Screen:
        if self.live:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.bar.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        """Show one event; kinds without words are passed over."""
        words = getattr(self, f"_{event['event']}", None)
        if words is not None:
            words(event)

    def _start(self, event: dict[str, Any]) -> None:
        self._say(
            f"{event['train']:,} training pictures, {event['test']:,} to test, {event['steps']} steps an epoch, "
            f"{event['parameters'] / 1e6:.1f} M parameters, {event['device']}"
        )
        for key, words in event["losses"].items():
            self._say(f"{key}: {words}")
        for note in event["notes"]:
            self._say(f"note: {note}")

    def _resume(self, event: dict[str, Any]) -> None:
        self._say(f"resumed at epoch {event['epoch'] + 1}, step {event['step']}")

    def _step(self, event: dict[str, Any]) -> None:
        parts = " ".join(f"{name} {value:.4f}" for name, value in event["parts"].items())
        rates = " ".join(f"{name} {value:.2g}" for name, value in event["lr"].items())
        words = (
            f"step {event['step']}/{event['steps']}  {parts}  lr {rates}  {pace(event['rate'])}  "
            f"{event['memory']} MB  left {duration(event['eta'])}"
        )
        total = event["steps"] * event["epochs"]
        self._progress(
            f"epoch {event['epoch']}/{event['epochs']}",
            (event["epoch"] - 1) * event["steps"] + event["step"],
            total,
            words,
        )

    def _embed(self, event: dict[str, Any]) -> None:
        words = f"{event['done']:,}/{event['total']:,}  {pace(event['rate'])}  left {duration(event['eta'])}"
        self._progress(event.get("stage", "embedding"), event["done"], event["total"], words)

    def _epoch(self, event: dict[str, Any]) -> None:
        metrics = {name: value for name, value in event.get("metrics", {}).items() if value is not None}
        shown = "  ".join(f"{name} {100 * value:.1f}" for name, value in list(metrics.items())[:6])
        self._say(f"epoch {event['epoch']} done after {duration(event['seconds'])}" + (f": {shown}" if shown else ""))

    def _interrupted(self, event: dict[str, Any]) -> None:
        self._say(f"stopped in epoch {event['epoch'] + 1} after step {event['step']}; the checkpoint is written")

    def _end(self, event: dict[str, Any]) -> None:
        for damaged in event["damaged"]:
            self._say(f"left out: {damaged}")

    def _progress(self, title: str, done: int, total: int, words: str) -> None:
        if self.live:
            if self.task is None:
                self.task = self.bar.add_task("", total=total, words=words)
            shown = f"{self.title} {title}".strip()
            self.bar.update(self.task, description=shown, completed=done, total=total, words=words)
        elif time.monotonic() - self.printed > QUIET_FOR:
            self.printed = time.monotonic()
            self._say(f"{title}: {words}")

    def _say(self, text: str) -> None:
        out.print(Text(f"{self.title}: {text}" if self.title else text), soft_wrap=True)


def pace(rate: float) -> str:
    """Pictures a second, with decimals where they are few."""
    return f"{rate:.0f} pictures/s" if rate >= 10 else f"{rate:.2g} pictures/s"


def duration(seconds: float) -> str:
    """Seconds as `42 s`, `3 min 05 s` or `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def percent(value: float | None) -> str:
    """A value of 0..1 as a percentage with one decimal, or a dash where it is undefined."""
    return "-" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def metric_table(
    columns: Mapping[str, Mapping[str, float | None]],
    names: Sequence[str] | None = None,
    conventions: Mapping[str, str] | None = None,
) -> Table:
    """Metrics as rows and models as columns, in percent, with the convention of each."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("metric")
    for model in columns:
        table.add_column(model, justify="right")
    if conventions:
        table.add_column("what it is", style="dim", overflow="fold")
    for name in names or list(next(iter(columns.values()))):
        row = [name, *(percent(values.get(name)) for values in columns.values())]
        table.add_row(*row, *([conventions.get(name, "")] if conventions else []))
    return table
