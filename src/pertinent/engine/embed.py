"""Embedding a table of pictures into a store, in batches, with progress, and resumable."""

from __future__ import annotations

import contextlib
import errno
import os
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
from pertinent.files import read_json, refuse_strangers, storage_errors, write_json
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

    Several processes embed a part each and see the same folder; the first one writes the store.

    Args:
        encoder: used in evaluation mode; its mode is left as it was.
        table: N pictures with labels.
        folder: the store. While work goes on, a folder `.NAME.partial` beside it holds what is done.
        batch_size: pictures at once.
        skip_damaged: leave damaged pictures out and list them in the manifest under `damaged`.
        workers: processes that decode.
        listener: hears `embed` events with `done`, `total`, `rate` (pictures/s) and `eta` (s).
        extra: further facts for the manifest.
        world: the processes; None is one alone. Work that was begun by another number of processes is begun anew.

    Raises:
        ImageError: a damaged picture, unless `skip_damaged`.
        DataError: no picture, or none that can be read.
        StorageError: the folder cannot be written, or holds other files than a store's.
    """
    partial = _Partial.open(Path(folder), encoder, table, skip_damaged, world or World())
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
    """A store in the making: vectors on disk, which rows are this process's, and how far it got with them."""

    def __init__(self, folder: Path, table: ImageTable, key: dict[str, str], dim: int, world: World) -> None:
        self.folder, self.table, self.key, self.world = folder, table, key, world
        self.path = folder.with_name(f".{folder.name}.partial")
        self.progress = self.path / f"progress-{world.rank}-of-{world.size}.json"
        share = world.share(len(table))
        self.start, self.end = share.start or 0, share.stop
        self.done, self.last = self.start, 0
        self.damaged: list[str] = []
        self.bad_rows: list[int] = []
        self.saved = time.monotonic()
        self.vectors: NDArray[np.float32]
        self.dim = dim

    @classmethod
    def open(cls, folder: Path, encoder: Encoder, table: ImageTable, skip_damaged: bool, world: World) -> _Partial:
        if not len(table):
            raise DataError("there is no picture to embed")
        refuse_strangers(folder, STORE_FILES)
        key = {"encoder": encoder.fingerprint(), "table": table.fingerprint()}
        partial = cls(folder, table, key, encoder.dim, world)
        if not world.leads:
            world.wait()
        if not partial._go_on(skip_damaged):
            if world.leads:
                partial._begin()
            else:
                partial.vectors = np.load(partial.path / "vectors.npy", mmap_mode="r+")
        if world.leads:
            world.wait()
        return partial

    def _go_on(self, skip_damaged: bool) -> bool:
        """Take up earlier work on the same pictures by the same encoder; what cannot be read is done again."""
        try:
            saved = read_json(self.progress)
            vectors = np.load(self.path / "vectors.npy", mmap_mode="r+")
            done, damaged, bad_rows = saved["done"], saved["damaged"], saved["bad_rows"]
        except (StorageError, OSError, EOFError, ValueError, KeyError, TypeError):
            return False
        # A picture that was skipped before must not be passed over in silence now.
        if saved["key"] != self.key or vectors.shape != (len(self.table), self.dim) or (damaged and not skip_damaged):
            return False
        self.vectors, self.done, self.damaged, self.bad_rows = vectors, done, damaged, bad_rows
        return True

    def _begin(self) -> None:
        shape, path = (len(self.table), self.dim), self.path / "vectors.npy"
        with storage_errors(self.path, "writing"):
            shutil.rmtree(self.path, ignore_errors=True)
            self.path.mkdir(parents=True)
            self.vectors = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
            try:
                _reserve(path)
            except OSError:
                shutil.rmtree(self.path, ignore_errors=True)
                raise

    def add(self, rows: NDArray[np.int64], vectors: NDArray[np.float32] | None, damaged: list[str]) -> None:
        size = len(rows) + len(damaged)
        if vectors is not None:
            self.vectors[rows] = vectors
        batch = range(self.done, self.done + size)
        self.bad_rows += sorted(set(batch) - set(rows.tolist()))
        self.damaged += damaged
        self.done, self.last = self.done + size, size
        if time.monotonic() - self.saved > SAVE_EVERY:
            self.save()

    def save(self) -> None:
        with storage_errors(self.path, "writing"):
            self.vectors.flush()  # type: ignore[attr-defined]
        state = {"key": self.key, "done": self.done, "damaged": self.damaged, "bad_rows": self.bad_rows}
        write_json(self.progress, state)
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
        vectors = self.vectors if len(good) == len(self.table) else self.vectors[good]
        EmbeddingStore.write(
            self.folder,
            vectors,
            [self.table.ids[row] for row in good.tolist()],
            places=[self.table.source.where(row) for row in good.tolist()],
            labels=_keep(StoreLabels.of(self.table), good),
            encoder=self.key["encoder"],
            extra={"table": self.key["table"], "damaged": self.damaged, **extra},
        )
        shutil.rmtree(self.path, ignore_errors=True)


def _reserve(path: Path) -> None:
    """Take the whole of a sparse file from the disk: a memory map that outgrows a full disk would kill the process."""
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # file systems that cannot reserve
                raise


def _keep(labels: StoreLabels, rows: NDArray[np.int64]) -> StoreLabels:
    if labels.kind == "judged":
        return StoreLabels("judged", None, judgements=_renumber(labels.judgements, rows))
    values = labels.values[rows] if labels.values is not None and labels.kind != "none" else None
    return StoreLabels(labels.kind, values, labels.level_names, labels.class_names)


def _renumber(judgements: Any, rows: NDArray[np.int64]) -> list[Judgement]:
    place = {row: number for number, row in enumerate(rows.tolist())}

    def kept(items: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(place[item] for item in items if item in place)

    return [Judgement(place[j.query], kept(j.easy), kept(j.hard), kept(j.junk)) for j in judgements if j.query in place]
