from __future__ import annotations

import errno
import json
import math
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from builders import Listening, recipe_of, run_recipe, write_pictures, write_recipe
from pertinent.engine import train as engine
from pertinent.engine.building import choose_device, make_encoder, make_losses, selected
from pertinent.engine.check import check_recipe
from pertinent.engine.checkpoint import load_state
from pertinent.engine.distributed import World
from pertinent.engine.events import read_events, silent
from pertinent.engine.loader import Batch
from pertinent.engine.measure import load_evaluation
from pertinent.engine.recipe import Recipe
from pertinent.engine.run import Run, open_split
from pertinent.engine.train import Trainer, train
from pertinent.errors import ConfigError, DataError, ImageError, InputError, StorageError, TrainingError
from pertinent.index import Index
from pertinent.losses import ClusterLoss, HAPLoss
from pertinent.models.encoder import Encoder
from pertinent.report.collect import report_run
from pertinent.store import STORE_FILES, EmbeddingStore


def weights(run: Run, name: str = "last") -> str:
    return Encoder.load(run.encoder(name)).fingerprint()


def same_state(a: Any, b: Any, where: str = "") -> None:
    """Both checkpoints hold the same values, bit by bit; only the clock may differ."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a.keys() - {"seconds"}:
            same_state(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), where
        for place, (one, other) in enumerate(zip(a, b, strict=True)):
            same_state(one, other, f"{where}[{place}]")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    else:
        assert a == b, where


def same_run(one: Run, other: Run) -> None:
    same_state(load_state(one.checkpoints()[-1]), load_state(other.checkpoints()[-1]))
    for name in ("before", "best", "last"):
        assert weights(one, name) == weights(other, name)
    np.testing.assert_array_equal(
        EmbeddingStore.open(one.store("best")).vectors, EmbeddingStore.open(other.store("best")).vectors
    )


def stop_at(epoch: int, step: int, error: Callable[[], BaseException] = KeyboardInterrupt) -> Listening:
    def act(event: dict[str, Any]) -> None:
        if event["event"] == "step" and (event["epoch"], event["step"]) == (epoch, step):
            raise error()

    return Listening(act)


# --- what a run leaves


def test_the_run_folder(finished_run: Run):
    found = sorted(str(path.relative_to(finished_run.folder)) for path in finished_run.folder.rglob("*"))
    names = [f"/names/{name}.{part}.npy" for name in ("ids", "places") for part in ("ends", "order", "text")]
    encoder, store = ["", "/encoder.json", "/encoder.safetensors"], ["", *(f"/{name}" for name in STORE_FILES)]
    wanted = {
        "": ["log.jsonl", "recipe.yaml", "evaluations", "stores"],
        "checkpoints": ["", *(f"/00002-0000000{name}" for name in ("", "/state.json", "/state.safetensors"))],
        "index": [
            "",
            "/index.json",
            "/changes",
            "/changes/journal",
            "/changes/lock",
            "/changes/sealed",
            "/names",
            *names,
        ],
        "evaluations/": ["before.json", "before.npz", "best.json", "best.npz"],
        **dict.fromkeys(("before", "best", "last"), encoder),
        **dict.fromkeys(("stores/before", "stores/best"), store),
    }
    assert found == sorted(folder + name for folder, names in wanted.items() for name in names)


def test_the_parts_belong_together(finished_run: Run, recipe_file: Path):
    recipe = recipe_of(recipe_file)
    assert finished_run.recipe() == recipe
    torch.manual_seed(recipe.train.seed)
    assert make_encoder(recipe).fingerprint() == weights(finished_run, "before")
    assert weights(finished_run, "best") == weights(finished_run, "last") != weights(finished_run, "before")
    index = Index.open(finished_run.index)
    assert index.store.encoder == weights(finished_run, "best")
    assert len(index) == 12


def test_the_events_in_their_order(tmp_path: Path, recipe_file: Path):
    events = Listening()
    run = run_recipe(recipe_file, tmp_path / "run", "data.val=val", listener=events)
    order = [event["event"] for event in events if event["event"] != "embed"]
    assert order == ["start", "evaluation", *(["step"] * 3 + ["epoch"]) * 2, "evaluation", "end"]
    assert [event["event"] for event in read_events(run.log_path)] == order
    assert all("time" in event for event in read_events(run.log_path))
    assert [event["done"] for event in events.of("embed")] == [8, 12] * 4

    start = events.of("start")[0]
    assert (start["train"], start["test"], start["steps"], start["device"]) == (24, 12, 3, "cpu")
    assert start["parameters"] == sum(p.numel() for p in Encoder.load(run.encoder("best")).parameters())
    steps = events.of("step")
    assert [(event["epoch"], event["step"]) for event in steps] == [(e, s) for e in (1, 2) for s in (1, 2, 3)]
    for event in steps:
        assert event["parts"].keys() == {"loss", "hap", "cluster"}
        assert event["lr"].keys() == {"backbone", "head", "losses"}
        assert event["rate"] > 0
        assert event["eta"] >= 0
        assert event["memory"] > 0
    assert steps[-1]["eta"] == 0
    for number, event in enumerate(events.of("epoch"), 1):
        assert event["epoch"] == number
        assert event["metrics"].keys() == {"hap", "r@1.0", "r@1.1"}
        assert event["value"] == event["metrics"]["hap"]
    assert [event["name"] for event in events.of("evaluation")] == ["before", "best"]
    assert events.of("end")[0]["damaged"] == []
    assert events.of("end")[0]["seconds"] > 0


def test_the_loss_is_the_weighted_sum_of_its_parts(finished_run: Run):
    for event in read_events(finished_run.log_path):
        if event["event"] == "step":
            parts = event["parts"]
            assert parts["loss"] == pytest.approx(0.9 * parts["hap"] + 0.1 * parts["cluster"], rel=1e-6)


def test_training_learns(tmp_path: Path, recipe_file: Path):
    words = ["data.test=train", "train.epochs=8", "optim.lr=0.003"]
    run = run_recipe(recipe_file, tmp_path / "run", *words)
    before, best = (json.loads(run.evaluation(name).read_text())["mean"] for name in ("before", "best"))
    assert best["hap"] > before["hap"] + 0.1


def test_the_seed_decides_everything(tmp_path: Path, recipe_file: Path, finished_run: Run):
    same_run(run_recipe(recipe_file, tmp_path / "again"), finished_run)
    other = run_recipe(recipe_file, tmp_path / "other", "train.seed=1", "train.epochs=1")
    assert weights(other, "before") != weights(finished_run, "before")


def test_worker_processes_change_nothing(tmp_path: Path, recipe_file: Path, finished_run: Run):
    same_run(run_recipe(recipe_file, tmp_path / "run", "data.workers=2"), finished_run)


# --- stopping and going on


@pytest.mark.parametrize(("epoch", "step"), [(1, 1), (1, 3), (2, 2)])
def test_a_run_stopped_by_ctrl_c_ends_as_one_never_stopped(
    tmp_path: Path, recipe_file: Path, finished_run: Run, epoch: int, step: int
):
    events = stop_at(epoch, step)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe_file, tmp_path / "run", listener=events)
    assert events[-1] == {"event": "interrupted", "epoch": epoch - 1, "step": step}
    resumed = Listening()
    run = run_recipe(recipe_file, tmp_path / "run", resume=True, listener=resumed)
    assert resumed[0] == {"event": "resume", "epoch": epoch - 1, "step": step}
    assert len(events.of("step")) + len(resumed.of("step")) == 6
    same_run(run, finished_run)


def test_ctrl_c_within_a_step_waits_until_the_step_is_whole(
    tmp_path: Path, recipe_file: Path, finished_run: Run, monkeypatch: pytest.MonkeyPatch
):
    step, calls = torch.optim.Adam.step, []

    def interrupted(self: Any, *arguments: Any) -> Any:
        calls.append(1)
        result = step(self, *arguments)
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return result

    monkeypatch.setattr(torch.optim.Adam, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe_file, tmp_path / "run")
    assert load_state(Run(tmp_path / "run").checkpoints()[-1])["place"] == [1, 2]
    same_run(run_recipe(recipe_file, tmp_path / "run", resume=True), finished_run)


@pytest.fixture(scope="module")
def validated_run(tmp_path_factory: pytest.TempPathFactory, recipe_file: Path) -> Run:
    return run_recipe(recipe_file, tmp_path_factory.mktemp("validated") / "run", "data.val=val")


@pytest.mark.parametrize("epoch", [1, 2])
def test_an_epoch_stopped_while_it_is_measured_is_measured_again(
    tmp_path: Path, recipe_file: Path, validated_run: Run, monkeypatch: pytest.MonkeyPatch, epoch: int
):
    measure, calls = engine.measure, []

    def interrupted(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 1 + epoch:  # the first call measures the encoder before training
            raise KeyboardInterrupt
        return measure(*arguments)

    monkeypatch.setattr(engine, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe_file, tmp_path / "run", "data.val=val")
    resumed = Listening()
    run = run_recipe(recipe_file, tmp_path / "run", "data.val=val", resume=True, listener=resumed)
    assert [event["epoch"] for event in resumed.of("epoch")] == list(range(epoch, 3))
    same_run(run, validated_run)


def test_a_crash_costs_no_more_than_an_epoch(tmp_path: Path, recipe_file: Path, finished_run: Run):
    events = stop_at(2, 2, RuntimeError)
    with pytest.raises(RuntimeError):
        run_recipe(recipe_file, tmp_path / "run", listener=events)
    resumed = Listening()
    run = run_recipe(recipe_file, tmp_path / "run", resume=True, listener=resumed)
    assert resumed[0] == {"event": "resume", "epoch": 1, "step": 0}
    same_run(run, finished_run)


def test_stopped_before_the_first_checkpoint_it_begins_anew(tmp_path: Path, recipe_file: Path, finished_run: Run):
    def act(event: dict[str, Any]) -> None:
        if event["event"] == "embed" and event["done"] == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe_file, tmp_path / "run", listener=Listening(act))
    events = Listening()
    # Nothing is lost yet, so the recipe may still change.
    run = run_recipe(recipe_file, tmp_path / "run", "optim.lr=0.01", resume=True, listener=events)
    assert [event["done"] for event in events.of("embed")][:1] == [12], "embedding goes on where it stopped"
    assert [event["event"] for event in read_events(run.log_path)].count("start") == 1
    assert run.recipe().optim.lr == 0.01
    assert weights(run, "before") == weights(finished_run, "before")


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path, recipe_file: Path, finished_run: Run):
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe_file, tmp_path / "run", "train.keep=2", listener=stop_at(2, 1))
    newest = Run(tmp_path / "run").checkpoints()[-1]
    assert newest.name == "00001-0000001"
    (newest / "state.safetensors").write_bytes(b"nothing")
    events = Listening()
    run = run_recipe(recipe_file, tmp_path / "run", resume=True, listener=events)
    assert (events[0]["epoch"], events[0]["step"]) == (1, 0)
    assert "00001-0000001 is damaged" in events[0]["damaged"][0]
    same_run(run, finished_run)


def test_a_finished_run_may_be_resumed_to_measure_again(tmp_path: Path, recipe_file: Path, finished_run: Run):
    shutil.copytree(finished_run.folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "index")
    events = Listening()
    run = run_recipe(recipe_file, tmp_path / "run", resume=True, listener=events)
    assert not events.of("step")
    assert len(Index.open(run.index)) == 12
    same_run(run, finished_run)


# --- what is refused


def test_a_run_is_never_overwritten(tmp_path: Path, recipe_file: Path, finished_run: Run):
    shutil.copytree(finished_run.folder, tmp_path / "run")
    with pytest.raises(StorageError, match="holds a run already; go on with it by --resume, or choose another folder"):
        run_recipe(recipe_file, tmp_path / "run")
    same_run(Run(tmp_path / "run"), finished_run)


def test_somebodys_folder_is_no_place_for_a_run(tmp_path: Path, recipe_file: Path):
    (tmp_path / "best").mkdir()
    with pytest.raises(StorageError, match=r"not ours to replace \(best\); choose another folder"):
        run_recipe(recipe_file, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_nothing_to_resume(tmp_path: Path, recipe_file: Path):
    with pytest.raises(StorageError, match="holds no run to resume; leave --resume out to start one"):
        run_recipe(recipe_file, tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()


def test_another_recipe_does_not_go_on_with_a_run(tmp_path: Path, recipe_file: Path):
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe_file, tmp_path / "run", listener=stop_at(1, 2))
    with pytest.raises(StorageError, match="was started with another recipe; resume with the recipe it began with"):
        run_recipe(recipe_file, tmp_path / "run", "optim.lr=0.1", resume=True)
    how = ["data.on_error=skip", "data.workers=1", "train.device=auto", "train.checkpoint_every=2"]
    run = run_recipe(recipe_file, tmp_path / "run", *how, resume=True)
    assert run.recipe().data.on_error == "skip"


def test_other_pictures_do_not_go_on_with_a_run(tmp_path: Path):
    root = write_pictures(tmp_path / "pictures", splits=("train", "test"))
    file = write_recipe(tmp_path / "r.yaml", root)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(file, tmp_path / "run", listener=stop_at(1, 2))
    (root / "train" / "warm" / "red" / "0.png").rename(root / "train" / "warm" / "red" / "new.png")
    with pytest.raises(StorageError, match=r"training pictures or their labels are not those that .* began with"):
        run_recipe(file, tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("word", "error"),
    [
        ("data.root=/nowhere", DataError),
        ("model.pretrained=/nowhere.pth", StorageError),
        ("losses.cluster.level=7", InputError),
        ("sampler.per_class=5", InputError),
        ("train.device=quantum", TrainingError),
    ],
)
def test_a_mistake_leaves_no_trace_so_that_the_next_try_may_use_the_folder(
    tmp_path: Path, recipe_file: Path, word: str, error: type[Exception]
):
    with pytest.raises(error):
        run_recipe(recipe_file, tmp_path / "run", word)
    assert not (tmp_path / "run").exists()


def test_queries_may_search_in_a_split_of_their_own(tmp_path: Path, recipe_file: Path):
    words = ["data.test=val", "data.gallery=test", "data.val=null", "evaluate.similarity=hamming", "train.epochs=1"]
    run = run_recipe(recipe_file, tmp_path / "run", *words)
    store, found = EmbeddingStore.open(run.store("best")), load_evaluation(run.evaluation("best"))
    assert (found["n_queries"], found["n_items"]) == (store.labels.probes, len(store) - store.labels.probes)
    assert found["similarity"] == "hamming"
    assert all(name.startswith("val/") for name in store.ids[-store.labels.probes :])
    assert len(Index.open(run.index)) == found["n_items"]
    report_run(run)
    assert check_recipe(recipe_of(recipe_file, *words)).problems == []


def test_a_device_that_is_not_there(tmp_path: Path, recipe_file: Path):
    with pytest.raises(TrainingError, match=r"device quantum cannot be used here: .*; use auto or cpu"):
        run_recipe(recipe_file, tmp_path / "run", "train.device=quantum")


@pytest.mark.parametrize(("own", "fits", "refused"), [("cuda:1", "cuda", "cuda:0"), ("cpu", "cpu", "cuda:1")])
def test_each_of_several_processes_has_a_device_of_its_own(own: str, fits: str, refused: str):
    class Several(World):
        device = torch.device(own)

    assert choose_device("auto", Several()) == choose_device(fits, Several()) == torch.device(own)
    with pytest.raises(TrainingError, match=f"device {refused}: each of several processes computes on {fits} here"):
        choose_device(refused, Several())


def test_a_run_that_is_resumed_after_its_end_keeps_what_was_added_to_its_index(tmp_path: Path, recipe_file: Path):
    run = run_recipe(recipe_file, tmp_path / "run", "train.epochs=1")
    index = Index.open(run.index)
    index.put(["new"], np.ones((1, index.store.dim)))
    index.close()
    run_recipe(recipe_file, tmp_path / "run", "train.epochs=1", resume=True)
    assert Index.open(run.index).position("new") is not None


def test_where_the_pictures_of_val_search(tmp_path: Path, recipe_file: Path):
    words = ["data.val=val", "data.val_gallery=test", "train.epochs=1"]
    events = Listening()
    run = run_recipe(recipe_file, tmp_path / "run", *words, listener=events)
    probes = EmbeddingStore.open(run.store("val")).labels.probes
    assert probes == len(open_split(run.recipe().data, "val")) - len(open_split(run.recipe().data, "test"))
    assert not EmbeddingStore.open(run.store("best")).labels.probes
    for wrong in (["data.val=null"], ["data.val=test"]):
        with pytest.raises(ConfigError, match="val_gallery is where the pictures of a val split search"):
            recipe_of(recipe_file, *words, *wrong)


def test_a_metric_to_select_by_that_val_leaves_undefined(
    tmp_path: Path, recipe_file: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pertinent.engine.train.selected", lambda *_: math.nan)
    with pytest.raises(TrainingError, match=r"evaluate\.select=\S+ is undefined on data\.val=val: .* select another"):
        run_recipe(recipe_file, tmp_path / "run", "data.val=val")


@pytest.mark.parametrize("words", [["evaluate.select=ap.7"], ["evaluate.metrics=[r@1.2]"]])
def test_metrics_that_do_not_fit_the_labels_are_told_before_training(
    tmp_path: Path, recipe_file: Path, words: list[str]
):
    events = Listening()
    with pytest.raises(InputError, match="has levels 0 to 1"):
        run_recipe(recipe_file, tmp_path / "run", "data.val=val", *words, listener=events)
    assert not events.of("step")


# --- when something goes wrong


def test_a_loss_that_is_not_finite_stops_training_and_names_the_place(
    tmp_path: Path, recipe_file: Path, monkeypatch: pytest.MonkeyPatch
):
    forward, calls = ClusterLoss.forward, []

    def poisoned(self: Any, *arguments: Any) -> Any:
        calls.append(1)
        return forward(self, *arguments) * (math.nan if len(calls) == 5 else 1)

    monkeypatch.setattr(ClusterLoss, "forward", poisoned)
    with pytest.raises(TrainingError) as error:
        run_recipe(recipe_file, tmp_path / "run")
    assert str(error.value).startswith("loss, cluster became nan in epoch 2, step 2; lower optim.lr")
    assert str(tmp_path / "run") in str(error.value)
    assert load_state(Run(tmp_path / "run").checkpoints()[-1])["place"] == [1, 0], "what was written before is intact"
    Encoder.load(tmp_path / "run" / "before")


def test_a_learning_rate_that_explodes(tmp_path: Path, recipe_file: Path):
    with pytest.raises(TrainingError, match="became nan in epoch 1, step"):
        run_recipe(recipe_file, tmp_path / "run", "optim.name=sgd", "optim.lr=1e30")


@pytest.mark.parametrize("failing", ["fsync", "write"])
def test_a_full_disk_leaves_the_last_checkpoint(
    tmp_path: Path, recipe_file: Path, finished_run: Run, monkeypatch: pytest.MonkeyPatch, failing: str
):
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def act(event: dict[str, Any]) -> None:
        if event["event"] == "step" and (event["epoch"], event["step"]) == (2, 3):
            if failing == "fsync":
                monkeypatch.setattr("pertinent.files.os.fsync", full)
            else:
                monkeypatch.setattr("pertinent.engine.checkpoint.write_tensors", full)

    said = "No space left on device; free space or choose another folder, then run the same command again"
    with pytest.raises(StorageError, match=said):
        run_recipe(recipe_file, tmp_path / "run", listener=Listening(act))
    assert load_state(Run(tmp_path / "run").checkpoints()[-1])["place"] == [1, 0]
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]
    monkeypatch.undo()
    same_run(run_recipe(recipe_file, tmp_path / "run", resume=True), finished_run)


@pytest.fixture
def damaged_file(tmp_path: Path) -> Path:
    """A recipe on pictures two of which are damaged: one to train, one to test."""
    root = write_pictures(tmp_path / "pictures", splits=("train", "test"))
    for name in ("train/warm/red/1.png", "test/cold/blue/1.png"):
        (root / name).write_bytes((root / name).read_bytes()[:300])
    return write_recipe(tmp_path / "r.yaml", root)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_stops_training_and_names_itself_and_the_option(
    tmp_path: Path, damaged_file: Path, workers: int
):
    with pytest.raises(ImageError, match=r"blue/1\.png: truncated or damaged .*data\.on_error=skip"):
        run_recipe(damaged_file, tmp_path / "run", f"data.workers={workers}")


def test_damaged_pictures_are_left_out_and_listed_when_asked(tmp_path: Path, damaged_file: Path):
    events = Listening()
    run = run_recipe(damaged_file, tmp_path / "run", "data.on_error=skip", listener=events)
    listed = events.of("end")[0]["damaged"]
    assert len(listed) == 1
    assert "train/warm/red/1.png: truncated or damaged" in listed[0]
    store = EmbeddingStore.open(run.store("best"))
    assert len(store) == 11
    assert "test/cold/blue/1.png: truncated" in store.manifest["damaged"][0]
    assert json.loads(run.evaluation("best").read_text())["damaged"] == store.manifest["damaged"]


def test_after_a_damaged_picture_the_same_run_goes_on_with_skip(tmp_path: Path, damaged_file: Path):
    with pytest.raises(ImageError):
        run_recipe(damaged_file, tmp_path / "run")
    run = run_recipe(damaged_file, tmp_path / "run", "data.on_error=skip", resume=True)
    assert run.index.is_dir()


# --- validation


def test_the_best_epoch_by_validation_is_kept(tmp_path: Path, recipe_file: Path, monkeypatch: pytest.MonkeyPatch):
    measure, values = engine.measure, iter([math.nan, 0.3, 0.7, 0.5, math.nan])

    def scripted(store: EmbeddingStore, metrics: list[str], *options: Any) -> Any:
        report = measure(store, metrics, *options)
        value = next(values)
        if not math.isnan(value):
            report.mean["hap"] = value  # type: ignore[index]
        return report

    prints = []

    def act(event: dict[str, Any]) -> None:
        if event["event"] == "epoch":
            prints.append((event["value"], weights(Run(tmp_path / "run"), "best")))

    monkeypatch.setattr(engine, "measure", scripted)
    run = run_recipe(recipe_file, tmp_path / "run", "data.val=val", "train.epochs=3", listener=Listening(act))
    assert [value for value, _ in prints] == [0.3, 0.7, 0.5]
    assert prints[0][1] != prints[1][1] == prints[2][1] == weights(run, "best") != weights(run, "last")
    assert load_state(run.checkpoints()[-1])["best"] == 0.7


def test_a_best_epoch_stopped_while_it_is_written_is_written_again(
    tmp_path: Path, recipe_file: Path, monkeypatch: pytest.MonkeyPatch
):
    measure, save, seen, saved = engine.measure, Encoder.save, {}, []

    def rising(store: EmbeddingStore, metrics: list[str], *options: Any) -> Any:
        report = measure(store, metrics, *options)
        report.mean["hap"] = 0.1 * seen.setdefault(store.encoder, len(seen))  # type: ignore[index]
        return report

    def interrupted(self: Encoder, folder: Path) -> None:
        saved.append(folder.name)
        if saved == ["before", "best", "best"]:
            raise KeyboardInterrupt
        save(self, folder)

    monkeypatch.setattr(engine, "measure", rising)
    monkeypatch.setattr(Encoder, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe_file, tmp_path / "run", "data.val=val")
    run = run_recipe(recipe_file, tmp_path / "run", "data.val=val", resume=True)
    assert saved == ["before", "best", "best", "best", "last"]
    assert weights(run, "best") == weights(run, "last")


def test_selected():
    assert selected({"hap": 0.5, "r@1.0": 0.2, "r@1.1": 0.6}, "hap") == 0.5
    assert selected({"hap": 0.5, "r@1.0": 0.2, "r@1.1": 0.6}, "r@1") == 0.2
    assert selected({"r@1.0": 0.2, "r@1.1": 0.6}, "r@1.1") == 0.6
    assert selected({"r@1": 0.4}, "r@01") == 0.4


def test_a_binary_metric_may_select(tmp_path: Path, recipe_file: Path):
    events = Listening()
    run_recipe(recipe_file, tmp_path / "run", "data.val=val", "evaluate.select=ap", listener=events)
    for event in events.of("epoch"):
        assert event["value"] == event["metrics"]["ap.0"]


def test_how_often_to_measure_and_to_save(tmp_path: Path, recipe_file: Path, monkeypatch: pytest.MonkeyPatch):
    saved: list[list[int]] = []
    save_state = engine.save_state

    def noting(folder: Path, state: dict[str, Any]) -> None:
        saved.append(state["place"])
        save_state(folder, state)

    monkeypatch.setattr(engine, "save_state", noting)
    events = Listening()
    words = ["data.val=val", "train.epochs=4", "train.evaluate_every=3", "train.checkpoint_every=3"]
    run_recipe(recipe_file, tmp_path / "run", *words, listener=events)
    assert [event["epoch"] for event in events.of("epoch") if "metrics" in event] == [3, 4]
    assert saved == [[3, 0], [4, 0]]
    events = Listening()
    run_recipe(recipe_file, tmp_path / "r", "data.val=val", "train.evaluate_every=0", listener=events)
    assert [event["epoch"] for event in events.of("epoch") if "metrics" in event] == [2]


# --- manners of training


@pytest.mark.parametrize(
    "words",
    [
        ["train.precision=bf16", "train.channels_last=true", "train.clip_norm=0.1"],
        ["optim.name=adamw", "optim.schedule.per=step", "train.batch_norm=freeze"],
        ["losses={cluster: null, hap: {level: 0}, coarse: {loss: cluster, level: 1, weight: 0.1}}"],
    ],
)
def test_it_trains_in_every_manner(tmp_path: Path, recipe_file: Path, words: list[str]):
    run = run_recipe(recipe_file, tmp_path / "run", "train.epochs=1", *words)
    assert weights(run, "last") != weights(run, "before")


def test_the_state_of_every_part_goes_on(tmp_path: Path, recipe_file: Path):
    values = recipe_of(recipe_file, "optim.name=sgd", "train.epochs=1").model_dump(mode="json")
    values["sampler"] = {"name": "random", "batch_size": 8}
    values["losses"] = {"csl": {"margins": [0.1, 0.1], "optim": {"name": "adamw", "lr": 0.01}}}
    recipe = Recipe.model_validate(values)
    whole = train(recipe, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "part", listener=stop_at(1, 2))
    same_run(train(recipe, tmp_path / "part", resume=True), whole)


def gradient_norms(folder: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> Iterator[float]:
    norms: list[float] = []
    step = torch.optim.Adam.step

    def noting(self: Any, *arguments: Any) -> Any:
        grads = [p.grad for g in self.param_groups[:2] for p in g["params"] if p.grad is not None]
        norms.append(float(torch.cat([grad.flatten() for grad in grads]).norm()))
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", noting)
    train(recipe, folder)
    return iter(norms)


def test_clip_norm_bounds_the_gradient_of_the_network(
    tmp_path: Path, recipe_file: Path, monkeypatch: pytest.MonkeyPatch
):
    norms = list(gradient_norms(tmp_path / "run", recipe_of(recipe_file, "train.clip_norm=0.01"), monkeypatch))
    assert len(norms) == 6
    assert max(norms) <= 0.01 * 1.001
    assert min(norms) > 0.009


def test_warm_up_trains_the_head_alone(tmp_path: Path, recipe_file: Path):
    first: list[dict[str, torch.Tensor]] = []

    def act(event: dict[str, Any]) -> None:
        if event["event"] == "epoch":
            first.append(load_state(Run(tmp_path / "run").checkpoints()[-1])["encoder"])

    words = ["train.warmup_epochs=1", "train.batch_norm=freeze_stats", "model.pool=gem"]
    run = run_recipe(recipe_file, tmp_path / "run", *words, listener=Listening(act))
    before = dict(Encoder.load(run.encoder("before")).state_dict())
    for key, value in before.items():
        frozen = key.startswith("backbone.")
        assert torch.equal(first[0][key], value) == frozen, key
    moved = [key for key in before if key.startswith("backbone.") and not torch.equal(first[1][key], before[key])]
    assert any(key.endswith("bn1.weight") for key in moved)
    assert any(key.endswith("conv1.weight") for key in moved)


def test_a_loss_may_learn_at_its_own_rate(tmp_path: Path, recipe_file: Path):
    events = Listening()
    word = "losses.cluster.optim={name: adam, lr: 10, schedule: {name: cosine, min_lr: 0.1}}"
    run_recipe(recipe_file, tmp_path / "run", word, "optim.head_lr=0.002", listener=events)
    rates = [event["lr"] for event in events.of("step")]
    assert rates[0] == {"backbone": 1e-3, "head": 2e-3, "cluster": 10}
    assert rates[-1]["cluster"] == pytest.approx(5.05)
    assert rates[-1]["backbone"] == pytest.approx(5e-4)


# --- parts


def test_losses_are_given_what_only_data_can_tell(recipe_file: Path):
    labels = torch.tensor([[0, 0], [1, 0], [2, 1], [2, 1], [4, -1]])
    words = [
        "losses={hap: {tau: 0.02, level: 0}, coarse: {loss: cluster, level: 1}, csl: {margins: [0.1, 0.2]}}",
    ]
    losses = make_losses(recipe_of(recipe_file, *words), labels, dim=8)
    assert set(losses) == {"hap", "cluster", "coarse", "csl"}
    assert isinstance(losses["hap"], HAPLoss)
    assert losses["cluster"].weight.shape == (5, 8)
    assert losses["coarse"].weight.shape == (2, 8)
    assert losses["csl"].weight.shape == (4, 8), "one proxy for each different row of labels"


@pytest.mark.parametrize("level", [-1, 2])
def test_a_loss_on_a_level_that_is_not_there(recipe_file: Path, level: int):
    recipe = recipe_of(recipe_file, f"losses.cluster.level={level}")
    with pytest.raises(InputError, match=rf"losses\.cluster\.level={level}, but the labels have columns 0 to 1"):
        make_losses(recipe, torch.zeros(4, 2, dtype=torch.int64), dim=8)


def test_a_batch_with_fewer_than_two_pictures_is_passed_over(tmp_path: Path, recipe_file: Path):
    trainer = Trainer(recipe_of(recipe_file), Run(tmp_path), silent)
    before = trainer.encoder.fingerprint()
    batch = Batch(torch.zeros(1, 3, 24, 24), torch.tensor([0]), [ImageError("a.png", "truncated")])
    assert trainer._step([batch]) == {}
    assert trainer.damaged == {"a.png: truncated"}
    assert trainer.encoder.fingerprint() == before
