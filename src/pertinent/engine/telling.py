"""Who hears what a training run tells."""

from __future__ import annotations

from typing import Any

from pertinent.engine.events import JsonLines, Listener
from pertinent.engine.recipe import Recipe
from pertinent.engine.run import Run
from pertinent.engine.trackers import TRACKERS


class Teller:
    """Passes every event to the log of a run, its trackers and a listener; the progress of embedding is not logged."""

    def __init__(self, run: Run, listener: Listener) -> None:
        self.run, self.log, self.listener = run, JsonLines(run.log_path), listener
        self.trackers: list[Any] = []

    def open_trackers(self, recipe: Recipe) -> None:
        """Open the trackers that a recipe names.

        Raises:
            MissingDependencyError: a tracker's package is not installed.
        """
        settings = recipe.model_dump(mode="json")
        self.trackers = [
            TRACKERS.build(name, folder=self.run.folder, settings=settings) for name in recipe.train.trackers
        ]

    def __call__(self, event: dict[str, Any]) -> None:
        """Tell one event."""
        if event["event"] != "embed":
            self.log(event)
        for tracker in self.trackers:
            tracker(event)
        self.listener(event)

    def close(self) -> None:
        """Close the trackers."""
        for tracker in self.trackers:
            tracker.close()
