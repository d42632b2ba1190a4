"""Items as packed codes: what the kinds of binary index share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError, StorageError
from pertinent.functional.neighbours import blocks, unit_rows
from pertinent.functional.packed import code_bytes, pack_signs, unpack_signs

CODES = "codes.npy"
# Candidates of so many queries are compared anew at once.
ROWS = 256

Found = tuple[NDArray[np.float32], NDArray[np.int64]]
FindCodes = Callable[[NDArray[np.uint8], int], tuple[NDArray[np.int32], NDArray[np.int64]]]
"""Finds the k nearest codes: from packed queries and k to distances in bits and positions, nearest first."""


class CodedItems:
    """Signs of N vectors, and how the first items that a search by them finds are ordered anew.

    Args:
        codes: `(N, ceil(D / 8))` uint8.
        vectors: `(N, D)` that they are the signs of; looked at for `rerank_vectors` alone.
        rerank: so many items are ordered anew by the cosine of the query's own numbers with -1 and 1; 0 is none. Where
            more than these are asked for, all of them are.
        rerank_vectors: by the cosine with the item's own numbers instead.

    Raises:
        InputError: rerank below 0, or `rerank_vectors` without it.
    """

    def __init__(
        self, codes: NDArray[np.uint8], vectors: NDArray[np.float32], rerank: int = 0, rerank_vectors: bool = False
    ) -> None:
        check_whole("rerank", rerank, 0)
        if not isinstance(rerank_vectors, bool):
            raise InputError(f"rerank_vectors must be true or false, got {rerank_vectors!r}")
        if rerank_vectors and not rerank:
            raise InputError("rerank_vectors orders the first `rerank` items; say how many, such as rerank=100")
        self.codes, self.vectors = codes, vectors
        self.bits, self.rerank, self.rerank_vectors = vectors.shape[1], rerank, rerank_vectors

    @classmethod
    def of(cls, vectors: NDArray[np.float32], rerank: int, rerank_vectors: bool) -> CodedItems:
        """Pack the signs of vectors."""
        return cls(pack_signs(vectors), vectors, rerank, rerank_vectors)

    @classmethod
    def read(cls, folder: Path, vectors: NDArray[np.float32], rerank: int, rerank_vectors: bool) -> CodedItems:
        """Open what `save` wrote, by memory map; raises StorageError where it is missing or damaged."""
        path = folder / CODES
        try:
            codes: NDArray[Any] = np.load(path, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise StorageError(f"{path} is damaged ({error}); build the index again") from error
        if codes.dtype != np.uint8 or codes.shape != (len(vectors), code_bytes(vectors.shape[1])):
            raise StorageError(f"{path} is damaged: it holds {codes.dtype} {codes.shape}; build the index again")
        return cls(codes, vectors, rerank, rerank_vectors)

    def save(self, folder: Path) -> None:
        """Write the codes into a folder."""
        np.save(folder / CODES, self.codes)

    def state(self) -> dict[str, Any]:
        """The options."""
        return {"rerank": self.rerank, "rerank_vectors": self.rerank_vectors}

    def search(self, find: FindCodes, queries: NDArray[np.float32], k: int) -> Found:
        """The k best items of each query by what `find` finds, best first.

        Args:
            find: see `FindCodes`.
            queries: `(Q, D)` real outputs.
            k: at most N come back.

        Returns:
            scores `(Q, k)`: 1 - 2 distance / D, the cosine of the codes as -1 and 1; after re-ranking the cosine it
            orders by. Positions `(Q, k)`; equal scores stand in the order in which they were found.
        """
        distances, positions = find(pack_signs(queries), min(max(k, self.rerank), len(self.codes)))
        if not self.rerank:
            return to_scores(distances, self.bits), positions
        scores = np.empty(positions.shape, np.float32)
        for rows in blocks(len(queries), ROWS):
            near = unit_rows(self._compared(positions[rows].ravel())).reshape(*positions[rows].shape, -1)
            scores[rows] = np.einsum("qd,qkd->qk", unit_rows(queries[rows]), near, dtype=np.float64)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(positions, order, axis=1)

    def _compared(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        if self.rerank_vectors:
            return np.asarray(self.vectors[positions])
        return unpack_signs(self.codes[positions], self.bits)


def to_scores(distances: NDArray[np.int32], bits: int) -> NDArray[np.float32]:
    """1 - 2 distance / bits: the cosine of two codes of -1 and 1."""
    return (1 - 2 * distances.astype(np.float64) / bits).astype(np.float32)


def check_whole(name: str, value: Any, least: int) -> None:
    """Raise InputError unless an option is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name} must be a whole number of at least {least}, got {value!r}")
