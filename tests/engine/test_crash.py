"""Runs that are killed, and disks that fail."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from builders import Listening, folder_with, run_recipe
from pertinent.engine.checkpoint import load_state, prune, save_state
from pertinent.engine.run import Run
from pertinent.errors import StorageError
from pertinent.models.encoder import Encoder
from pertinent.store import EmbeddingStore

# Everything that has a state: two optimisers, an average, a memory, validation, dropped paths.
EVERYTHING = [
    "data.val=val",
    "memory.size=12",
    "train.ema=0.9",
    "train.chunk=5",
    "losses.cluster.optim={name: adamw, lr: 0.01}",
]


def same(one: Any, other: Any, where: str = "") -> None:
    """Equal to the bit; only the clock may differ."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one.keys() - {"seconds"}:
            same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for place, pair in enumerate(zip(one, other, strict=True)):
            same(*pair, f"{where}[{place}]")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other, where


def same_run(one: Run, other: Run) -> None:
    same(load_state(one.checkpoints()[-1]), load_state(other.checkpoints()[-1]))
    for name in ("before", "best", "last"):
        assert Encoder.load(one.encoder(name)).fingerprint() == Encoder.load(other.encoder(name)).fingerprint()
    stores = [EmbeddingStore.open(run.store("best")).vectors for run in (one, other)]
    np.testing.assert_array_equal(*stores)


def crash(recipe: Path, folder: Path, kills: int, seed: int, *words: str) -> dict[str, Any]:
    here = Path(__file__).parent
    command = [sys.executable, str(here / "crash_worker.py"), str(recipe), str(folder), str(kills), str(seed), *words]
    environment = os.environ | {"PYTHONPATH": str(here.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def check_crash(folder: Path, told: dict[str, Any], every: int, keep: int) -> None:
    # Of the steps told in the log, at most those since the last checkpoint are done again.
    assert max(told["lost"]) <= every
    assert min(told["lost"]) >= 0
    for number in range(told["runs"]):
        run = Run(folder / str(number))
        same_run(run, Run(folder / "whole"))
        assert not list(run.folder.rglob(".*")), "nothing half-written is left"
        assert len(run.checkpoints()) == keep


def test_killed_at_random_moments_it_ends_as_one_never_killed(tmp_path: Path, recipe_file: Path):
    words = [*EVERYTHING, "train.epochs=3", "train.checkpoint_steps=2", "train.keep=2"]
    told = crash(recipe_file, tmp_path, 4, 1, *words)
    assert len(told["lost"]) == 4
    check_crash(tmp_path, told, every=2, keep=2)


@pytest.mark.slow
@pytest.mark.skipif("PERTINENT_SLOW" not in os.environ, reason="trains for minutes; set PERTINENT_SLOW=1")
@pytest.mark.parametrize("every", [1, 2, 5])
def test_killed_at_twenty_random_moments(tmp_path: Path, recipe_file: Path, every: int):
    words = [*EVERYTHING, "train.epochs=14", f"train.checkpoint_steps={every}", "train.checkpoint_every=4"]
    told = crash(recipe_file, tmp_path, 20, every, *words)
    print(told)  # noqa: T201 - with -s, for the curious
    assert len(told["lost"]) == 20
    check_crash(tmp_path, told, every=every, keep=1)


def stop_at(epoch: int, step: int, error: Callable[[], BaseException] = KeyboardInterrupt) -> Listening:
    def act(event: dict[str, Any]) -> None:
        if event["event"] == "step" and (event["epoch"], event["step"]) == (epoch, step):
            raise error()

    return Listening(act)


def test_the_only_checkpoint_lay_aside_when_the_process_was_killed(
    tmp_path: Path, recipe_file: Path, finished_run: Run
):
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe_file, tmp_path / "run", listener=stop_at(2, 1))
    run = Run(tmp_path / "run")
    (newest,) = run.checkpoints()
    newest.rename(newest.with_name(f".{newest.name}.old"))
    folder_with(newest.with_name(f".{newest.name}.ab12_xyz"), "half")
    folder_with(run.folder / ".best.ab12_xyz", "half")
    folder_with(run.folder / "stores" / ".before.ab12_xyz", "half")
    events = Listening()
    same_run(run_recipe(recipe_file, run.folder, resume=True, listener=events), finished_run)
    assert (events[0]["event"], events[0]["epoch"], events[0]["step"]) == ("resume", 1, 1)
    assert not list(run.folder.rglob(".*"))


def test_killed_while_the_recipe_was_written_the_folder_is_free(tmp_path: Path, recipe_file: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".recipe.yaml.ab12_xyz").write_text("half")
    run_recipe(recipe_file, tmp_path / "run", "train.epochs=1")


# --- one process at a time

HOLDING = """
import sys
from pertinent.engine.run import Run, sole
from pathlib import Path
with sole(Run(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_that_another_process_trains(tmp_path: Path, recipe_file: Path):
    run_recipe(recipe_file, tmp_path / "run", "train.epochs=1")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(StorageError, match=r"another process is training into .*run; wait for it"):
            run_recipe(recipe_file, tmp_path / "run", "train.epochs=1", resume=True)
        child.kill()
    run_recipe(recipe_file, tmp_path / "run", "train.epochs=1", resume=True)
    assert not list((tmp_path / "run").rglob(".*"))


def test_a_new_run_that_another_process_began_meanwhile(tmp_path: Path, recipe_file: Path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        with pytest.raises(StorageError, match="another process is training into"):
            run_recipe(recipe_file, tmp_path / "run", "train.epochs=1")
        child.kill()


# --- which checkpoints are kept


def states(folder: Path, *names: str) -> list[Path]:
    for name in names:
        save_state(folder / name, {"name": name})
    return [folder / name for name in names]


def test_the_last_ones_are_kept(tmp_path: Path):
    folders = states(tmp_path, "00000-0000002", "00000-0000010", "00001-0000000", "00010-0000001")
    prune(folders, folders[-1], 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00001-0000000", "00010-0000001"]


def test_a_damaged_later_one_does_not_cost_the_good_ones(tmp_path: Path):
    folders = states(tmp_path, "00001-0000001", "00001-0000002", "00001-0000003")
    prune(folders, folders[1], 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00001-0000002", "00001-0000003"]


def test_a_damaged_checkpoint_ahead_of_the_place(tmp_path: Path, recipe_file: Path, finished_run: Run):
    """After it is passed over, the new ones before it are those that count."""
    words = ["train.checkpoint_steps=1", "train.keep=2"]
    with pytest.raises(RuntimeError):
        run_recipe(recipe_file, tmp_path / "run", *words, listener=stop_at(2, 3, RuntimeError))
    run = Run(tmp_path / "run")
    newest = run.checkpoints()[-1]
    assert newest.name == "00001-0000002"
    (newest / "state.safetensors").write_bytes(b"nothing")
    newest.rename(run.checkpoint(1, 3))
    with pytest.raises(RuntimeError):
        run_recipe(recipe_file, run.folder, *words[:1], resume=True, listener=stop_at(2, 3, RuntimeError))
    assert [path.name for path in run.checkpoints()] == ["00001-0000002", "00001-0000003"]
    same_run(run_recipe(recipe_file, run.folder, resume=True), finished_run)


@pytest.mark.parametrize(
    ("words", "places"),
    [
        (["checkpoint_steps=1"], [(0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3), (2, 0)]),
        (["checkpoint_steps=2"], [(0, 2), (1, 0), (1, 2), (2, 0)]),
        (["checkpoint_steps=2", "checkpoint_every=9"], [(0, 2), (1, 1), (1, 3), (2, 0)]),
        (["checkpoint_steps=4", "checkpoint_every=9"], [(1, 1), (2, 0)]),
        (["checkpoint_steps=2", "accumulate=2", "checkpoint_every=9"], [(0, 2), (1, 2), (2, 0)]),
        (["checkpoint_steps=9"], [(1, 0), (2, 0)]),
    ],
)
def test_how_often_the_state_is_saved(
    tmp_path: Path, recipe_file: Path, words: list[str], places: list[tuple[int, int]]
):
    """Never more than so many batches lie between two states, not even across the end of an epoch."""
    run_recipe(recipe_file, tmp_path / "run", *(f"train.{word}" for word in words), "train.keep=99")
    assert Run(tmp_path / "run").checkpoints() == [Run(tmp_path / "run").checkpoint(*place) for place in places]


def test_keep(tmp_path: Path, recipe_file: Path):
    run = run_recipe(recipe_file, tmp_path / "run", "train.checkpoint_steps=1", "train.keep=3")
    assert [path.name for path in run.checkpoints()] == ["00001-0000002", "00001-0000003", "00002-0000000"]
    assert [load_state(path)["place"] for path in run.checkpoints()] == [[1, 2], [1, 3], [2, 0]]


# --- disks


WAYS_TO_FAIL = {
    "fsync": "pertinent.files.os.fsync",
    "tensors": "pertinent.engine.checkpoint.write_tensors",
    "rename": "pertinent.files._swap",
    "text": "pertinent.engine.checkpoint.write_json",
}


@pytest.mark.parametrize("what", WAYS_TO_FAIL.values(), ids=WAYS_TO_FAIL)
@pytest.mark.parametrize("moment", ["resume", "step"])
def test_a_full_disk_while_saving_leaves_the_last_good_checkpoint(
    tmp_path: Path, recipe_file: Path, finished_run: Run, what: str, moment: str
):
    """At the same place in training, where the good one is to be replaced, and at the next one."""

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch = pytest.MonkeyPatch()
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe_file, tmp_path / "run", listener=stop_at(2, 1))
    (good,) = Run(tmp_path / "run").checkpoints()
    before = {file.name: file.read_bytes() for file in good.iterdir()}

    def act(event: dict[str, Any]) -> None:
        if event["event"] == moment:
            monkeypatch.setattr(what, full)
            raise KeyboardInterrupt

    try:
        with pytest.raises((StorageError, KeyboardInterrupt)):
            run_recipe(recipe_file, tmp_path / "run", resume=True, listener=Listening(act))
    finally:
        monkeypatch.undo()
    assert Run(tmp_path / "run").checkpoints() == [good]
    assert {file.name: file.read_bytes() for file in good.iterdir()} == before
    assert not list((tmp_path / "run").rglob(".*"))
    same_run(run_recipe(recipe_file, tmp_path / "run", resume=True), finished_run)


@pytest.mark.skipif("PERTINENT_SLOW" not in os.environ, reason="mounts a file system; set PERTINENT_SLOW=1")
def test_a_disk_that_is_really_full(tmp_path: Path, recipe_file: Path, finished_run: Run):
    """A file system of 40 MB, where mounting one is allowed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(KeyboardInterrupt):
            run_recipe(recipe_file, disk / "run", listener=stop_at(2, 1))
        (good,) = Run(disk / "run").checkpoints()
        free = shutil.disk_usage(disk).free
        (disk / "filler").write_bytes(bytes(free - 100_000))
        with pytest.raises(StorageError, match=r"No space left on device.*free space"):
            run_recipe(recipe_file, disk / "run", resume=True)
        assert Run(disk / "run").checkpoints() == [good]
        (disk / "filler").unlink()
        same_run(run_recipe(recipe_file, disk / "run", resume=True), finished_run)
    finally:
        # Lazily: stores and encoders may still be mapped.
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_folder_that_becomes_read_only_while_training(
    tmp_path: Path, recipe_file: Path, finished_run: Run, monkeypatch: pytest.MonkeyPatch
):
    """Root may write everywhere, so the refusal is played."""
    import tempfile

    make = tempfile.mkdtemp

    def refused(*arguments: Any, dir: Any = None, **options: Any) -> str:  # noqa: A002
        if dir is not None and Path(dir).name == "checkpoints":
            raise PermissionError(errno.EROFS, "Read-only file system", str(dir))
        return make(*arguments, dir=dir, **options)

    def act(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["epoch"] == 2:
            monkeypatch.setattr("pertinent.files.tempfile.mkdtemp", refused)

    with pytest.raises(StorageError, match="Read-only file system; free space or choose another folder"):
        run_recipe(recipe_file, tmp_path / "run", listener=Listening(act))
    monkeypatch.undo()
    (good,) = Run(tmp_path / "run").checkpoints()
    assert load_state(good)["place"] == [1, 0]
    same_run(run_recipe(recipe_file, tmp_path / "run", resume=True), finished_run)
