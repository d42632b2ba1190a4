"""`Collection`: what the service knows of an index; nothing else in here touches one.

Letters: Q queries, P positions that were ever given.
"""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError, PertinentError
from pertinent.index import Index, Item, Where
from pertinent.index._where import Value
from pertinent.serve.label_counts import LabelCounter
from pertinent.store import EmbeddingStore


class UnchangeableError(PertinentError):
    """Items cannot be added to or taken from this index."""


@dataclass(frozen=True)
class Query:
    """What is searched for: vectors `(Q, D)` float32, finite; the hits from rank `offset` on, `k` of them."""

    vectors: NDArray[np.float32]
    k: int
    offset: int = 0
    where: Where | None = None


@dataclass(frozen=True)
class Found:
    """Positions and scores of each query's items, best first, and how many items the filter leaves."""

    positions: list[list[int]]
    scores: list[list[float]]
    total: int

    def part(self, rows: slice, first: int) -> Found:
        """What some of the queries found, from rank `first` on."""
        positions = [row[first:] for row in self.positions[rows]]
        return Found(positions, [row[first:] for row in self.scores[rows]], self.total)


class Collection:
    """The items of an index, searches among them and changes of them; any thread may call.

    Args:
        index: opened; one that has a folder can be changed.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        labels = self.store.labels
        self._queries = frozenset(self.store.ids[len(self.store) - labels.probes :] if labels.probes else ())
        self._counter = LabelCounter(index)
        self._ids: list[str] = []
        self._turn = threading.Lock()

    def __len__(self) -> int:
        return len(self.index)

    @property
    def store(self) -> EmbeddingStore:
        """What the index was built over."""
        store: EmbeddingStore = self.index.store
        return store

    @property
    def dim(self) -> int:
        """Length D of a vector."""
        return self.store.dim

    @property
    def fingerprint(self) -> str:
        """Of the vectors that the index was built over."""
        checksum: str = self.store.manifest["files"]["vectors.npy"]["sha256"]
        return checksum

    @property
    def changeable(self) -> bool:
        """Whether items can be added and deleted for good."""
        return self.index.folder is not None

    def require_changeable(self, otherwise: str) -> None:
        """Raise UnchangeableError where items can be neither added nor deleted."""
        if not self.changeable:
            raise UnchangeableError(f"this index is in memory alone and cannot be changed; {otherwise}")

    def beside(self, name: str) -> Path | None:
        """A path beside the folder of the index; None where it has none."""
        folder = self.index.folder
        return None if folder is None else folder.with_name(f"{folder.name}-{name}")

    def claim(self) -> None:
        """Keep others from changing the collection; raises StorageError when they do, or it cannot be written."""
        self.index.claim()

    def put(
        self, name: str, vector: NDArray[np.float32], words: Sequence[str], place: str, metadata: Mapping[str, Value]
    ) -> None:
        """Add an item, or replace the one of its id; on the disk when this returns.

        Raises:
            InputError: the id of a query, which is no item, or what the index cannot store.
            StorageError: it cannot be written.
        """
        with self._turn:
            before = self.index.position(name)
            self.index.put([name], vector[None], [list(words)], [place], [dict(metadata)])
            self._counter.change(None if before is None else self.index.item(before).words, words)

    def delete(self, name: str) -> None:
        """Delete an item; on the disk when this returns.

        Raises:
            UnknownNameError: there is none of that id.
            InputError: the id of a query, which is no item.
            StorageError: it cannot be written.
        """
        with self._turn:
            before = self.index.position(name)
            self.index.delete([name])
            assert before is not None
            self._counter.change(self.index.item(before).words, None)

    def position(self, name: str) -> int | None:
        """Where an item, or a query of the store, is now; None for an id that nothing has."""
        position: int | None = self.index.position(name)
        return position

    def item(self, position: int) -> Item:
        """What is known of what is at a position."""
        return self.index.item(position)

    def query_only(self, name: str) -> bool:
        """Whether an id is of a query, which no search finds."""
        return name in self._queries

    def vector(self, position: int) -> NDArray[np.float32]:
        """The vector at a position as it was embedded, `(D,)`."""
        vector: NDArray[np.float32] = self.index.vector(position)
        return vector

    def vectors(self, rows: Sequence[Sequence[float]]) -> NDArray[np.float32]:
        """Vectors `(Q, D)` from lists of numbers; raises InputError for another D or numbers beyond float32."""
        wrong = next((row for row in rows if len(row) != self.dim), None)
        if wrong is not None:
            raise InputError(f"a vector has {len(wrong)} numbers, the collection holds vectors of {self.dim}")
        try:
            with np.errstate(over="ignore"):
                made = np.asarray(rows, dtype=np.float64).astype(np.float32)
        except OverflowError as error:
            raise InputError("a vector has a number that is too large") from error
        if not np.isfinite(made).all():
            raise InputError("a vector has a number that is not finite in 32 bits")
        return made

    def search(self, queries: Sequence[Query]) -> list[Found]:
        """What each query finds; those that look among all items equally deep go through the index together.

        Raises:
            UnknownNameError: a label or a key of metadata that no item has.
        """
        alike: dict[int, list[int]] = defaultdict(list)
        groups: list[list[int]] = []
        for number, query in enumerate(queries):
            if query.where:
                groups.append([number])
            else:
                alike[query.offset + query.k].append(number)
        found: dict[int, Found] = {}
        for numbers in (*groups, *alike.values()):
            first = queries[numbers[0]]
            vectors = np.concatenate([queries[number].vectors for number in numbers])
            every, start = self._found(vectors, first.offset + first.k, first.where), 0
            for number in numbers:
                rows = slice(start, start := start + len(queries[number].vectors))
                found[number] = every.part(rows, queries[number].offset)
        return [found[number] for number in range(len(queries))]

    def _found(self, vectors: NDArray[np.float32], depth: int, where: Where | None) -> Found:
        hits = self.index.search(vectors, depth, where)
        positions, scores = [], []
        for places, values in zip(hits.positions, hits.scores, strict=True):
            there = places >= 0
            positions.append(places[there].tolist())
            scores.append([round(value, 6) for value in values[there].tolist()])
        return Found(positions, scores, self.count(where))

    def count(self, where: Where | None) -> int:
        """How many items a filter leaves."""
        if where and (where.labels or where.metadata):
            return int(self.index.allowed(where).sum())
        left_out = where.ids_not if where else ()
        return len(self) - sum(self.position(name) is not None and not self.query_only(name) for name in left_out)

    def listing(self, where: Where, prefix: str, offset: int, limit: int) -> tuple[list[int], int]:
        """Positions of items whose ids begin with `prefix`, in their order, `limit` from `offset` on; and how many."""
        positions = np.flatnonzero(self.index.allowed(where)).tolist()
        if prefix:
            ids = self._every_id(positions[-1] + 1 if positions else 0)
            positions = [position for position in positions if ids[position].startswith(prefix)]
        return positions[offset : offset + limit], len(positions)

    def _every_id(self, end: int) -> list[str]:
        """Ids by position, of all that can be found; kept, because an id never leaves its position."""
        with self._turn:
            start = len(self._ids)
            for position in range(start, end):
                try:
                    self._ids.append(self.index.item(position).id)
                except InputError:  # it was deleted long ago
                    self._ids.append("")
            return self._ids

    def sample(self, where: Where, count: int, seed: int | None = None) -> tuple[list[int], int]:
        """Positions of `count` items drawn by chance; and among how many."""
        positions = np.flatnonzero(self.index.allowed(where)).tolist()
        return random.Random(seed).sample(positions, min(count, len(positions))), len(positions)

    def label_counts(self) -> list[dict[str, Any]]:
        """Names of each level's labels with the number of items that carry them, most frequent first."""
        with self._turn:
            return self._counter.levels()

    def facts(self) -> dict[str, Any]:
        """The index in words and fingerprints."""
        pipeline = self.index.pipeline
        return {
            "kind": self.index.kind,
            "items": len(self),
            "query_only": len(self._queries),
            "dim": self.dim,
            "stages": pipeline.words if pipeline.stages else "",
            "changeable": self.changeable,
            "changed": self.index.changed,
            "labels": self.store.labels.kind,
            "levels": list(self.store.labels.level_names),
            "fingerprints": {
                "encoder": self.store.encoder,
                "vectors": self.fingerprint,
                "stages": pipeline.fingerprint if pipeline.stages else None,
            },
        }
