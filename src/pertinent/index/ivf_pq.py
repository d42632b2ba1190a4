"""Approximate search in little memory: short codes of vectors in lists around centres (inverted file, PQ)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError
from pertinent.functional.neighbours import NOBODY, blocks
from pertinent.index._coded import check_whole
from pertinent.index._faiss import load_faiss
from pertinent.index._faiss_vectors import Found, Vectors, cells_of, centres, fill, held, ordered, probe, read, write

__all__ = ["IVFPQIndex"]

# A part of a vector is one of so many, learned from this many vectors for each.
WORDS, LEARNED = 256, 39
# Candidates of so many queries are compared anew at once.
ROWS = 64


class IVFPQIndex:
    """Approximate nearest neighbours in little memory: cells of `ivf_flat` with codes of some bytes (PQ). Needs faiss.

    For collections whose vectors do not fit into memory: the codes do, and of the vectors only the `rerank` nearest by
    code are read from disk, so that scores are those of an exact index. Source: Jegou et al., TPAMI 2011.

    Args:
        vectors: `(N, D)` float32 of length 1, may be memory-mapped; at least 256.
        bytes: of a code, a divisor of D; default the largest that is at most D / 4.
        cells: centres; default about 4 sqrt(N), fewer for a small collection.
        probes: cells that are searched, as in `ivf_flat`.
        rerank: candidates whose vectors are compared, at least k.

    Raises:
        InputError: an option out of range, more cells than vectors, or fewer than 256 vectors.
        MissingDependencyError: faiss is not installed.
    """

    filters = True
    effort = ("probes", "probes")

    def __init__(
        self,
        vectors: Vectors,
        *,
        bytes: int | None = None,  # noqa: A002
        cells: int | None = None,
        probes: int = 16,
        rerank: int = 200,
    ) -> None:
        faiss, dim = load_faiss(), vectors.shape[1]
        check_whole("probes", probes, 1)
        check_whole("rerank", rerank, 1)
        if len(vectors) < WORDS:
            raise InputError(f"codes are learned from at least {WORDS} vectors, got {len(vectors)}; use kind exact")
        size, number = _code_bytes(bytes, dim), cells_of(cells, len(vectors))
        self.index = faiss.IndexIVFPQ(centres(dim), dim, number, size, 8, faiss.METRIC_INNER_PRODUCT)
        self.index.pq.cp.min_points_per_centroid = 1
        fill(self.index, vectors, LEARNED * WORDS)
        self.vectors, self.probes, self.rerank = vectors, probes, rerank

    @classmethod
    def open(
        cls,
        folder: Path,
        vectors: Vectors,
        *,
        bytes: int,  # noqa: A002
        cells: int,
        probes: int,
        rerank: int,
    ) -> IVFPQIndex:
        """Open what `save` wrote about these vectors, with the options that `state` told."""
        structure, index = cls.__new__(cls), read(folder, *vectors.shape)
        if (index.nlist, index.pq.M) != (cells, bytes):
            raise InputError(f"it states {cells} cells of {bytes} bytes, and there are {index.nlist} of {index.pq.M}")
        structure.vectors, structure.index, structure.probes, structure.rerank = vectors, index, probes, rerank
        return structure

    def search(self, queries: Vectors, k: int, allowed: NDArray[np.bool_] | None = None) -> Found:
        """About the k items of the largest dot product with each query, best first; equal scores by position.

        Args:
            queries: `(Q, D)` float32.
            k: at most as many as are allowed come back.
            allowed: `(N,)` the items that may be found; all, when None.

        Returns:
            scores `(Q, k)` float32 and positions `(Q, k)` int64.
        """
        found = probe(self.index, self.probes, queries, max(k, self.rerank), allowed)
        k = min(k, found[1].shape[1])
        scores = np.full(found[1].shape, -np.inf, np.float32)
        for rows in blocks(len(queries), ROWS):
            near = self.vectors[found[1][rows]]
            scores[rows] = np.einsum("qd,qkd->qk", queries[rows], near)
        scores[found[1] == NOBODY] = -np.inf
        first = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(scores, first, axis=1), np.take_along_axis(found[1], first, axis=1)
        return ordered(best, queries, self.vectors, k, allowed)

    @property
    def nbytes(self) -> int:
        """Bytes of the cells."""
        return held(self.index)

    def save(self, folder: Path) -> None:
        """Write the cells into a folder."""
        write(self.index, folder)

    def state(self) -> dict[str, Any]:
        """The options."""
        index = self.index
        return {"bytes": index.pq.M, "cells": index.nlist, "probes": self.probes, "rerank": self.rerank}


def _code_bytes(size: int | None, dim: int) -> int:
    divisors = [number for number in range(1, dim + 1) if dim % number == 0]
    if size is None:
        return max([number for number in divisors if 4 * number <= dim], default=1)
    check_whole("bytes", size, 1)
    if size not in divisors:
        raise InputError(
            f"bytes must divide the {dim} numbers of a vector: {', '.join(map(str, divisors))}; got {size}"
        )
    return size
