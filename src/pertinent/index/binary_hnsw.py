"""Approximate search by the signs of vectors: a graph of codes (HNSW)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.functional.packed import PackedCodes
from pertinent.index._coded import CodedItems, Found, check_whole
from pertinent.index._faiss import load_faiss, read_binary, search_binary, write_binary

__all__ = ["BinaryHNSWIndex"]


class BinaryHNSWIndex:
    """Approximate nearest neighbours by sign: a walk through a graph that links each code to near ones (HNSW).

    Needs no clusters, but more memory and time than `binary_ivf`, and misses items where many codes are equal. Scores
    and order as in `binary`. Where the walk finds fewer items than are asked for, the query is searched exactly. Needs
    faiss. Source: Malkov and Yashunin, TPAMI 2020.

    Args:
        vectors: `(N, D)` float32, may be memory-mapped; their lengths do not matter.
        m: links of a code on each level of the graph, twice as many on the lowest.
        ef_construction: candidates that are kept while a code is linked.
        ef_search: candidates that are kept in a search; at least k are.
        rerank: as in `binary`.
        rerank_vectors: as in `binary`.

    Raises:
        InputError: an option out of range.
        MissingDependencyError: faiss is not installed.
    """

    by_sign = True
    effort = ("ef_search", "ef_search")

    def __init__(
        self,
        vectors: NDArray[np.float32],
        *,
        m: int = 32,
        ef_construction: int = 64,
        ef_search: int = 64,
        rerank: int = 0,
        rerank_vectors: bool = False,
    ) -> None:
        faiss = load_faiss()
        check_whole("m", m, 2)
        check_whole("ef_construction", ef_construction, 1)
        check_whole("ef_search", ef_search, 1)
        items = CodedItems.of(vectors, rerank, rerank_vectors)
        index = faiss.IndexBinaryHNSW(8 * items.codes.shape[1], m)
        index.hnsw.efConstruction = ef_construction
        index.add(np.ascontiguousarray(items.codes))
        self._hold(items, index, (m, ef_construction, ef_search))

    @classmethod
    def open(
        cls,
        folder: Path,
        vectors: NDArray[np.float32],
        *,
        m: int,
        ef_construction: int,
        ef_search: int,
        **shared: Any,
    ) -> BinaryHNSWIndex:
        """Open what `save` wrote about these vectors, with the options that `state` told."""
        index = cls.__new__(cls)
        options = (m, ef_construction, ef_search)
        index._hold(CodedItems.read(folder, vectors, **shared), read_binary(folder, len(vectors)), options)
        return index

    def _hold(self, items: CodedItems, index: Any, options: tuple[int, int, int]) -> None:
        self.items, self.index = items, index
        self.m, self.ef_construction, self.ef_search = options

    def search(self, queries: NDArray[np.float32], k: int) -> Found:
        """About the k best items of each query, best first: scores `(Q, k)` float32 and positions `(Q, k)` int64."""
        return self.items.search(self.nearest, queries, k)

    def nearest(self, codes: NDArray[np.uint8], k: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """About the k items nearest to packed codes `(Q, B)`: distances in bits and positions, `(Q, k)` each."""
        load_faiss()
        self.index.hnsw.efSearch = max(self.ef_search, k)
        return search_binary(self.index.search, codes, k, lambda: PackedCodes.of(self.items.codes, self.items.bits))

    def save(self, folder: Path) -> None:
        """Write the codes and faiss's file into a folder."""
        self.items.save(folder)
        write_binary(self.index, folder)

    def state(self) -> dict[str, Any]:
        """The options."""
        own = {"m": self.m, "ef_construction": self.ef_construction, "ef_search": self.ef_search}
        return {**own, **self.items.state()}
