"""Approximate search: a graph of vectors (HNSW)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.index._coded import check_whole
from pertinent.index._faiss import load_faiss
from pertinent.index._faiss_vectors import (
    Found,
    Vectors,
    look_into,
    ordered,
    over,
    read,
    search,
    selector,
    widened,
    write,
)

__all__ = ["HNSWIndex"]


class HNSWIndex:
    """Approximate nearest neighbours: a walk through a graph that links each vector to near ones (HNSW). Needs faiss.

    The best choice for most collections that an exact search is too slow for. The graph alone is written to disk; a
    search reads the vectors where they lie. Scores are those of an exact index. Where the walk finds fewer items than
    are asked for, the query is searched exactly. Source: Malkov and Yashunin, TPAMI 2020.

    Args:
        vectors: `(N, D)` float32 of length 1, may be memory-mapped.
        links: links of a vector on each level of the graph, twice as many on the lowest; 8 `links` bytes a vector.
        build: candidates that are kept while a vector is linked.
        search: candidates that are kept in a search, at least k; more find more and take longer. With a filter, as
            many more as it lets fewer items through.
        threads: threads of the build, all of torch's when None. Only one builds the same graph every time.

    Raises:
        InputError: an option out of range.
        MissingDependencyError: faiss is not installed.
    """

    filters = True
    effort = ("search", "width")

    def __init__(
        self, vectors: Vectors, *, links: int = 32, build: int = 200, search: int = 64, threads: int | None = None
    ) -> None:
        faiss = load_faiss()
        for name, value, least in (("links", links, 2), ("build", build, 1), ("search", search, 1)):
            check_whole(name, value, least)
        index = faiss.IndexHNSWFlat(vectors.shape[1], links, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = build
        if threads is not None:
            check_whole("threads", threads, 1)
            faiss.omp_set_num_threads(threads)
        index.add(np.ascontiguousarray(vectors))
        look_into(faiss.downcast_index(index.storage), vectors)
        self._hold(vectors, index, (links, build, search))

    @classmethod
    def open(cls, folder: Path, vectors: Vectors, *, links: int, build: int, search: int) -> HNSWIndex:
        """Open what `save` wrote about these vectors, with the options that `state` told."""
        structure, index = cls.__new__(cls), read(folder, *vectors.shape)
        index.storage, index.own_fields = over(vectors), True
        structure._hold(vectors, index, (links, build, search))
        return structure

    def _hold(self, vectors: Vectors, index: Any, options: tuple[int, int, int]) -> None:
        self.vectors, self.index = vectors, index
        self.links, self.build, self.width = options

    def search(self, queries: Vectors, k: int, allowed: NDArray[np.bool_] | None = None) -> Found:
        """About the k items of the largest dot product with each query, best first; equal scores by position.

        Args:
            queries: `(Q, D)` float32.
            k: at most as many as are allowed come back.
            allowed: `(N,)` the items that may be found; all, when None.

        Returns:
            scores `(Q, k)` float32 and positions `(Q, k)` int64.
        """
        faiss = load_faiss()
        k = min(k, len(self.vectors) if allowed is None else int(np.count_nonzero(allowed)))
        if not k or not len(queries):
            return np.zeros((len(queries), k), np.float32), np.zeros((len(queries), k), np.int64)
        how = faiss.SearchParametersHNSW(efSearch=widened(max(self.width, k), allowed, len(self.vectors)))
        if allowed is not None:
            how.sel, _bits = selector(allowed)
        found = search(self.index, queries, k, how)
        return ordered(found, queries, self.vectors, k, allowed)

    @property
    def nbytes(self) -> int:
        """Bytes of the graph."""
        graph = self.index.hnsw
        return int(4 * graph.neighbors.size() + 8 * graph.offsets.size() + 4 * graph.levels.size())

    def save(self, folder: Path) -> None:
        """Write the graph into a folder."""
        write(self.index, folder, load_faiss().IO_FLAG_SKIP_STORAGE)

    def state(self) -> dict[str, Any]:
        """The options."""
        return {"links": self.links, "build": self.build, "search": self.width}
