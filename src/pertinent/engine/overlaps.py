"""Counting the near pairs of several stores while they come: what is shared, what hangs together, what to list.

Positions count through all stores, in their order. Letters: N pictures, P pairs.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pertinent.functional.components import join
from pertinent.functional.near_pairs import NearPairs
from pertinent.store import EmbeddingStore

MOST_PAIRS = 5_000_000
"""Pairs that are listed at most, the first in their order; counts and groups are of all."""

UNKNOWN = -1


@dataclass(frozen=True)
class Overlap:
    """What two stores share, or one has twice: pairs, pictures of each that are in one, pairs of unlike labels."""

    first: str
    second: str
    pairs: int
    of_first: int
    of_second: int
    conflicts: int


class OverlapTally:
    """What is known of the pairs while they come: counts and groups of all, and the first in order to be listed."""

    def __init__(self, stores: list[EmbeddingStore]) -> None:
        self.stores = stores
        self.starts = np.cumsum([0, *(len(store) for store in stores)], dtype=np.int64)[:-1]
        self.labels = _label_numbers(stores)
        self.parents = np.arange(sum(len(store) for store in stores))
        self.counts: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
        self.touched: dict[tuple[int, int], NDArray[np.bool_]] = {}
        self.kept: list[NearPairs] = []
        self.found = self.room = 0

    def add(self, a: int, b: int, pairs: NearPairs) -> None:
        """Pairs of rows of stores `a` and `b`."""
        if not len(pairs.first):
            return
        first, second = pairs.first + self.starts[a], pairs.second + self.starts[b]
        join(self.parents, first, second)
        self.counts[a, b][0] += len(first)
        self.counts[a, b][1] += int(self.conflicts(first, second).sum())
        # Which pictures are in a pair of these two stores; of one store, in any of its own.
        touched = self.touched.setdefault((a, b), np.zeros(len(self.parents), bool))
        touched[first] = touched[second] = True
        self.kept.append(NearPairs(first, second, pairs.scores))
        self.found, self.room = self.found + len(first), self.room + len(first)
        if self.room > 2 * MOST_PAIRS:
            self.kept = [self.listed()]
            self.room = len(self.kept[0].first)

    def conflicts(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether both are labelled, and not alike."""
        one, other = self.labels[first], self.labels[second]
        unlike: NDArray[np.bool_] = (one != other) & (one != UNKNOWN) & (other != UNKNOWN)
        return unlike

    def number_of(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers of their stores."""
        return np.searchsorted(self.starts, positions, side="right") - 1

    def listed(self) -> NearPairs:
        """At most `MOST_PAIRS` pairs, those that come first in the order of the list."""
        if not self.kept:
            return NearPairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
        pairs = NearPairs(
            np.concatenate([part.first for part in self.kept]),
            np.concatenate([part.second for part in self.kept]),
            np.concatenate([part.scores for part in self.kept]),
        )
        if len(pairs.first) <= MOST_PAIRS:
            return pairs
        apart = self.number_of(pairs.first) != self.number_of(pairs.second)
        other = self.conflicts(pairs.first, pairs.second)
        best = np.lexsort((pairs.second, pairs.first, -pairs.scores, ~apart, ~other))[:MOST_PAIRS]
        return NearPairs(pairs.first[best], pairs.second[best], pairs.scores[best])

    def overlaps(self, names: list[str], together: list[tuple[int, int]]) -> list[Overlap]:
        """The counts of each store and each two of them."""
        ends = [*self.starts[1:].tolist(), len(self.parents)]
        made = []
        for a, b in together:
            touched = self.touched.get((a, b), np.zeros(len(self.parents), bool))
            sides = [int(touched[self.starts[number] : ends[number]].sum()) for number in (a, b)]
            pairs, conflicts = self.counts.get((a, b), [0, 0])
            made.append(Overlap(names[a], names[b], pairs, sides[0], sides[1], conflicts))
        return made

    def where(self, position: int) -> Path:
        """Where a picture lies, as its store says."""
        number = int(self.number_of(np.array(position)))
        return Path(self.stores[number].places[position - int(self.starts[number])])


def _label_numbers(stores: list[EmbeddingStore]) -> NDArray[np.int64]:
    """A number for the finest label of each picture, or for all its tags; equal words have equal numbers."""
    numbers: dict[str | tuple[str, ...], int] = {}
    parts = []
    for store in stores:
        labels, part = store.labels, np.full(len(store), UNKNOWN, np.int64)
        if labels.kind in ("classes", "tree") and labels.values is not None:
            known = np.array([numbers.setdefault(name, len(numbers)) for name in labels.class_names[0]], np.int64)
            values = labels.values.reshape(len(store), -1)[:, 0]
            part[values >= 0] = known[values[values >= 0]]
        elif labels.kind == "tags":
            for row in range(len(store)):
                tags = tuple(sorted(labels.words(row)))
                part[row] = numbers.setdefault(tags, len(numbers)) if tags else UNKNOWN
        parts.append(part)
    return np.concatenate(parts)
