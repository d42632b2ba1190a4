"""Every pair of vectors, or of codes, that are nearer than a threshold: exact, tile by tile, without a matrix N x N.

Most pairs are far apart, and to know that a few numbers are enough. Vectors are turned so that their first M numbers
hold as much as can be; by Cauchy and Schwarz a cosine is at most the product of these plus the product of the lengths
of the rests. Only pairs whose bound reaches the threshold are looked at whole, and those in float64. M is chosen from a
sample; it decides how long the search takes and never what it finds.

Letters: N vectors, G others, D dim, M dims of the bound, P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pertinent.errors import InputError
from pertinent.functional.counting import exact_scores, squared_lengths
from pertinent.functional.hamming_search import codes_within, longer
from pertinent.functional.jit import kernel
from pertinent.functional.neighbours import blocks, wide
from pertinent.functional.packed import PackedCodes
from pertinent.functional.similarity import Floats

DIGITS = 9
"""Cosines are rounded to so many digits, more than float32 vectors hold: copies have 1, whatever the order of a sum."""

# A tile of bounds stays in the cache of a processor while it is looked through, in runs.
ROWS, COLUMNS, RUN = 512, 2048, 64
CACHE_BYTES = 2**30
SAMPLE = (256, 4096)
# What other work costs, in multiplications of a matrix product: looking at one bound, and at one pair, and its numbers.
SCAN, LOOK, LOOK_DIM = 24, 30_000, 50
# Places for the answers of one pass over codes.
ROOM = 2**26


class NearPairs(NamedTuple):
    """Pairs found in one tile: rows `first` and `second`, `(P,)` int64, and their `scores`, `(P,)` float64."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    scores: NDArray[np.float64]


Step = tuple[NearPairs, int]
"""Pairs, and how many comparisons were made to find them."""


def near_pairs(mine: NDArray[Any], theirs: NDArray[Any] | None = None, *, above: float) -> Iterator[Step]:
    """Every pair of a cosine of at least `above`, tile by tile; a vector of zeros is near to nothing.

    Args:
        mine: `(N, D)` real, may be a memory map.
        theirs: `(G, D)` others to compare with; by default `mine` among themselves, each pair once, `first` < `second`.
        above: in (0, 1].

    Raises:
        InputError: `above` out of range, or vectors of different lengths.
    """
    if not 0 < above <= 1:
        raise InputError(f"a cosine to look for lies above 0 and is at most 1, got {above}")
    if theirs is not None and mine.shape[1] != theirs.shape[1]:
        raise InputError(f"the vectors have {mine.shape[1]} and {theirs.shape[1]} numbers; embed with one encoder")
    return _near_pairs(mine, theirs, above)


def near_codes(mine: PackedCodes, theirs: PackedCodes | None = None, *, bits: int) -> Iterator[Step]:
    """Every pair of codes that differ in at most `bits` bits, as `near_pairs`; scores are 1 - 2 distance / K.

    Raises:
        InputError: `bits` below 0, or codes of different lengths.
    """
    if bits < 0:
        raise InputError(f"codes differ in at least 0 bits, got {bits}")
    if theirs is not None and mine.bits != theirs.bits:
        raise InputError(f"the codes have {mine.bits} and {theirs.bits} bits; embed with one encoder")
    return _near_codes(mine, theirs, bits)


def _near_pairs(mine: NDArray[Any], theirs: NDArray[Any] | None, above: float) -> Iterator[Step]:
    others = mine if theirs is None else theirs
    rotation = _bound(mine, others, above, own=theirs is None)
    left = _Side(mine, rotation)
    right = left if theirs is None else _Side(others, rotation)
    reach = above - _slack(mine.shape[1] if rotation is None else rotation.shape[1]) - 0.5 * 10**-DIGITS
    memory = torch.empty(ROWS * COLUMNS)
    for rows in blocks(len(mine), ROWS):
        block, begin, compared = torch.from_numpy(left.tile(rows)), 0 if theirs is not None else rows.start, 0
        for tile in blocks(len(others) - begin, COLUMNS):
            columns = slice(begin + tile.start, begin + tile.stop)
            items = torch.from_numpy(right.tile(columns))
            bounds = torch.mm(block, items.T, out=memory[: len(block) * len(items)].view(len(block), len(items)))
            compared += _comparisons(rows, columns, theirs is None)
            first, second = _reaching(bounds.numpy(), reach)
            first, second = first + rows.start, second + columns.start
            if theirs is None:
                first, second = first[first < second], second[first < second]
            scores = left.cosines(first, right, second)
            near = scores >= above
            if near.any() or columns.stop == len(others):
                yield NearPairs(first[near], second[near], scores[near]), compared
                compared = 0


@kernel
def _reaching(bounds: Floats, reach: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the bounds `(R, C)` that reach a number, row by row; most stretches hold none."""
    rows, columns = np.empty(RUN, np.int64), np.empty(RUN, np.int64)
    end = 0
    for row in range(len(bounds)):
        for start in range(0, bounds.shape[1], RUN):
            run = bounds[row, start : start + RUN]
            count = 0
            for column in range(len(run)):
                count += run[column] >= reach
            if count == 0:
                continue
            if end + count > len(rows):
                rows, columns = longer(rows, 2 * (end + count)), longer(columns, 2 * (end + count))
            for column in range(len(run)):
                if run[column] >= reach:
                    rows[end], columns[end] = row, start + column
                    end += 1
    return rows[:end], columns[:end]


def _near_codes(mine: PackedCodes, theirs: PackedCodes | None, bits: int) -> Iterator[Step]:
    others = mine if theirs is None else theirs
    for rows in blocks(mine.size, max(128, min(16384, ROOM // max(others.size, 1)))):
        begin = rows.start if theirs is None else 0
        found = codes_within(mine.cut(rows.start, rows.stop), others.cut(begin, others.size), bits)
        first = np.repeat(np.arange(rows.start, rows.stop), np.diff(found.offsets))
        second, scores = found.positions + begin, 1 - 2 * found.distances.astype(np.float64) / mine.bits
        near = first < second if theirs is None else np.ones(len(first), bool)
        columns = slice(begin, others.size)
        yield NearPairs(first[near], second[near], scores[near]), _comparisons(rows, columns, theirs is None)


def _comparisons(rows: slice, columns: slice, own: bool) -> int:
    """Pairs of a tile; of one that holds the diagonal, those on one side of it."""
    height, width = len(range(rows.start, rows.stop)), len(range(columns.start, columns.stop))
    if not own or columns.start > rows.start:
        return height * width
    inside = min(height, width)
    return height * width - inside * (inside + 1) // 2


class _Side:
    """Vectors as they go into the bounds `(N, M + 1)` float32, the length of the rest last; made once where small."""

    def __init__(self, vectors: NDArray[Any], rotation: NDArray[np.float64] | None) -> None:
        # Numba takes no memory map, and this is a view of one.
        plain = vectors.dtype in (np.float32, np.float64)
        self.vectors, self.rotation = np.asarray(vectors) if plain else wide(vectors), rotation
        self.lengths = np.sqrt(squared_lengths(self.vectors))
        width = vectors.shape[1] if rotation is None else rotation.shape[1] + 1
        self.ready: NDArray[np.float32] | None = None
        if 4 * len(vectors) * width <= CACHE_BYTES:
            self.ready = np.empty((len(vectors), width), np.float32)
            for rows in blocks(len(vectors), COLUMNS):
                self.ready[rows] = self._made(rows)

    def tile(self, rows: slice) -> NDArray[np.float32]:
        return self._made(rows) if self.ready is None else self.ready[rows]

    def cosines(self, rows: NDArray[np.int64], others: _Side, columns: NDArray[np.int64]) -> NDArray[np.float64]:
        lengths = self.lengths[rows] * others.lengths[columns]
        products = exact_scores(self.vectors, others.vectors, rows, columns)
        cosines = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
        rounded: NDArray[np.float64] = np.round(np.clip(cosines, -1, 1), DIGITS)
        return rounded

    def _made(self, rows: slice) -> NDArray[np.float32]:
        return _for_bounds(_unit(self.vectors[rows], self.lengths[rows]), self.rotation).astype(np.float32)


def _unit(vectors: NDArray[Any], lengths: NDArray[np.float64]) -> NDArray[np.float64]:
    return vectors.astype(np.float64) / np.where(lengths > 0, lengths, 1)[:, None]


def _for_bounds(unit: NDArray[np.float64], rotation: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Unit vectors in float64, so that the length of the rest loses no digit."""
    if rotation is None:
        return unit
    head = unit @ rotation
    rest = np.sqrt(np.maximum(0, np.einsum("nd,nd->n", unit, unit) - np.einsum("nm,nm->n", head, head)))
    return np.concatenate([head, rest[:, None]], axis=1)


def _slack(dims: int) -> float:
    """How far a product of vectors of length 1 can be off when it is added up in float32."""
    return (dims + 8) * 2.0**-23


def _bound(mine: NDArray[Any], theirs: NDArray[Any], above: float, own: bool) -> NDArray[np.float64] | None:
    """The `(D, M)` rotation that makes the search fastest by the figures of a sample; None to use all D numbers."""
    rng = np.random.default_rng(0)
    # Equal pairs are rare; in a sample of the same rows they are not.
    some = [
        np.sort(rng.choice(len(side), min(len(side), size), replace=False))
        for side, size in zip((mine, theirs), SAMPLE, strict=True)
    ]
    apart = some[0][:, None] != some[1] if own else np.ones((len(some[0]), len(some[1])), bool)
    if not apart.any():
        return None
    a, b = (
        _unit(rows, np.sqrt(np.einsum("nd,nd->n", rows, rows)))
        for rows in (np.asarray(side[rows], np.float64) for side, rows in zip((mine, theirs), some, strict=True))
    )
    dim = mine.shape[1]
    rotation = np.linalg.eigh(a.T @ a + b.T @ b)[1][:, ::-1]
    best, cheapest = None, float(dim + SCAN)
    for width in (2**power for power in range(3, 12) if 2**power < 0.7 * dim):
        bounds = _for_bounds(a, rotation[:, :width]) @ _for_bounds(b, rotation[:, :width]).T
        share = float((bounds[apart] >= above - _slack(width)).mean())
        cost = width + 1 + SCAN + share * (LOOK + LOOK_DIM * dim)
        if cost < cheapest:
            best, cheapest = np.ascontiguousarray(rotation[:, :width]), cost
    return best
