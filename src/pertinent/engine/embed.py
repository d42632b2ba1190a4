"""Embedding a table of pictures into a store, in batches, with progress, and resumable."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pertinent.data.table import ImageTable, Judgement
from pertinent.engine.distributed import World
from pertinent.engine.events import Listener, Rate, silent
from pertinent.engine.loader import Pictures, ordered_loader
from pertinent.errors import DataError, StorageError
from pertinent.files import read_json, refuse_strangers, reserve, storage_errors, write_json
from pertinent.models.encoder import Encoder, evaluation_mode
from pertinent.store import STORE_FILES, EmbeddingStore, StoreLabels

# Seconds between two notes of how far it got: what a crash costs at most.
SAVE_EVERY = 10.0


@torch.no_grad()
def embed_table(
    encoder: Encoder,
    table: ImageTable,
    folder: Path | str,
    *,
    batch_size: int = 128,
    skip_damaged: bool = False,
    workers: int = 0,
    listener: Listener = silent,
    extra: dict[str, Any] | None = None,
    world: World | None = None,
) -> EmbeddingStore:
    """Embed every picture of a table and write a store; an interrupted call goes on where it stopped.

    Several processes embed whole batches each, the same batches that one alone would, and see the same folder; the
    first one writes the store.

    Args:
        encoder: used in evaluation mode; its mode is left as it was.
        table: N pictures with labels.
        folder: the store. While work goes on, a folder `.NAME.partial` beside it holds what is done.
        batch_size: pictures at once.
        skip_damaged: leave damaged pictures out and list them in the manifest under `damaged`.
        workers: processes that decode.
        listener: hears `embed` events with `done`, `total`, `rate` (pictures/s) and `eta` (s).
        extra: further facts for the manifest.
        world: the processes; None is one alone. Work that was shared out otherwise, among another number of processes
            or in batches of another size, is begun anew.

    Raises:
        ImageError: a damaged picture, unless `skip_damaged`.
        DataError: no picture, or none that can be read.
        StorageError: the folder cannot be written, or holds other files than a store's.
    """
    partial = _Partial.open(
        Path(folder), encoder, table, batch_size=batch_size, skip_damaged=skip_damaged, world=world or World()
    )
    pictures = Pictures(table, encoder.preprocess.build(), skip_damaged)
    loader = ordered_loader(pictures, range(partial.done, partial.end), batch_size, workers)
    total = partial.end - partial.start
    rate = Rate(total, partial.done - partial.start)
    try:
        with evaluation_mode(encoder):
            for batch in loader:
                vectors = encoder(batch.pixels.to(encoder.device)).cpu().numpy() if len(batch.rows) else None
                partial.add(batch.rows.numpy(), vectors, [str(error) for error in batch.damaged])
                done = partial.done - partial.start
                listener({"event": "embed", "done": done, "total": total, **rate.add(partial.last)})
        partial.save()
    except BaseException:
        # Whatever stopped it, what is done is noted, so that the same command goes on from here.
        with contextlib.suppress(StorageError):
            partial.save()
        raise
    return partial.finish(extra or {})


class _Partial:
    """A store in the making: which rows are this process's, their vectors on disk, and how far it got with them."""

    def __init__(
        self, folder: Path, table: ImageTable, key: dict[str, str], dim: int, *, batch_size: int, world: World
    ) -> None:
        self.folder, self.table, self.key, self.world = folder, table, key, world
        self.path = folder.with_name(f".{folder.name}.partial")
        self.progress = self.path / f"progress-{world.rank}-of-{world.size}.json"
        self.shares = _shares(len(table), batch_size, world.size)
        self.start, self.end = self.shares[world.rank]
        self.done, self.last = self.start, 0
        self.damaged: list[str] = []
        self.bad_rows: list[int] = []
        self.saved = time.monotonic()
        self.vectors: NDArray[np.float32]
        self.dim = dim

    @classmethod
    def open(
        cls, folder: Path, encoder: Encoder, table: ImageTable, *, batch_size: int, skip_damaged: bool, world: World
    ) -> _Partial:
        if not len(table):
            raise DataError("there is no picture to embed")
        refuse_strangers(folder, STORE_FILES)
        key = {"encoder": encoder.fingerprint(), "table": table.fingerprint()}
        partial = cls(folder, table, key, encoder.dim, batch_size=batch_size, world=world)
        if not world.leads:
            world.wait()
        if not partial._go_on(skip_damaged):
            partial._begin()
        if world.leads:
            world.wait()
        return partial

    def _file(self, rank: int) -> Path:
        # A file for each process: over a network, two that write near places of one file may undo each other.
        return self.path / ("vectors.npy" if self.world.size == 1 else f"vectors-{rank}-of-{self.world.size}.npy")

    def _go_on(self, skip_damaged: bool) -> bool:
        """Take up earlier work on the same pictures by the same encoder; what cannot be read is done again."""
        try:
            saved = read_json(self.progress)
            vectors = np.load(self._file(self.world.rank), mmap_mode="r+")
            done, damaged, bad_rows = saved["done"], saved["damaged"], saved["bad_rows"]
        except (StorageError, OSError, EOFError, ValueError, KeyError, TypeError):
            return False
        others = saved["key"] != self.key or saved.get("rows") != [self.start, self.end]
        # A picture that was skipped before must not be passed over in silence now.
        if others or vectors.shape != (self.end - self.start, self.dim) or (damaged and not skip_damaged):
            return False
        self.vectors, self.done, self.damaged, self.bad_rows = vectors, done, damaged, bad_rows
        return True

    def _begin(self) -> None:
        with storage_errors(self.path, "writing"):
            if self.world.leads:
                shutil.rmtree(self.path, ignore_errors=True)
                self.path.mkdir(parents=True)
            self.vectors = self._new_file(self._file(self.world.rank), self.end - self.start)

    def _new_file(self, path: Path, rows: int) -> NDArray[np.float32]:
        vectors = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, self.dim))
        try:
            reserve(path)
        except OSError:
            shutil.rmtree(self.path, ignore_errors=True)
            raise
        return vectors

    def add(self, rows: NDArray[np.int64], vectors: NDArray[np.float32] | None, damaged: list[str]) -> None:
        size = len(rows) + len(damaged)
        if vectors is not None:
            self.vectors[rows - self.start] = vectors
        batch = range(self.done, self.done + size)
        self.bad_rows += sorted(set(batch) - set(rows.tolist()))
        self.damaged += damaged
        self.done, self.last = self.done + size, size
        if time.monotonic() - self.saved > SAVE_EVERY:
            self.save()

    def save(self) -> None:
        with storage_errors(self.path, "writing"):
            self.vectors.flush()  # type: ignore[attr-defined]
        state = {"key": self.key, "rows": [self.start, self.end], "done": self.done}
        write_json(self.progress, {**state, "damaged": self.damaged, "bad_rows": self.bad_rows})
        self.saved = time.monotonic()

    def finish(self, extra: dict[str, Any]) -> EmbeddingStore:
        everyone = self.world.gather_objects((self.bad_rows, self.damaged))
        self.bad_rows = [row for rows, _ in everyone for row in rows]
        self.damaged = [text for _, texts in everyone for text in texts]
        if self.world.leads:
            self._write(extra)
        self.world.wait()
        return EmbeddingStore.open(self.folder)

    def _write(self, extra: dict[str, Any]) -> None:
        good = np.setdiff1d(np.arange(len(self.table)), np.asarray(self.bad_rows, dtype=np.int64))
        if not len(good):
            shutil.rmtree(self.path, ignore_errors=True)
            raise DataError(f"none of the {len(self.table)} pictures could be read, the first: {self.damaged[0]}")
        vectors = self._join()
        vectors = vectors if len(good) == len(self.table) else vectors[good]
        EmbeddingStore.write(
            self.folder,
            vectors,
            [self.table.ids[row] for row in good.tolist()],
            places=[self.table.source.where(row) for row in good.tolist()],
            labels=_keep(StoreLabels.of(self.table), len(self.table), good),
            encoder=self.key["encoder"],
            extra={"table": self.key["table"], "damaged": self.damaged, **extra},
        )
        shutil.rmtree(self.path, ignore_errors=True)

    def _join(self) -> NDArray[np.float32]:
        """The vectors of all processes."""
        if self.world.size == 1:
            return self.vectors
        with storage_errors(self.path, "writing"):
            whole = self._new_file(self.path / "vectors.npy", len(self.table))
            for rank, (start, end) in enumerate(self.shares):
                whole[start:end] = np.load(self._file(rank), mmap_mode="r")
        return whole


def _shares(count: int, batch_size: int, processes: int) -> list[tuple[int, int]]:
    """First and last row of each process: whole batches, so that each picture is embedded in the same company."""
    size = max(batch_size, 1)
    batches = -(-count // size)
    ends = [min(batches * (rank + 1) // processes * size, count) for rank in range(processes)]
    return list(zip([0, *ends], ends, strict=False))


def _keep(labels: StoreLabels, count: int, rows: NDArray[np.int64]) -> StoreLabels:
    """Labels of these rows out of `count`."""
    if labels.kind == "judged":
        probes = int(np.count_nonzero(rows >= count - labels.probes))
        return StoreLabels("judged", None, judgements=_renumber(labels.judgements, rows), probes=probes)
    values = labels.values[rows] if labels.values is not None and labels.kind != "none" else None
    return StoreLabels(labels.kind, values, labels.level_names, labels.class_names)


def _renumber(judgements: Any, rows: NDArray[np.int64]) -> list[Judgement]:
    place = {row: number for number, row in enumerate(rows.tolist())}

    def kept(items: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(place[item] for item in items if item in place)

    return [
        Judgement(place[j.query], kept(j.easy), kept(j.hard), kept(j.junk), kept(j.ok))
        for j in judgements
        if j.query in place
    ]
