"""Exact search by the signs of vectors: packed codes and Hamming distance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.functional.hamming_search import CodeNeighbours, codes_within, nearest_codes, nearest_codes_all_ties
from pertinent.functional.packed import PackedCodes, pack_signs
from pertinent.index._coded import CodedItems, Found

__all__ = ["BinaryIndex"]


class BinaryIndex:
    """Exact nearest neighbours by the signs of vectors: Hamming distance of packed codes, 1 bit a number.

    The score is 1 - 2 distance / D, the cosine of the codes as -1 and 1. A number of exactly 0 counts as -1. Equal
    distances stand in the order of positions.

    Args:
        vectors: `(N, D)` float32, may be memory-mapped; their lengths do not matter.
        rerank: order so many first items anew, by the cosine of the query's own numbers with the item's -1 and 1; all
            that are returned where these are more. 0 does not.
        rerank_vectors: order them by the cosine with the item's own numbers, which are read from the store.

    Raises:
        InputError: an option out of range.
    """

    by_sign = True

    def __init__(self, vectors: NDArray[np.float32], *, rerank: int = 0, rerank_vectors: bool = False) -> None:
        self._hold(CodedItems.of(vectors, rerank, rerank_vectors))

    @classmethod
    def open(cls, folder: Path, vectors: NDArray[np.float32], **options: Any) -> BinaryIndex:
        """Open what `save` wrote about these vectors, with the options that `state` told."""
        index = cls.__new__(cls)
        index._hold(CodedItems.read(folder, vectors, **options))
        return index

    def _hold(self, items: CodedItems) -> None:
        self.items = items
        self.packed = PackedCodes.of(items.codes, items.bits)

    def search(self, queries: NDArray[np.float32], k: int) -> Found:
        """The k best items of each query, best first.

        Args:
            queries: `(Q, D)` float32.
            k: how many; at most N come back.

        Returns:
            scores `(Q, k)` float32 and positions `(Q, k)` int64.
        """
        return self.items.search(self.nearest, queries, k)

    def nearest(self, codes: NDArray[np.uint8], k: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The k items nearest to packed codes `(Q, ceil(D / 8))`: distances in bits and positions, `(Q, k)` each."""
        return nearest_codes(PackedCodes.of(codes, self.items.bits), self.packed, k)

    def search_all_ties(self, queries: NDArray[np.float32], k: int) -> CodeNeighbours:
        """The k nearest items of each query and all others at the distance of the k-th; not re-ranked.

        Args:
            queries: `(Q, D)` float32.
            k: at least 1.

        Returns:
            as many items a query as there are, with their distances in bits.
        """
        return nearest_codes_all_ties(self._pack(queries), self.packed, k)

    def radius(self, queries: NDArray[np.float32], r: int) -> CodeNeighbours:
        """Every item at a distance of at most r bits from each query, nearest first; not re-ranked.

        Args:
            queries: `(Q, D)` float32.
            r: at least 0.
        """
        return codes_within(self._pack(queries), self.packed, r)

    def save(self, folder: Path) -> None:
        """Write the codes into a folder."""
        self.items.save(folder)

    def state(self) -> dict[str, Any]:
        """The options."""
        return self.items.state()

    def _pack(self, queries: NDArray[np.float32]) -> PackedCodes:
        return PackedCodes.of(pack_signs(queries), self.items.bits)
