"""Two and three processes over Gloo against one with the whole batch."""

from __future__ import annotations

import contextlib
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import world_worker
from every_loss import NAMES, RANKING
from processes import started
from world_worker import BIG, FROZEN, SHARES, WORDS

from builders import run_recipe
from pertinent.engine.checkpoint import load_state
from pertinent.engine.distributed import World
from pertinent.engine.events import read_events
from pertinent.engine.run import Run
from pertinent.errors import TrainingError
from pertinent.models.encoder import Encoder
from pertinent.store import EmbeddingStore

ALONE = World()


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory, recipe_file: Path) -> dict[int, Path]:
    """Folders with the results of two and of three processes."""
    folders = {size: tmp_path_factory.mktemp(f"world-{size}") for size in (2, 3)}
    with contextlib.ExitStack() as stack:
        worlds = [started(size, "world_worker.py", recipe_file, folder) for size, folder in folders.items()]
        for wait in [stack.enter_context(world) for world in worlds]:
            wait()
    return folders


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """What one process finds."""
    return world_worker.steps(ALONE)


def same(one: Any, other: Any, where: str = "", **tolerance: float) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            same(one[key], other[key], f"{where}.{key}", **tolerance)
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for place, pair in enumerate(zip(one, other, strict=True)):
            same(*pair, f"{where}[{place}]", **tolerance)
    elif not isinstance(one, torch.Tensor):
        assert one == other, where
    else:
        allowed = tolerance or {"rtol": 1e-9, "atol": 1e-9}
        torch.testing.assert_close(one, other, **allowed, msg=lambda text: f"{where}: {text}")


@pytest.fixture(scope="module")
def steps(worlds: dict[int, Path]) -> dict[int, list[dict[str, Any]]]:
    return {size: [load_state(folder / f"steps-{rank}") for rank in range(size)] for size, folder in worlds.items()}


@pytest.mark.parametrize("how", SHARES)
@pytest.mark.parametrize("name", [*NAMES, *(f"{name} with memory" for name in RANKING)])
@pytest.mark.parametrize("size", [2, 3])
def test_many_processes_equal_one(steps: dict[int, Any], alone: dict[str, Any], size: int, name: str, how: str):
    """Loss, gradients of the network and of the loss's own parameters, buffers, and what the memory keeps."""
    for found in steps[size]:
        same(found[f"{name}, {how}"], alone[f"{name}, {how}"])


def test_the_gradients_are_not_all_zero(alone: dict[str, Any]):
    for name in NAMES:
        for gradients in (alone[f"{name}, even"]["network"], alone[f"{name}, even"]["losses"]):
            assert all(gradient.any() for gradient in gradients.values()), name


@pytest.fixture(scope="module", params=[2, 3])
def talk(request: pytest.FixtureRequest, worlds: dict[int, Path]) -> list[dict[str, Any]]:
    size = request.param
    return [load_state(worlds[size] / f"talk-{rank}") for rank in range(size)]


def test_what_processes_tell_each_other(talk: list[dict[str, Any]]):
    size = len(talk)
    assert [found["rank"] for found in talk] == list(range(size))
    assert [found["share"] for found in talk] == {2: [[0, 5], [5, 10]], 3: [[0, 3], [3, 6], [6, 10]]}[size]
    for found in talk:
        rows, flags, nothing = found["gathered"]
        assert rows.tolist() == [[rank] * 2 for rank in range(size) for _ in range(rank)]
        assert flags.tolist() == [rank == 1 for rank in range(size)]
        assert nothing.shape == (0, 3)
        assert nothing.dtype == torch.float64
        assert found["counts"] == [7 * rank for rank in range(size)]
        assert found["objects"] == [{"rank": rank} for rank in range(size)]


def test_gradients_are_summed_where_anybody_has_one(talk: list[dict[str, Any]]):
    for found in talk:
        first, second, third = found["summed"]
        assert first.tolist() == [sum(range(len(talk)))] * 2
        assert second.tolist() == [len(talk)] * 2
        assert third is None


def test_running_statistics_are_averaged_and_nothing_else_is_touched(talk: list[dict[str, Any]]):
    for rank, found in enumerate(talk):
        norm = found["norm"]
        torch.testing.assert_close(norm["0.running_mean"], torch.full((2,), (len(talk) - 1) / 2))
        assert torch.equal(norm["1.running_mean"], FROZEN), "frozen: not even rounded"
        assert torch.equal(norm["2.table"], torch.full((1,), 0.1 + rank))


def test_a_loss_that_draws_at_random_is_drawn_once(talk: list[dict[str, Any]]):
    own = [found["drawn"][0] for found in talk]
    for found in talk:
        same(found["drawn"][1], sum(own))
    objective = world_worker.Objective(torch.nn.ModuleDict({"random": world_worker.Drawing()}), {"random": 1.0})
    network = world_worker.make_network()
    torch.manual_seed(100)
    world_worker.gradients(network, network, world_worker.make_pixels(), world_worker.labels_of("ap"), objective)
    same(sum(own), network[-2].weight.grad)


# --- whole runs


def losses(folder: Path) -> list[float]:
    return [event["parts"]["loss"] for event in read_events(Run(folder).log_path) if event["event"] == "step"]


@pytest.fixture(scope="module")
def run_alone(tmp_path_factory: pytest.TempPathFactory, recipe_file: Path) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("alone")
    return {
        "plain": run_recipe(recipe_file, folder / "plain", *WORDS),
        "big": run_recipe(recipe_file, folder / "big", *WORDS, *BIG),
    }


@pytest.mark.parametrize("name", ["plain", "big"])
def test_a_run_of_many_processes_is_that_of_one(worlds: dict[int, Path], run_alone: dict[str, Run], name: str):
    run, one = Run(worlds[2] / name), run_alone[name]
    assert losses(run.folder) == pytest.approx(losses(one.folder), rel=1e-4)
    for encoder in ("before", "last"):
        first, second = (Encoder.load(r.encoder(encoder)).state_dict() for r in (run, one))
        tolerance = {"rtol": 0.0, "atol": 0.0} if encoder == "before" else {"rtol": 1e-2, "atol": 1e-3}
        same(dict(first), dict(second), **tolerance)
    events = read_events(run.log_path)
    assert events[0]["processes"] == 2
    assert [event["event"] for event in events] == [event["event"] for event in read_events(one.log_path)]
    state = load_state(run.checkpoints()[-1])
    assert len(state["random"]) == 2
    assert not torch.equal(state["random"][0]["torch"], state["random"][1]["torch"]), "each draws its own dropout"


def test_the_test_split_embedded_by_many_is_byte_by_byte_that_of_one(
    worlds: dict[int, Path], run_alone: dict[str, Run]
):
    stores = [run.store("before") for run in (Run(worlds[2] / "plain"), run_alone["plain"])]
    first, second = ({file.name: file.read_bytes() for file in store.iterdir()} for store in stores)
    assert first == second


def test_ended_in_mid_epoch_and_resumed_it_ends_the_same(worlds: dict[int, Path]):
    resumed, whole = (Run(worlds[2] / name) for name in ("resumed", "big"))
    assert [event["step"] for event in read_events(resumed.log_path) if event["event"] == "resume"] == [2]
    for name in ("last", "best"):
        assert Encoder.load(resumed.encoder(name)).fingerprint() == Encoder.load(whole.encoder(name)).fingerprint()
    first, second = (load_state(run.checkpoints()[-1]) for run in (resumed, whole))
    assert first.pop("seconds") != second.pop("seconds")
    same(first, second, rtol=0, atol=0)
    assert first["place"] == [2, 0]


def test_one_alone_goes_on_with_what_two_began(
    worlds: dict[int, Path], recipe_file: Path, tmp_path: Path, run_alone: dict[str, Run]
):
    shutil.copytree(worlds[2] / "left", tmp_path / "left")
    run = run_recipe(recipe_file, tmp_path / "left", *WORDS, *BIG, resume=True)
    assert [event["step"] for event in read_events(run.log_path) if event["event"] == "resume"] == [2]
    first, second = (load_state(found.checkpoints()[-1]) for found in (run, run_alone["big"]))
    for key in ("encoder", "average", "losses"):
        same(first[key], second[key], key, rtol=1e-2, atol=1e-3)


def test_processes_meet_on_cpus_without_being_told(worlds: dict[int, Path]):
    events = read_events(Run(worlds[2] / "dropped").log_path)
    assert (events[0]["processes"], events[0]["device"]) == (2, "cpu")
    assert [event["event"] for event in events].count("end") == 1, "only the first process speaks"


@pytest.mark.parametrize("size", [2, 3])
def test_stores(worlds: dict[int, Path], tmp_path_factory: pytest.TempPathFactory, recipe_file: Path, size: int):
    folder = tmp_path_factory.mktemp("stores")
    world_worker.embeddings(ALONE, recipe_file, folder)
    for name in ("store", "few", "halves"):
        first, second = EmbeddingStore.open(worlds[size] / name), EmbeddingStore.open(folder / name)
        np.testing.assert_array_equal(first.vectors, second.vectors)
        assert first.manifest == second.manifest
        assert not (worlds[size] / f".{name}.partial").exists()
    # 24 pictures are 5 batches of 5; each process had done its first one when all were stopped.
    heard = [load_state(worlds[size] / f"heard-{rank}")["done"] for rank in range(size)]
    assert heard == {2: [[10], [10, 14]], 3: [[], [10], [9]]}[size]


# --- one alone


def test_one_alone_needs_nobody(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert World.join() == World(0, 1) == ALONE
    assert ALONE.leads
    assert ALONE.device is None
    assert ALONE.share(7) == slice(0, 7)
    rows = torch.arange(3)
    assert ALONE.gather(rows) is rows
    assert ALONE.gather_counts(3) == [3]
    assert ALONE.gather_objects("a") == ["a"]
    parameter = torch.nn.Parameter(torch.zeros(1))
    ALONE.sum_gradients([parameter])
    ALONE.copy_gradients([parameter])
    ALONE.mean_buffers(torch.nn.BatchNorm1d(1))
    ALONE.wait()
    assert parameter.grad is None


@pytest.mark.parametrize(("count", "size"), [(10, 3), (2, 4), (0, 2), (4096, 7)])
def test_shares_are_contiguous_and_even(count: int, size: int):
    shares = [World(rank, size).share(count) for rank in range(size)]
    assert [row for share in shares for row in range(count)[share]] == list(range(count))
    lengths = [len(range(count)[share]) for share in shares]
    assert max(lengths) - min(lengths) <= 1


def test_an_accelerator_that_was_set_up_for_one(monkeypatch: pytest.MonkeyPatch):
    import accelerate

    class Alone:
        num_processes, process_index = 1, 0

        def __init__(self, cpu: bool) -> None:
            assert cpu == (not torch.cuda.is_available())

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(accelerate, "PartialState", Alone)
    with pytest.raises(TrainingError, match="started 2 processes, but accelerate was set up for 1 before"):
        World.join()


def test_accelerate_is_missing(monkeypatch: pytest.MonkeyPatch):
    from pertinent.errors import MissingDependencyError

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(MissingDependencyError, match="several processes need accelerate: pip install accelerate"):
        World.join()
