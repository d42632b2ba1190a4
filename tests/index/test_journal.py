"""What a crash leaves: torn records, damage that is none, and a real process killed at any moment."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pertinent import EmbeddingStore, Index
from pertinent.errors import StorageError
from pertinent.index import Where
from pertinent.index._journal import HEAD, frame, records, seal

VECTORS = np.random.default_rng(0).standard_normal((40, 5)).astype(np.float32)
IDS = [f"i{number}" for number in range(40)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Index.build(EmbeddingStore.write(tmp_path / "store", VECTORS, IDS)).save(tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def closed(folder: Path) -> Path:
    """A journal of three changes, closed."""
    index = Index.open(folder)
    index.put(["a"], np.ones((1, 5)))
    index.delete(["i0"])
    index.put(["b"], np.ones((1, 5)))
    index.close()
    return folder / "changes" / "journal"


@pytest.fixture
def journal(closed: Path) -> Path:
    """The same as a process that was killed leaves it."""
    seal(closed.parent, 0)
    return closed


def test_a_torn_last_record_never_was(folder: Path, journal: Path):
    whole = journal.read_bytes()
    ends = [end for end, _ in records(journal)]
    assert ends[-1] == len(whole)
    for size in range(len(whole)):
        journal.write_bytes(whole[:size])
        kept = sum(end <= size for end in ends)
        index = Index.open(folder)
        assert [index.position("a"), index.position("i0"), index.position("b")] == [
            40 if kept > 0 else None,
            None if kept > 1 else 0,
            41 if kept > 2 else None,
        ]


@pytest.mark.parametrize("tail", [b"\0" * 5, b"\0" * 500, frame(b"x" * 50)[:-1] + b"\0"])
def test_what_comes_next_cuts_it_off(folder: Path, journal: Path, tail: bytes):
    journal.write_bytes(journal.read_bytes() + tail)
    index = Index.open(folder)
    assert index.position("b") == 41
    index.put(["c"], np.ones((1, 5)))
    index.close()
    assert [Index.open(folder).position(name) for name in "abc"] == [40, 41, 42]


def test_damage_to_an_earlier_record_is_found(folder: Path, journal: Path):
    whole = journal.read_bytes()
    first = next(records(journal))[0]
    for place in range(first):
        journal.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(StorageError, match=r"journal is damaged at byte 0: .* bring the file back from a copy"):
            Index.open(folder)
        with pytest.raises(StorageError, match=r"journal is damaged at byte 0"):
            Index.verify(folder)


@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "flipped", "zeros"])
def test_after_closing_the_last_record_cannot_be_torn(folder: Path, closed: Path, damage: str):
    whole = closed.read_bytes()
    start = [0, *(end for end, _ in records(closed))][-2]
    left = {"empty": b"", "cut": whole[:-5], "flipped": whole[:-1] + bytes([whole[-1] ^ 1])}
    left["zeros"] = whole[:start] + b"\0" * (len(whole) - start)
    closed.unlink()
    if damage != "gone":
        closed.write_bytes(left[damage])
    place = 0 if damage in ("gone", "empty") else start
    for read in (Index.open, Index.verify):
        with pytest.raises(StorageError, match=rf"journal is damaged at byte {place}: .*is gone or changed; bring the"):
            read(folder)
    # What it says to do works.
    shutil.rmtree(closed.parent)
    assert len(Index.open(folder)) == 40


def test_a_damaged_seal(folder: Path, closed: Path):
    path = closed.with_name("sealed")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(StorageError, match=r"sealed is damaged; delete it if .*journal is as it was left"):
        Index.open(folder)
    path.unlink()
    assert Index.open(folder).position("b") == 41


def test_what_was_whole_at_opening_is_sealed_before_anything_is_added(folder: Path, journal: Path):
    index = Index.open(folder)
    index.put(["c"], np.ones((1, 5)))
    before = journal.read_bytes()
    index._writer = None  # killed
    journal.write_bytes(before[:60])
    with pytest.raises(StorageError, match="journal is damaged"):
        Index.open(folder)


def test_records_that_mean_nothing(folder: Path, journal: Path):
    for payload in (b"", b"\7" + bytes(7) + b"nothing", frame(b"")):
        journal.write_bytes(frame(payload))
        with pytest.raises(StorageError, match=r"journal is damaged .*; bring it back from a copy"):
            Index.open(folder)


def test_a_record_is_long_enough_to_be_told_from_nothing():
    assert any(frame(b"")[: HEAD.size])


# --- a process that is killed

CHANGING = """
import sys, numpy as np
from pertinent import Index
index = Index.open(sys.argv[1])
rng = np.random.default_rng(1)  # of another seed than VECTORS: a twin of one could be found in its place
print("ready", flush=True)
number = 0
while True:
    index.put([f"n{number}", "same"], rng.standard_normal((2, 5)), metadata=[{"number": number}] * 2)
    if number % 3 == 0:
        index.delete([f"n{number}"])
    print(number, flush=True)
    if number % 25 == 24 and len(sys.argv) > 2:
        getattr(index, sys.argv[2])(*sys.argv[3:])
        print(number, flush=True)
    number += 1
"""


@pytest.mark.parametrize(("after", "also"), [(1, []), (60, []), (27, ["compact"]), (27, ["save", "index"])])
def test_killed_at_any_moment_it_loses_nothing_acknowledged(folder: Path, after: int, also: list[str]):
    extra = [str(folder) if word == "index" else word for word in also]
    child = subprocess.Popen(
        [sys.executable, "-c", CHANGING, str(folder), *extra], stdout=subprocess.PIPE, text=True, cwd=folder.parent
    )
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(after)]
    time.sleep(np.random.default_rng(after).random() * 0.01)
    os.kill(child.pid, signal.SIGKILL)
    lines += child.communicate()[0].splitlines(keepends=True)
    done = [int(line) for line in lines if line.endswith("\n") and line.strip().isdigit()]
    last = done[-1] if done else -1
    index = Index.open(folder)
    for number in range(last + 1):
        assert (index.position(f"n{number}") is None) == (number % 3 == 0), number
    if last >= 0:
        same = index.position("same")
        assert same is not None
        assert index.item(same).metadata["number"] in (last, last + 1)
    assert set(IDS) <= set(index.search(VECTORS[0], 10_000).ids[0])
    np.testing.assert_array_equal(index.search(VECTORS, 1, Where(ids_not=("same",))).positions[:, 0] < 40, True)
    # It goes on: the lock died with its holder.
    index.put(["after"], np.ones((1, 5)))
    index.compact()
    index.close()
    Index.verify(folder)
    left = [path.name for path in folder.parent.iterdir() if path.name.startswith(".")]
    assert not left, "what the killed one was writing is cleared away"


# --- the rest of the folder


@pytest.mark.parametrize("name", ["index.json", "names/ids.ends.npy"])
def test_a_file_of_the_same_size_that_is_not_the_one_written(folder: Path, name: str):
    path = folder / name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + b"\1" * (len(whole) - len(whole) // 2))
    with pytest.raises(StorageError, match="damaged"):
        Index.open(folder)


def test_vectors_of_the_same_size_that_are_not_those_indexed(folder: Path):
    path = folder.parent / "store" / "vectors.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(StorageError, match=r"vectors\.npy is damaged: it is not what was indexed; embed again"):
        Index.open(folder)


def test_ids_that_are_not_those_indexed(folder: Path):
    EmbeddingStore.write(folder.parent / "store", VECTORS, IDS[::-1])
    with pytest.raises(StorageError, match=r"was built on other items than .* holds now; build it again"):
        Index.open(folder)


def test_an_index_that_a_crash_left_aside_comes_back(folder: Path):
    folder.rename(folder.with_name(".index.old"))
    assert len(Index.open(folder)) == 40


def test_a_folder_that_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch):
    index = Index.open(folder)

    def refuse(*arguments: object, **options: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(StorageError, match=r"locking .*lock failed: Permission denied"):
        index.put(["a"], np.ones((1, 5)))
    monkeypatch.undo()
    assert index.position("a") is None
