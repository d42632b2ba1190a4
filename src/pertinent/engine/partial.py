"""`PartialStore`: a store in the making, which survives whatever stops the work."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pertinent.data.table import ImageTable, Judgement
from pertinent.engine.distributed import World
from pertinent.engine.extract import Damaged
from pertinent.errors import DataError, StorageError
from pertinent.files import read_json, refuse_strangers, reserve, storage_errors, write_json
from pertinent.store import STORE_FILES, EmbeddingStore, StoreLabels

# Seconds between two notes of how far it got: what a crash costs at most.
SAVE_EVERY = 10.0
FILES = ("vectors", "digests")
# Bytes of a sha256.
DIGEST = 32
Number = TypeVar("Number", np.float32, np.uint8)


class PartialStore:
    """A store in the making: which rows are this process's, their vectors on disk, and how far it got with them.

    Windows of rows are finished in order; of the one after, some rows may be.

    Args:
        folder: the store that it will be.
        table: the pictures.
        world: the processes among which they are shared out.
        key: what the vectors depend on; includes `table` and `encoder`, their fingerprints.
        dim: length of a vector.
        window: how many rows are embedded independently of the others.
    """

    def __init__(
        self, folder: Path, table: ImageTable, world: World, key: dict[str, Any], *, dim: int, window: int
    ) -> None:
        self.folder, self.table, self.world, self.key, self.dim, self.window = folder, table, world, key, dim, window
        self.path = folder.with_name(f".{folder.name}.partial")
        self.progress = self.path / f"progress-{world.rank}-of-{world.size}.json"
        self.shares = _shares(len(table), window, world.size)
        self.start, self.end = self.shares[world.rank]
        self.done = self.start
        self.ahead: set[int] = set()
        self.damaged: list[str] = []
        self.bad_rows: list[int] = []
        self.saved = time.monotonic()
        self.vectors: NDArray[np.float32]
        self.digests: NDArray[np.uint8]

    def open(self, skip_damaged: bool) -> None:
        """Take up earlier work, or begin.

        Raises:
            DataError: no picture.
            StorageError: the folder cannot be written, or holds other files than a store's.
        """
        if not len(self.table):
            raise DataError("there is no picture to embed")
        refuse_strangers(self.folder, STORE_FILES)
        if not self.world.leads:
            self.world.wait()
        if not self._go_on(skip_damaged):
            self._begin()
        if self.world.leads:
            self.world.wait()

    def _file(self, what: str, rank: int) -> Path:
        # A file for each process: over a network, two that write near places of one file may undo each other.
        return self.path / (f"{what}.npy" if self.world.size == 1 else f"{what}-{rank}-of-{self.world.size}.npy")

    def _go_on(self, skip_damaged: bool) -> bool:
        """Take up earlier work on the same pictures by the same encoder; what cannot be read is done again."""
        try:
            saved = read_json(self.progress)
            vectors, digests = (np.load(self._file(what, self.world.rank), mmap_mode="r+") for what in FILES)
            done, rows, damaged, bad_rows = saved["done"], set(saved["ahead"]), saved["damaged"], saved["bad_rows"]
        except (StorageError, OSError, EOFError, ValueError, KeyError, TypeError):
            return False
        others = saved["key"] != self.key or saved.get("rows") != [self.start, self.end]
        # A picture that was skipped before must not be passed over in silence now.
        if others or (damaged and not skip_damaged):
            return False
        if vectors.shape != (self.end - self.start, self.dim) or digests.shape != (len(vectors), DIGEST):
            return False
        self.digests = digests
        self.vectors, self.done, self.ahead, self.damaged, self.bad_rows = vectors, done, rows, damaged, bad_rows
        return True

    def _begin(self) -> None:
        with storage_errors(self.path, "writing"):
            if self.world.leads:
                shutil.rmtree(self.path, ignore_errors=True)
                self.path.mkdir(parents=True)
            rows, rank = self.end - self.start, self.world.rank
            self.vectors = self._new_file(self._file("vectors", rank), (rows, self.dim), np.float32)
            self.digests = self._new_file(self._file("digests", rank), (rows, DIGEST), np.uint8)

    def _new_file(self, path: Path, shape: tuple[int, int], kind: type[Number]) -> NDArray[Number]:
        array: NDArray[Number] = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)
        try:
            reserve(path)
        except OSError:
            shutil.rmtree(self.path, ignore_errors=True)
            raise
        return array

    @property
    def count(self) -> int:
        """How many pictures are done."""
        return self.done - self.start + len(self.ahead)

    def lacks(self, rows: list[int]) -> bool:
        """Whether some of these rows, of the window in work, are still to be done."""
        return not self.ahead.issuperset(rows)

    def add(self, rows: list[int], vectors: NDArray[np.float32], digests: Sequence[bytes]) -> None:
        """Take the vectors `(B, D)` of some rows of the window in work, and the digests of what they were made of."""
        self.vectors[np.array(rows) - self.start] = vectors
        self.digests[np.array(rows) - self.start] = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST)
        self.ahead.update(rows)
        if time.monotonic() - self.saved > SAVE_EVERY:
            self.save()

    def close(self, damaged: Sequence[Damaged]) -> None:
        """Everything of a window is done, but for its damaged pictures."""
        self.bad_rows += [row for row, _ in damaged]
        self.damaged += [str(error) for _, error in damaged]
        self.done, self.ahead = min(self.done + self.window, self.end), set()

    def save(self) -> None:
        """Note how far it got."""
        with storage_errors(self.path, "writing"):
            self.vectors.flush()  # type: ignore[attr-defined]
            self.digests.flush()  # type: ignore[attr-defined]
        state = {"key": self.key, "rows": [self.start, self.end], "done": self.done, "ahead": sorted(self.ahead)}
        write_json(self.progress, {**state, "damaged": self.damaged, "bad_rows": self.bad_rows})
        self.saved = time.monotonic()

    def finish(self, facts: dict[str, Any]) -> EmbeddingStore:
        """Make the store, when every process has done its rows; `facts` go into the manifest.

        Raises:
            DataError: no picture could be read.
        """
        everyone = self.world.gather_objects((self.bad_rows, self.damaged))
        self.bad_rows = [row for rows, _ in everyone for row in rows]
        self.damaged = [text for _, texts in everyone for text in texts]
        if self.world.leads:
            self._write(facts)
        self.world.wait()
        return EmbeddingStore.open(self.folder)

    def _write(self, facts: dict[str, Any]) -> None:
        good = np.setdiff1d(np.arange(len(self.table)), np.asarray(self.bad_rows, dtype=np.int64))
        if not len(good):
            shutil.rmtree(self.path, ignore_errors=True)
            raise DataError(f"none of the {len(self.table)} pictures could be read, the first: {self.damaged[0]}")
        vectors, digests = self._join("vectors", self.vectors), self._join("digests", self.digests)
        vectors = vectors if len(good) == len(self.table) else vectors[good]
        content = hashlib.sha256(digests[good].tobytes()).hexdigest()
        EmbeddingStore.write(
            self.folder,
            vectors,
            [self.table.ids[row] for row in good.tolist()],
            places=[self.table.source.where(row) for row in good.tolist()],
            labels=labels_at(StoreLabels.of(self.table), len(self.table), good),
            encoder=self.key["encoder"],
            extra={"table": self.key["table"], "content": content, "damaged": self.damaged, **facts},
        )
        shutil.rmtree(self.path, ignore_errors=True)

    def _join(self, what: str, own: NDArray[Number]) -> NDArray[Number]:
        """The vectors, or digests, of all processes."""
        if self.world.size == 1:
            return own
        with storage_errors(self.path, "writing"):
            whole = self._new_file(self.path / f"{what}.npy", (len(self.table), own.shape[1]), own.dtype.type)
            for rank, (start, end) in enumerate(self.shares):
                whole[start:end] = np.load(self._file(what, rank), mmap_mode="r")
        return whole


def _shares(count: int, window: int, processes: int) -> list[tuple[int, int]]:
    """First and last row of each process: whole windows, so that each picture is embedded in the same company."""
    windows = -(-count // window)
    ends = [min(windows * (rank + 1) // processes * window, count) for rank in range(processes)]
    return list(zip([0, *ends], ends, strict=False))


def labels_at(labels: StoreLabels, count: int, rows: NDArray[np.int64]) -> StoreLabels:
    """Labels of these rows out of `count`."""
    probes = int(np.count_nonzero(rows >= count - labels.probes))
    judgements = _renumber(labels.judgements, rows)
    if labels.kind == "judged":
        return StoreLabels("judged", None, judgements=judgements, probes=probes)
    values = labels.values[rows] if labels.values is not None and labels.kind != "none" else None
    copies = [copy for copy in judgements if copy.junk]
    return StoreLabels(labels.kind, values, labels.level_names, labels.class_names, copies, probes)


def _renumber(judgements: Any, rows: NDArray[np.int64]) -> list[Judgement]:
    place = {row: number for number, row in enumerate(rows.tolist())}

    def kept(items: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(place[item] for item in items if item in place)

    return [
        Judgement(place[j.query], kept(j.easy), kept(j.hard), kept(j.junk), kept(j.ok))
        for j in judgements
        if j.query in place
    ]
