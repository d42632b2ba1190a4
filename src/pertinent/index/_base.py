"""What was built: the collection, its items as they are compared, and the structure that finds neighbours among them.

Letters: S rows of the store, N of them items, R rows, D dim, K dim as they are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.functional.neighbours import blocks, unit_rows
from pertinent.index import INDEXES
from pertinent.index._metadata import Columns
from pertinent.index._names import Names
from pertinent.index._where import Value
from pertinent.pipeline import Pipeline
from pertinent.store import BLOCK, EmbeddingStore

Vectors = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Item:
    """What is known of one item.

    Attributes:
        id: its unique name.
        place: a path or a description for people.
        words: names of its labels, fine first, or of its tags.
        metadata: what was noted of it.
    """

    id: str
    place: str
    words: list[str]
    metadata: dict[str, Value]


@dataclass(frozen=True)
class Base:
    """What was built.

    Attributes:
        store: the collection.
        kind: of the structure.
        structure: finds neighbours among `items`.
        pipeline: stages that queries go through, and that the items went through.
        items: `(N, K)` the store's items as they are compared.
        metadata: of the S rows.
        first: position of the first item that is added.
        options: of the kind, as they were given or tuned.
        numbers: `(S,)` positions of the rows; None where they are 0, 1, 2, ...
        saved: folder of saved names, where there is one.
        owned: whether the store lies in the index's own folder.
    """

    store: EmbeddingStore
    kind: str
    structure: Any
    pipeline: Pipeline
    items: Vectors
    metadata: Columns
    first: int
    options: dict[str, Any]
    numbers: NDArray[np.int64] | None = None
    saved: Path | None = None
    owned: bool = False

    def __len__(self) -> int:
        return len(self.store)

    @cached_property
    def ids(self) -> Names:
        """Names of the S rows."""
        return Names.open(self.saved, "ids", len(self)) if self.saved else Names.of(self.store.ids)

    @cached_property
    def places(self) -> Names:
        """Paths or descriptions of the S rows."""
        return Names.open(self.saved, "places", len(self)) if self.saved else Names.of(self.store.places)

    @property
    def live(self) -> bool:
        """Whether the structure takes changes and filters itself, as databases do."""
        return bool(getattr(self.structure, "live", False))

    def prepared(self, vectors: Vectors) -> Vectors:
        """Added vectors as they are compared: by the stages that change an item without looking at others."""
        if not self.pipeline.stages and getattr(self.structure, "by_sign", False):
            return vectors
        return Pipeline(self.pipeline.whiteners, self.pipeline.learned).items(vectors)

    def position(self, row: int) -> int:
        """Position of a row."""
        if row >= len(self):
            return row - len(self) + self.first
        return row if self.numbers is None else int(self.numbers[row])

    def row(self, position: int) -> int | None:
        """Row of a position, or None where nothing is."""
        if position >= self.first:
            return position - self.first + len(self)
        if self.numbers is None:
            return position if 0 <= position < len(self) else None
        place = int(np.searchsorted(self.numbers, position, sorter=self._ascending))
        row = int(self._ascending[place]) if place < len(self) else -1
        return row if row >= 0 and self.numbers[row] == position else None

    @cached_property
    def _ascending(self) -> NDArray[np.int64]:
        assert self.numbers is not None
        return np.argsort(self.numbers)

    def positions(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of rows; -1 stays."""
        if self.numbers is None and self.first == len(self):
            return rows
        numbers = np.arange(len(self)) if self.numbers is None else self.numbers
        added = rows - len(self) + self.first
        return np.where(rows < 0, rows, np.where(rows < len(self), numbers[np.clip(rows, 0, len(self) - 1)], added))

    def labelled(self, word: str) -> Mask | None:
        """`(S,)` the rows that carry a word at any level; None where no class has that name."""
        labels = self.store.labels
        if labels.values is None:
            return None
        found = [(level, names.index(word)) for level, names in enumerate(labels.class_names) if word in names]
        if not found:
            return None
        if labels.kind == "tags":
            return np.asarray(labels.values[:, found[0][1]], bool)
        levels = labels.values.reshape(len(self), -1)
        carrying = np.zeros(len(self), bool)
        for level, label in found:
            carrying |= levels[:, level] == label
        return carrying

    def words(self, rows: Mask) -> set[str]:
        """The words that some of the rows carry, of an `(S,)` mask."""
        labels = self.store.labels
        if labels.values is None:
            return set()
        if labels.kind == "tags":
            return {labels.class_names[0][tag] for tag in np.flatnonzero(labels.values[rows].any(0)).tolist()}
        levels = labels.values.reshape(len(self), -1)[rows]
        return {
            names[label]
            for level, names in enumerate(labels.class_names)
            for label in np.unique(levels[:, level]).tolist()
            if label >= 0
        }


class Both:
    """Vectors of the store and of the added items, by row.

    Args:
        built: of the first rows.
        start: row of the first added one.
        added: the rest.
    """

    def __init__(self, built: Vectors, start: int, added: Vectors) -> None:
        self.built, self.start, self.added = built, start, added

    def __getitem__(self, rows: Any) -> Vectors:
        if isinstance(rows, slice):
            return self.built[rows]
        later = rows >= self.start
        made = np.empty((len(rows), self.built.shape[1]), np.float32)
        made[~later] = self.built[rows[~later]]
        made[later] = self.added[rows[later] - self.start]
        return made


def comparable(store: EmbeddingStore, kind: str, pipeline: Pipeline) -> Vectors:
    """Items whose dot products are cosines; a kind that looks at signs takes them as they are, unless a stage looks."""
    by_sign = getattr(INDEXES.get(kind), "by_sign", False) and not pipeline.stages
    return store.items if store.unit or by_sign else _unit(store.items)


def _unit(vectors: Vectors) -> Vectors:
    unit = np.empty(vectors.shape, np.float32)
    for rows in blocks(len(vectors), BLOCK):
        unit[rows] = unit_rows(vectors[rows])
    return unit
