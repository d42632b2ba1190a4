"""Approximate search by the signs of vectors: lists of codes around centres (inverted file)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError
from pertinent.functional.hamming_lists import CodeLists, nearest_in_lists
from pertinent.functional.packed import PackedCodes
from pertinent.index._coded import CodedItems, Found, check_whole
from pertinent.index._faiss import load_faiss, read_binary, search_binary, write_binary

__all__ = ["BinaryIVFIndex"]

# k-means needs some dozens of codes a centre; more of them teach little.
FEWEST, MOST = 39, 64
ROUNDS = 10


class BinaryIVFIndex:
    """Approximate nearest neighbours by sign: only the lists around the centres nearest to a query are searched.

    Fast on codes that form clusters, as learned ones do; of no use where bits are random. Scores and order as in
    `binary`. Where the lists hold fewer items than are asked for, the query is searched exactly. Needs faiss.

    Args:
        vectors: `(N, D)` float32, may be memory-mapped; their lengths do not matter.
        nlist: centres; default about 4 sqrt(N), fewer for a small collection.
        nprobe: lists that are searched, the centres' order decides; more find more and take longer.
        rerank: as in `binary`.
        rerank_vectors: as in `binary`.

    Raises:
        InputError: an option out of range, or more centres than vectors.
        MissingDependencyError: faiss is not installed.
    """

    by_sign = True
    effort = ("nprobe", "nprobe")

    def __init__(
        self,
        vectors: NDArray[np.float32],
        *,
        nlist: int | None = None,
        nprobe: int = 16,
        rerank: int = 0,
        rerank_vectors: bool = False,
    ) -> None:
        faiss = load_faiss()
        check_whole("nprobe", nprobe, 1)
        if nlist is not None:
            check_whole("nlist", nlist, 1)
            if nlist > len(vectors):
                raise InputError(f"nlist must be at most the number of vectors, {len(vectors)}, got {nlist}")
        items = CodedItems.of(vectors, rerank, rerank_vectors)
        self._hold(items, _build(faiss, items.codes, nlist or default_lists(len(vectors))), nprobe)

    @classmethod
    def open(
        cls, folder: Path, vectors: NDArray[np.float32], *, nlist: int, nprobe: int, **shared: Any
    ) -> BinaryIVFIndex:
        """Open what `save` wrote about these vectors, with the options that `state` told."""
        found = read_binary(folder, len(vectors))
        if found.nlist != nlist:
            raise InputError(f"it states nlist {nlist}, and there are {found.nlist} lists")
        index = cls.__new__(cls)
        index._hold(CodedItems.read(folder, vectors, **shared), found, nprobe)
        return index

    def _hold(self, items: CodedItems, index: Any, nprobe: int) -> None:
        self.items, self.index, self.nprobe = items, index, nprobe
        self.lists = _lists(index, items.bits)

    def search(self, queries: NDArray[np.float32], k: int) -> Found:
        """About the k best items of each query, best first: scores `(Q, k)` float32 and positions `(Q, k)` int64."""
        return self.items.search(self.nearest, queries, k)

    def nearest(self, codes: NDArray[np.uint8], k: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """About the k items nearest to packed codes `(Q, B)`: distances in bits and positions, `(Q, k)` each."""
        return search_binary(self._search, codes, k, lambda: PackedCodes.of(self.items.codes, self.items.bits))

    def _search(self, codes: NDArray[np.uint8], k: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        return nearest_in_lists(PackedCodes.of(codes, self.items.bits), self.lists, k, self.nprobe)

    def save(self, folder: Path) -> None:
        """Write the codes and faiss's file into a folder."""
        self.items.save(folder)
        write_binary(self.index, folder)

    def state(self) -> dict[str, Any]:
        """The options."""
        return {"nlist": self.index.nlist, "nprobe": self.nprobe, **self.items.state()}


def _lists(index: Any, bits: int) -> CodeLists:
    """The lists of faiss, which keeps the k nearest of them in a heap that costs more than all the distances do."""
    faiss = load_faiss()
    size, found = index.code_size, index.invlists
    lengths = [found.list_size(number) for number in range(index.nlist)]
    codes, positions = np.empty((index.ntotal, size), np.uint8), np.empty(index.ntotal, np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    for number, length in enumerate(lengths):
        if length:
            part = slice(starts[number], starts[number + 1])
            codes[part] = faiss.rev_swig_ptr(found.get_codes(number), length * size).reshape(length, size)
            positions[part] = faiss.rev_swig_ptr(found.get_ids(number), length)
    quantizer = faiss.downcast_IndexBinary(index.quantizer)
    centres = faiss.vector_to_array(quantizer.xb).reshape(index.nlist, size)
    # Bits of a centre after the last one say nothing.
    centres = np.packbits(np.unpackbits(centres, axis=1, count=bits), axis=1)
    return CodeLists(PackedCodes.of(centres, bits), starts, PackedCodes.of(codes, bits), positions)


def default_lists(count: int) -> int:
    """Centres for so many codes: about 4 sqrt(N), with dozens of codes each."""
    return max(1, min(count // FEWEST, round(4 * math.sqrt(count))))


def _build(faiss: Any, codes: NDArray[np.uint8], nlist: int) -> Any:
    bits = 8 * codes.shape[1]
    centres = faiss.IndexBinaryFlat(bits)
    index = faiss.IndexBinaryIVF(centres, bits, nlist)
    # The centres live as long as the index.
    centres.this.disown()
    index.own_fields = True
    index.cp.niter, index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = ROUNDS, 1, MOST
    rows = np.random.default_rng(0).permutation(len(codes))[: MOST * nlist]
    index.train(np.ascontiguousarray(codes[np.sort(rows)]))
    index.add(np.ascontiguousarray(codes))
    return index
