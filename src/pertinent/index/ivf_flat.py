"""Approximate search: lists of vectors around centres (inverted file)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError
from pertinent.index._coded import check_whole
from pertinent.index._faiss import load_faiss
from pertinent.index._faiss_vectors import Found, Vectors, cells_of, centres, fill, held, ordered, probe, read, write

__all__ = ["IVFFlatIndex"]


class IVFFlatIndex:
    """Approximate nearest neighbours: only the cells around the centres nearest to a query are searched. Needs faiss.

    Built in a small part of the time of a graph (`hnsw`) and slower to search; its file holds the vectors again. Scores
    are those of an exact index. Where the cells hold fewer items than are asked for, the query is searched exactly.

    Args:
        vectors: `(N, D)` float32 of length 1, may be memory-mapped.
        cells: centres; default about 4 sqrt(N), fewer for a small collection.
        probes: cells that are searched, the centres' order decides; more find more and take longer. With a filter, as
            many more as it lets fewer items through.

    Raises:
        InputError: an option out of range, or more cells than vectors.
        MissingDependencyError: faiss is not installed.
    """

    filters = True
    effort = ("probes", "probes")

    def __init__(self, vectors: Vectors, *, cells: int | None = None, probes: int = 16) -> None:
        faiss = load_faiss()
        check_whole("probes", probes, 1)
        number, dim = cells_of(cells, len(vectors)), vectors.shape[1]
        self.index = faiss.IndexIVFFlat(centres(dim), dim, number, faiss.METRIC_INNER_PRODUCT)
        fill(self.index, vectors)
        self.vectors, self.probes = vectors, probes

    @classmethod
    def open(cls, folder: Path, vectors: Vectors, *, cells: int, probes: int) -> IVFFlatIndex:
        """Open what `save` wrote about these vectors, with the options that `state` told."""
        structure, index = cls.__new__(cls), read(folder, *vectors.shape)
        if index.nlist != cells:
            raise InputError(f"it states {cells} cells, and there are {index.nlist}")
        structure.vectors, structure.index, structure.probes = vectors, index, probes
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
        return ordered(probe(self.index, self.probes, queries, k, allowed), queries, self.vectors, k, allowed)

    @property
    def nbytes(self) -> int:
        """Bytes of the cells."""
        return held(self.index)

    def save(self, folder: Path) -> None:
        """Write the cells into a folder."""
        write(self.index, folder)

    def state(self) -> dict[str, Any]:
        """The options."""
        return {"cells": self.index.nlist, "probes": self.probes}
