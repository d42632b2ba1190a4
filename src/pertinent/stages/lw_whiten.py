"""Lw whitening: shrink the directions in which matching vectors differ; learned from labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError
from pertinent.functional.neighbours import blocks
from pertinent.functional.whitening import Rows, Whitening, lw_whitening
from pertinent.relevance import Relevance
from pertinent.stages._roles import whole

__all__ = ["LwWhiten", "matching_pairs"]


@dataclass(frozen=True)
class LwWhiten:
    """Lw whitening: shrink the directions in which matching vectors differ; learned from labels.

    Args:
        dims: how many directions are kept; None keeps all.

    Raises:
        InputError: dims below 1.
    """

    dims: int | None = None

    def __post_init__(self) -> None:
        if self.dims is not None:
            whole("lw_whiten: dims", self.dims, 1)

    def learn(self, vectors: Rows, relevance: Relevance | None) -> Whitening:
        """The whitening of `(N, D)` vectors, from one pair for each that has a match.

        Raises:
            InputError: no labels, or none that two vectors share.
        """
        if relevance is None:
            raise InputError("lw_whiten learns from labels, and these vectors have none; use pca_whiten")
        queries, positives = matching_pairs(relevance.for_gallery(vectors.shape[0]))
        if not len(queries):
            raise InputError("lw_whiten learns from vectors that match, and no two of these do; use pca_whiten")
        return lw_whitening(vectors, queries, positives, self.dims)


def matching_pairs(relevance: Relevance) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One pair for each query that stands among the items: itself and the next of its best matches, going round.

    So the n items of a class give n pairs in which each takes part twice.

    Args:
        relevance: of items among themselves.

    Returns:
        queries and positives, `(P,)` positions each.
    """
    queries, positives = [], []
    for rows in blocks(relevance.n_queries, 1024):
        own, found = relevance.query_positions[rows], relevance.positives(rows)
        row, ids = found.lists.rows, found.lists.ids
        inside = own[row] >= 0
        row, ids, levels = row[inside], ids[inside], found.levels[inside]
        step = (ids - own[row]) % relevance.n_items
        order = np.lexsort((step, -levels, row))
        first = order[np.unique(row[order], return_index=True)[1]]
        queries.append(own[row[first]])
        positives.append(ids[first])
    return np.concatenate(queries), np.concatenate(positives)
