from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from builders import run_recipe
from pertinent.engine.events import JsonLines
from pertinent.engine.trackers import TRACKERS
from pertinent.engine.trackers._tracker import flat
from pertinent.errors import MissingDependencyError, TrainingError

SETTINGS = {"optim": {"lr": 0.1, "groups": {}}, "train": {"trackers": ["x"], "clip_norm": None}}
START = {"event": "start", "steps": 3}
RESUME = {"event": "resume", "epoch": 1, "step": 1}
BEFORE = {"event": "evaluation", "name": "before", "metrics": {"r@1.0": 0.25}, "skipped": {}}
EPOCH = {"event": "epoch", "epoch": 1, "seconds": 1.0, "metrics": {"hap": 0.5}, "value": 0.5}


def step(epoch: int, number: int, loss: float = 1.0) -> dict[str, Any]:
    place = {"event": "step", "epoch": epoch, "epochs": 2, "step": number, "steps": 3}
    return {**place, "parts": {"loss": loss}, "lr": {"head": 0.1}, "memory": 7, "rate": 9.0, "eta": 0.0}


class Calls(list[tuple[Any, ...]]):
    """Records calls of a fake package; `broken` names those that fail."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: set[str] = set()

    def add(self, name: str, *values: Any) -> None:
        if name in self.broken:
            raise ConnectionError(f"no network in {name}")
        self.append((name, *values))

    def of(self, name: str) -> list[tuple[Any, ...]]:
        return [call[1:] for call in self if call[0] == name]


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()

    class FakeRun:
        def __init__(self, name: str) -> None:
            self.id = name

        def log(self, data: dict[str, Any], step: int | None = None) -> None:
            calls.add("log", step, data)

        def finish(self) -> None:
            calls.add("finish")

    def init(
        *,
        project: str | None = None,
        name: str | None = None,
        dir: str | None = None,  # noqa: A002
        config: dict[str, Any] | None = None,
        id: str | None = None,  # noqa: A002
        resume: str | None = None,
    ) -> FakeRun:
        calls.add("init", {"project": project, "name": name, "dir": dir, "config": config, "id": id, "resume": resume})
        return FakeRun(id or f"id{len(calls.of('init'))}")

    module = types.ModuleType("wandb")
    vars(module).update(init=init)
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return calls


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()

    def start_run(run_id: str | None = None, run_name: str | None = None) -> Any:
        calls.add("start_run", run_id, run_name)
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=run_id or "m1"))

    def log_metrics(metrics: dict[str, float], step: int | None = None) -> None:
        calls.add("log_metrics", step, metrics)

    module = types.ModuleType("mlflow")
    vars(module).update(
        set_experiment=lambda experiment_name: calls.add("set_experiment", experiment_name),
        start_run=start_run,
        log_params=lambda params: calls.add("log_params", params),
        log_metrics=log_metrics,
        end_run=lambda: calls.add("end_run"),
    )
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    return calls


def play(name: str, folder: Path, *events: dict[str, Any]) -> None:
    """Build a tracker, tell it events as training does (logged first), and close it."""
    tracker, log = TRACKERS.build(name, folder=folder, settings=SETTINGS), JsonLines(folder / "log.jsonl")
    for event in events:
        log(event)
        tracker(event)
    tracker.close()
    tracker.close()


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard itself reads from a run's folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder / "tensorboard"))
    read.Reload()
    return {tag: {item.step: item.value for item in read.Scalars(tag)} for tag in read.Tags()["scalars"]}


def test_the_list():
    assert TRACKERS.names() == ["mlflow", "tensorboard", "wandb"]
    assert all(entry.summary for entry in TRACKERS.entries.values())


def test_settings_are_flattened():
    assert flat(SETTINGS) == {"optim.lr": 0.1, "train.trackers": '["x"]', "train.clip_norm": "null"}


def test_tensorboard_reads_what_was_told(tmp_path: Path):
    play("tensorboard", tmp_path, START, BEFORE, step(1, 3, 2.0), EPOCH, step(2, 1, 1.5))
    assert scalars(tmp_path) == {
        "before/r_at_1.0": {0: 0.25},
        "train/loss": {3: 2.0, 4: 1.5},
        "lr/head": {3: pytest.approx(0.1), 4: pytest.approx(0.1)},
        "speed/rate": {3: 9.0, 4: 9.0},
        "speed/memory": {3: 7.0, 4: 7.0},
        "val/hap": {3: 0.5},
    }


def test_tensorboard_keeps_the_recipe(tmp_path: Path):
    play("tensorboard", tmp_path, START)
    assert any(b"optim.lr" in path.read_bytes() for path in (tmp_path / "tensorboard").glob("events*"))


def test_a_resumed_tensorboard_hides_what_was_after_the_checkpoint(tmp_path: Path):
    play("tensorboard", tmp_path, START, *(step(1, n, 1.0) for n in (1, 2, 3)), *(step(2, n, 1.0) for n in (1, 2, 3)))
    play("tensorboard", tmp_path, RESUME, step(2, 2, 5.0))
    assert scalars(tmp_path)["train/loss"] == {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0, 5: 5.0}


def test_a_real_run_reaches_tensorboard(tmp_path: Path, recipe_file: Path):
    run = run_recipe(recipe_file, tmp_path / "run", "train.trackers=[tensorboard]", "train.epochs=1", "data.val=val")
    found = scalars(run.folder)
    assert list(found["train/loss"]) == [1, 2, 3]
    assert list(found["val/hap"]) == list(found["best/hap"]) == [3]
    assert list(found["before/hap"]) == [0]


def test_wandb_gets_rows_and_goes_on(tmp_path: Path, wandb: Calls):
    folder = tmp_path / "mine"
    folder.mkdir()
    play("wandb", folder, START, BEFORE, step(1, 1), EPOCH)
    play("wandb", folder, RESUME, step(2, 2))
    first, second = (call[0] for call in wandb.of("init"))
    assert first == {
        "project": "pertinent", "name": "mine", "dir": str(folder), "config": SETTINGS, "id": None, "resume": None
    }  # fmt: skip
    assert (second["id"], second["resume"]) == ("id1", "allow")
    assert [row[0] for row in wandb.of("log")] == [0, 1, 3, 5]
    assert wandb.of("log")[1][1] == {"train/loss": 1.0, "lr/head": 0.1, "speed/rate": 9.0, "speed/memory": 7}
    assert len(wandb.of("finish")) == 2


def test_a_run_begun_anew_is_another_wandb_run(tmp_path: Path, wandb: Calls):
    play("wandb", tmp_path, START)
    play("wandb", tmp_path, START)
    assert [call[0]["id"] for call in wandb.of("init")] == [None, None]
    assert (tmp_path / "wandb-id").read_text() == "id2\n"


def test_mlflow_gets_metrics_and_goes_on(tmp_path: Path, mlflow: Calls):
    play("mlflow", tmp_path, START, BEFORE, step(1, 1))
    play("mlflow", tmp_path, RESUME, step(2, 2))
    assert mlflow.of("set_experiment") == [("pertinent",), ("pertinent",)]
    assert mlflow.of("start_run") == [(None, tmp_path.name), ("m1", None)]
    assert mlflow.of("log_params") == [(flat(SETTINGS),)]
    assert [row[0] for row in mlflow.of("log_metrics")] == [0, 1, 5]
    assert mlflow.of("log_metrics")[0][1] == {"before/r_at_1.0": 0.25}
    assert len(mlflow.of("end_run")) == 2


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_names_the_command(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=rf"pip install 'pertinent\[{name}\]'"):
        TRACKERS.build(name, folder=tmp_path, settings={})


def test_a_tracker_that_does_not_open_stops_at_once(tmp_path: Path, wandb: Calls):
    wandb.broken.add("init")
    with pytest.raises(TrainingError, match=r"wandb cannot be opened: no network in init; .* train\.trackers"):
        play("wandb", tmp_path, START)


def test_a_failure_later_warns_once(tmp_path: Path, wandb: Calls):
    wandb.broken.add("log")
    with pytest.warns(RuntimeWarning, match="wandb failed and is off for the rest") as told:
        play("wandb", tmp_path, START, step(1, 1), step(1, 2))
    assert len(told) == 1
    assert wandb.of("finish") == []
