"""`Index`: a searchable collection, that is a store of embeddings and a structure that finds neighbours in it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pertinent.errors import InputError, StorageError
from pertinent.files import new_folder, read_versioned, write_json
from pertinent.functional.neighbours import blocks, unit_rows
from pertinent.index import INDEXES
from pertinent.pipeline import Pipeline
from pertinent.store import BLOCK, EmbeddingStore

FORMAT = 1
VECTORS, PIPELINE = "vectors.npy", "pipeline"


@dataclass(frozen=True)
class Hits:
    """What a search found for Q queries: ids, scores and positions, each `(Q, k)`, best first."""

    ids: list[list[str]]
    scores: NDArray[np.float32]
    positions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


class Index:
    """A searchable collection; `build` it from a store, `save` it, `open` it, `search` it.

    Scores are cosines, as in evaluation, whether or not the vectors have length 1; after a re-ranking, its scores.

    Args:
        store: the collection.
        kind: of the structure.
        structure: finds neighbours among `items`.
        pipeline: stages that queries go through, and that the items went through.
        items: the store's vectors as they are compared.
    """

    def __init__(
        self, store: EmbeddingStore, kind: str, structure: Any, pipeline: Pipeline, items: NDArray[np.float32]
    ) -> None:
        self.store, self.kind, self.structure = store, kind, structure
        self.pipeline, self.items = pipeline, items

    def __len__(self) -> int:
        return len(self.store)

    @classmethod
    def build(
        cls, store: EmbeddingStore, kind: str = "exact", *, pipeline: Pipeline | None = None, **options: Any
    ) -> Index:
        """Build the structure over a store's vectors; those that are not of length 1 are copied into memory for it.

        Args:
            store: the collection.
            kind: see `pertinent list indexes`.
            pipeline: fitted stages of post-processing; the items go through them now, queries when they are asked.
            options: of the kind.

        Raises:
            UnknownNameError: no such kind.
            ConfigError: an option that the kind does not take.
            InputError: a pipeline that is not fitted, or to other vectors.
        """
        pipeline = pipeline or Pipeline()
        items = pipeline.items(store.vectors) if pipeline.changes_items else _comparable(store)
        return cls(store, kind, INDEXES.build(kind, vectors=items, **options), pipeline, items)

    def save(self, folder: Path | str) -> None:
        """Write `index.json` into a folder; it points to the store by a relative path, so both can move together.

        Stages are saved in `pipeline/`, items that they changed in `vectors.npy`.

        Raises:
            StorageError: the folder cannot be written.
        """
        folder = Path(folder)
        with new_folder(folder, own=(VECTORS, PIPELINE)) as temporary:
            if self.pipeline.stages:
                self.pipeline.save(temporary / PIPELINE)
            if self.pipeline.changes_items:
                np.save(temporary / VECTORS, self.items)
            write_json(
                temporary / "index.json",
                {
                    "format": FORMAT,
                    "kind": self.kind,
                    "state": self.structure.state(),
                    "store": os.path.relpath(self.store.folder.resolve(), folder.resolve()),
                    "encoder": self.store.encoder,
                    "vectors": self.store.manifest["files"]["vectors.npy"]["sha256"],
                    "pipeline": self.pipeline.fingerprint if self.pipeline.stages else None,
                },
            )

    @classmethod
    def open(cls, folder: Path | str) -> Index:
        """Open a saved index.

        Raises:
            StorageError: missing or damaged, or the store beside it is gone or is another one.
        """
        folder = Path(folder)
        if not (folder / "index.json").is_file():
            raise StorageError(
                f"{folder} holds no index (index.json is missing); build one with: pertinent index STORE"
            )
        saved = read_versioned(folder / "index.json", "index", FORMAT)
        missing = [key for key in ("kind", "state", "store", "vectors") if key not in saved]
        if missing:
            raise StorageError(f"{folder / 'index.json'} is damaged: {missing[0]!r} is missing; build it again")
        store = EmbeddingStore.open((folder / saved["store"]).resolve())
        if store.manifest["files"]["vectors.npy"]["sha256"] != saved["vectors"]:
            raise StorageError(f"{folder} was built on other vectors than {store.folder} holds now; build it again")
        pipeline = Pipeline.load(folder / PIPELINE) if saved.get("pipeline") else Pipeline()
        if pipeline.stages and pipeline.fingerprint != saved["pipeline"]:
            raise StorageError(f"{folder} was built with other stages than lie in it; build it again")
        items = _read_items(folder / VECTORS, len(store)) if pipeline.changes_items else _comparable(store)
        return cls(store, saved["kind"], INDEXES.build(saved["kind"], vectors=items, **saved["state"]), pipeline, items)

    def search(self, vectors: NDArray[np.float32] | torch.Tensor, k: int = 10) -> Hits:
        """The k nearest items of each vector, as the stages of the pipeline rank them.

        Args:
            vectors: `(Q, D)`, or `(D,)` for one.
            k: how many items; no more than the collection holds come back.

        Raises:
            InputError: another D, values that are not finite, or k < 1.
        """
        given = vectors.detach().cpu().float().numpy() if isinstance(vectors, torch.Tensor) else vectors
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused below
            queries = np.atleast_2d(np.asarray(given, dtype=np.float32))
        if queries.ndim != 2 or queries.shape[1] != self.store.dim:
            raise InputError(f"queries have shape {queries.shape}, the index holds vectors of {self.store.dim} numbers")
        if not np.isfinite(queries).all():
            raise InputError("a query vector is not finite")
        if k < 1:
            raise InputError(f"k must be at least 1, got {k}")
        ready = self.pipeline.queries(queries, self.items, self.structure.search)
        scores, positions = self.pipeline.rank(ready, self.items, self.structure.search, k)
        ids = self.store.ids
        return Hits([[ids[place] for place in row] for row in positions.tolist()], scores, positions)


def _comparable(store: EmbeddingStore) -> NDArray[np.float32]:
    return store.vectors if store.unit else _unit(store.vectors)


def _read_items(path: Path, count: int) -> NDArray[np.float32]:
    try:
        items: NDArray[np.float32] = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise StorageError(f"{path} is damaged ({error}); build the index again") from error
    if items.ndim != 2 or len(items) != count or items.dtype != np.float32:
        raise StorageError(f"{path} is damaged: it holds {items.dtype} {items.shape}; build the index again")
    return items


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    unit = np.empty(vectors.shape, np.float32)
    for rows in blocks(len(vectors), BLOCK):
        unit[rows] = unit_rows(vectors[rows])
    return unit
