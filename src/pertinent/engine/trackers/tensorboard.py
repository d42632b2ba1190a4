"""TensorBoard: event files beside the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pertinent.engine.trackers._tracker import Tracker, flat

__all__ = ["TensorBoardTracker"]


class TensorBoardTracker(Tracker):
    """TensorBoard event files in RUN/tensorboard; look at them with `tensorboard --logdir RUNS`.

    A resumed run hides the steps that the stopped one had logged after its last checkpoint: they are made again.
    """

    package, extra = "torch.utils.tensorboard", "tensorboard"
    writer: Any

    def open(self, resumed: bool) -> None:
        """Open a new event file; what older files say about later steps no longer counts."""
        purge = self.place + 1 if resumed else 0
        self.writer = self.module.SummaryWriter(log_dir=str(self.folder / "tensorboard"), purge_step=purge)
        if not resumed:
            # The name "." keeps the settings in the run itself; else they would show as a run of their own.
            self.writer.add_hparams(flat(self.settings), {}, run_name=".")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write scalars."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, global_step=step)

    def end(self) -> None:
        """Flush and close the file."""
        self.writer.close()
