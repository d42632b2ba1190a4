"""Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pertinent.engine.trackers._tracker import Tracker
from pertinent.files import write_text

__all__ = ["WandbTracker"]


class WandbTracker(Tracker):
    """Weights & Biases, in the project that WANDB_PROJECT names, else `pertinent`.

    The id of its run is kept in RUN/wandb-id, so that a resumed run goes on there. Weights & Biases keeps the first
    value of a step: what is logged again after a crash is passed over, with the same numbers.
    """

    package, extra = "wandb", "wandb"
    run: Any

    def open(self, resumed: bool) -> None:
        """Begin a run, or go on with the one whose id is kept."""
        path = self.folder / "wandb-id"
        known = path.read_text(encoding="utf-8").strip() if resumed and path.is_file() else None
        self.run = self.module.init(
            project=os.environ.get("WANDB_PROJECT", "pertinent"),
            name=self.folder.absolute().name,
            dir=str(self.folder),
            config=dict(self.settings),
            id=known,
            resume="allow" if known else None,
        )
        write_text(path, f"{self.run.id}\n")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log one row."""
        self.run.log(dict(values), step=step)

    def end(self) -> None:
        """Send what is left and end the run."""
        self.run.finish()
