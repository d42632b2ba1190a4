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
from pertinent.index import INDEXES
from pertinent.store import EmbeddingStore

FORMAT = 1


@dataclass(frozen=True)
class Hits:
    """What a search found for Q queries: ids, scores and positions, each `(Q, k)`, best first."""

    ids: list[list[str]]
    scores: NDArray[np.float32]
    positions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


class Index:
    """A searchable collection; `build` it from a store, `save` it, `open` it, `search` it."""

    def __init__(self, store: EmbeddingStore, kind: str, structure: Any) -> None:
        self.store, self.kind, self.structure = store, kind, structure

    def __len__(self) -> int:
        return len(self.store)

    @classmethod
    def build(cls, store: EmbeddingStore, kind: str = "exact", **options: Any) -> Index:
        """Build the structure over a store's vectors.

        Raises:
            UnknownNameError: no such kind.
            ConfigError: an option that the kind does not take.
        """
        return cls(store, kind, INDEXES.build(kind, vectors=store.vectors, **options))

    def save(self, folder: Path | str) -> None:
        """Write `index.json` into a folder; it points to the store by a relative path, so both can move together.

        Raises:
            StorageError: the folder cannot be written.
        """
        folder = Path(folder)
        with new_folder(folder) as temporary:
            write_json(
                temporary / "index.json",
                {
                    "format": FORMAT,
                    "kind": self.kind,
                    "state": self.structure.state(),
                    "store": os.path.relpath(self.store.folder.resolve(), folder.resolve()),
                    "encoder": self.store.encoder,
                    "vectors": self.store.manifest["files"]["vectors.npy"]["sha256"],
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
        return cls.build(store, saved["kind"], **saved["state"])

    def search(self, vectors: NDArray[np.float32] | torch.Tensor, k: int = 10) -> Hits:
        """The k nearest items of each vector.

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
        scores, positions = self.structure.search(queries, k)
        ids = self.store.ids
        return Hits([[ids[place] for place in row] for row in positions.tolist()], scores, positions)
