"""Search in a view: what the structure finds and what was added later, merged; with a filter, among what it allows.

Letters: Q queries, K kept, N items of the store, n added items, D dim.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pertinent.functional.neighbours import NOBODY, in_order
from pertinent.index._base import Base, Both, Mask, Vectors
from pertinent.index._view import View
from pertinent.index._where import Where
from pertinent.index.binary import BinaryIndex
from pertinent.index.exact import ExactIndex

Found = tuple[NDArray[np.float32], NDArray[np.int64]]

FEW, SHARE = 10_000, 0.05
"""So many allowed items, or such a share of all, are compared one by one, unless they are more than half of all."""


@dataclass(frozen=True)
class Finder:
    """Finds the nearest of the rows that are allowed.

    Attributes:
        view: what there is.
        allowed: `(S + n,)` the rows that may be found.
        where: the filter that they came from.
    """

    view: View
    allowed: Mask
    where: Where | None = None

    @property
    def items(self) -> Any:
        """Vectors of all rows as they are compared, by row."""
        view = self.view
        return Both(view.base.items, len(view.base), view.compared) if view.count else view.base.items

    def __call__(self, queries: Vectors, k: int) -> Found:
        """The k nearest rows of each query, best first; no more than are allowed, and -1 where fewer are found.

        Args:
            queries: `(Q, K)` as they are compared.
            k: at least 1.

        Returns:
            scores and rows, `(Q, K)` each.
        """
        base, k = self.view.base, min(k, int(np.count_nonzero(self.allowed)))
        if not k or not len(queries):
            return np.zeros((len(queries), k), np.float32), np.zeros((len(queries), k), np.int64)
        if base.live:
            return self._asked(queries, k)
        parts = [self._built(queries, k), self._added(queries, k)]
        scores, rows = (np.concatenate(both, axis=1) for both in zip(*parts, strict=True))
        if not self.view.count:
            return scores, rows
        best = in_order(torch.from_numpy(scores), torch.from_numpy(rows), k)
        return best[0].numpy(), best[1].numpy()

    def _asked(self, queries: Vectors, k: int) -> Found:
        """What a database finds; it may hold what was put after this view, or whose acknowledgement was lost."""
        depth = k
        while True:
            scores, rows = self.view.base.structure.search(queries, depth, where=self.where)
            known = (rows != NOBODY) & (rows < len(self.allowed))
            known &= self.allowed[np.where(known, rows, 0)]
            strangers = int(((rows != NOBODY) & ~known).sum(axis=1).max())
            if depth >= k + strangers:
                return _first(scores, rows, known, k)
            depth = k + strangers

    def _built(self, queries: Vectors, k: int) -> Found:
        base = self.view.base
        allowed = self.allowed[: len(base.items)]
        there, everything = int(np.count_nonzero(allowed)), len(allowed)
        k = min(k, there)
        if there == everything:
            found: Found = base.structure.search(queries, k)
            return found
        if there <= min(max(FEW, SHARE * everything), everything / 2):
            return _exactly(base, base.items, np.flatnonzero(allowed), queries, k)
        if getattr(base.structure, "filters", False):
            found = base.structure.search(queries, k, allowed=allowed)
            return found
        return _deeper(base.structure, queries, k, allowed)

    def _added(self, queries: Vectors, k: int) -> Found:
        base = self.view.base
        rows = np.flatnonzero(self.allowed[len(base) :])
        scores, found = _exactly(base, self.view.compared, rows, queries, k)
        return scores, found + len(base)


def _exactly(base: Base, vectors: Vectors, rows: NDArray[np.int64], queries: Vectors, k: int) -> Found:
    """The k nearest of some rows, scored as the structure scores."""
    k = min(k, len(rows))
    if not k:
        return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
    chosen = vectors if len(rows) == len(vectors) else vectors[rows]
    if getattr(base.structure, "by_sign", False):
        items = base.structure.items
        scores, places = BinaryIndex(chosen, rerank=items.rerank, rerank_vectors=items.rerank_vectors).search(
            queries, k
        )
    else:
        scores, places = ExactIndex(chosen).search(queries, k)
    return scores, rows[places]


def _deeper(structure: Any, queries: Vectors, k: int, allowed: Mask) -> Found:
    """The first k allowed items of a ranking, which is looked at as deep as that needs."""
    everything, there = len(allowed), int(np.count_nonzero(allowed))
    # As deep as surely suffices, or, where that is far, twice as deep as it would be on average.
    depth = min(k + everything - there, math.ceil(2 * k * everything / there))
    while True:
        scores, rows = structure.search(queries, min(depth, everything))
        kept = (rows != NOBODY) & allowed[rows]
        if depth >= everything or (kept.sum(axis=1) >= k).all():
            break
        depth *= 4
    return _first(scores, rows, kept, k)


def _first(scores: NDArray[np.float32], rows: NDArray[np.int64], kept: Mask, k: int) -> Found:
    """The first k that are kept of each query; nobody, where fewer are."""
    first = np.argsort(~kept, axis=1, kind="stable")[:, :k]
    here = np.take_along_axis(kept, first, axis=1)
    found = np.where(here, np.take_along_axis(rows, first, axis=1), NOBODY)
    return np.where(here, np.take_along_axis(scores, first, axis=1), -np.inf).astype(np.float32), found
