"""What all trackers share: places on the time axis, plain names, and a failure that does not stop training."""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pertinent.engine.events import read_events
from pertinent.errors import MissingDependencyError, TrainingError


class Tracker:
    """A listener that sends numbers of one run to an experiment tracker.

    It opens at the first event, which is `start` or `resume`, so that a resumed run goes on in the same place of the
    tracker. A tracker that cannot be opened stops training before the first step; one that fails later warns once and
    is silent from then on, because `log.jsonl` holds everything anyway.

    Args:
        folder: the run folder; its name is the run's name in the tracker.
        settings: the recipe as plain values.

    Raises:
        MissingDependencyError: the tracker's package is not installed.
        TrainingError: the tracker cannot be opened, for example without a login; raised at the first event.
    """

    package: str
    extra: str

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder, self.settings = Path(folder), settings
        self.module: Any = require(self.package, self.extra)
        self.steps, self.place = 0, 0
        self.is_open = self.has_failed = False

    def __call__(self, event: dict[str, Any]) -> None:
        """Send what one event holds; kinds without numbers are passed over."""
        if not self.has_failed and self._find_place(event):
            values = numbers(event)
            if values:
                self._guarded(self.log, self.place, values)

    def close(self) -> None:
        """Send what is still kept back, and end; calling it again does nothing."""
        if self.is_open and not self.has_failed:
            self._guarded(self.end)
        self.is_open = False

    def open(self, resumed: bool) -> None:
        """Begin a run in the tracker, or go on with the old one; `self.place` is the step it goes on from."""
        raise NotImplementedError

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Send numbers that belong to one step."""
        raise NotImplementedError

    def end(self) -> None:
        """End the run in the tracker."""
        raise NotImplementedError

    def _find_place(self, event: Mapping[str, Any]) -> bool:
        """Move to an event's place on the time axis; False while there is nothing open."""
        kind = event["event"]
        if kind == "start":
            self.steps, self.place = event["steps"], 0
        elif kind == "resume":
            self.steps = _steps(self.folder)
            self.place = event["epoch"] * self.steps + event["step"]
        elif kind == "step":
            self.steps = event["steps"]
            self.place = (event["epoch"] - 1) * self.steps + event["step"]
        elif kind == "epoch":
            self.place = event["epoch"] * self.steps
        if kind in ("start", "resume") and not self.is_open:
            self._begin(resumed=kind == "resume")
        return self.is_open

    def _begin(self, resumed: bool) -> None:
        try:
            self.open(resumed)
        except Exception as error:
            raise TrainingError(
                f"the tracker {self.extra} cannot be opened: {error}; put that right, or leave it out of train.trackers"
            ) from error
        self.is_open = True

    def _guarded(self, act: Any, *arguments: Any) -> None:
        try:
            act(*arguments)
        except Exception as error:  # a tracker's network fails in its own ways
            self.has_failed = True
            text = f"the tracker {self.extra} failed and is off for the rest of this run: {error}; see log.jsonl"
            warnings.warn(text, RuntimeWarning, stacklevel=2)


def require(package: str, extra: str) -> Any:
    """Import a tracker's package; raises MissingDependencyError with the command that installs it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingDependencyError(
            f"the tracker {extra} needs its package: pip install 'pertinent[{extra}]'"
        ) from error


def numbers(event: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of an event by name: `train/LOSS`, `lr/GROUP`, `speed/rate`, `val/METRIC`, `before/...`, `best/...`."""
    kind = event["event"]
    if kind == "step":
        parts, rates = (_named(group, event[key]) for group, key in (("train", "parts"), ("lr", "lr")))
        return {**parts, **rates, "speed/rate": event["rate"], "speed/memory": event["memory"]}
    if kind == "epoch":
        return _named("val", event.get("metrics", {}))
    return _named(event["name"], event["metrics"]) if kind == "evaluation" else {}


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `a.b.c` keys; lists and absent values become text."""
    result: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{key}.")
        else:
            result[f"{prefix}{key}"] = value if isinstance(value, bool | int | float | str) else json.dumps(value)
    return result


def _named(group: str, values: Mapping[str, float]) -> dict[str, float]:
    # MLflow refuses names with @, and TensorBoard rewrites them.
    return {f"{group}/{name.replace('@', '_at_')}": float(value) for name, value in values.items()}


def _steps(folder: Path) -> int:
    starts = [event for event in read_events(folder / "log.jsonl") if event["event"] == "start"]
    return int(starts[-1]["steps"]) if starts else 0
