"""MLflow."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pertinent.engine.trackers._tracker import Tracker, flat
from pertinent.files import write_text

__all__ = ["MLflowTracker"]


class MLflowTracker(Tracker):
    """MLflow, in the experiment that MLFLOW_EXPERIMENT_NAME names, else `pertinent`; where: MLFLOW_TRACKING_URI.

    The id of its run is kept in RUN/mlflow-id, so that a resumed run goes on there. MLflow keeps every value of a step:
    steps after the last checkpoint stand there twice, with the same losses.
    """

    package, extra = "mlflow", "mlflow"

    def open(self, resumed: bool) -> None:
        """Begin a run with the recipe as parameters, or go on with the one whose id is kept."""
        path = self.folder / "mlflow-id"
        self.module.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", "pertinent"))
        if resumed and path.is_file():
            self.module.start_run(run_id=path.read_text(encoding="utf-8").strip())
            return
        active = self.module.start_run(run_name=self.folder.absolute().name)
        write_text(path, f"{active.info.run_id}\n")
        self.module.log_params(flat(self.settings))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log metrics at a step."""
        self.module.log_metrics(dict(values), step=step)

    def end(self) -> None:
        """End the run."""
        self.module.end_run()
