"""Exact ranks of relevant items without sorting: count how many items lie above each of them, tile by tile.

A matrix product gives the scores of a tile up to a known error. An item whose product is clear of a relevant item's
exact score by more than that error is above or below it; the few others are scored exactly. So the ranks are those of
the exact scores, whatever library multiplied the matrices, in blocks of whatever size.

Letters: B queries of a tile, I items of a tile, D dim, P relevant items (targets) of all queries.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pertinent.functional.jit import kernel
from pertinent.functional.positives import Lists

Floats = NDArray[np.floating[Any]]

LANES = 32
TINY = 1e-300
TRANSPOSED = 16
CHUNK = 512


class Targets(NamedTuple):
    """Items whose rank is sought, and what has been counted for each so far.

    Attributes:
        offsets: `(Q+1,)` where each query's targets start.
        ids: `(P,)` positions of the items, ascending within a query.
        scores: `(P,)` exact scores.
        above: `(P,)` items with a better score.
        tied: `(P,)` items with the same score, the target itself included.
        before: `(P,)` those of them with a smaller position.
        rising: `(P,)` the targets of each query from the worst score to the best.
    """

    offsets: NDArray[np.int64]
    ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    above: NDArray[np.int64]
    tied: NDArray[np.int64]
    before: NDArray[np.int64]
    rising: NDArray[np.int64]

    @classmethod
    def start(cls, lists: Lists, scores: NDArray[np.float64]) -> Targets:
        """Nothing counted yet."""
        above, tied, before = (np.zeros(len(scores), np.int64) for _ in range(3))
        return cls(lists.offsets, lists.ids, scores, above, tied, before, np.lexsort((scores, lists.rows)))


def exact_scores(
    queries: Floats, items: Floats, rows: NDArray[np.int64], ids: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Dot products in float64 of single pairs, always added in the same order, `(P,)`."""
    scores = np.empty(len(ids))
    _pair_scores(queries, items, rows, ids, scores)
    return scores


@kernel
def _pair_scores(
    queries: Floats, items: Floats, rows: NDArray[np.int64], ids: NDArray[np.int64], scores: NDArray[np.float64]
) -> None:
    lanes = np.empty(LANES)
    for pair in range(len(ids)):
        scores[pair] = _exact_dot(queries[rows[pair]], items[ids[pair]], lanes)


@kernel
def squared_lengths(x: Floats) -> NDArray[np.float64]:
    """Exact score of each vector with itself, `(N,)`."""
    squares = np.empty(len(x))
    lanes = np.empty(LANES)
    for row in range(len(x)):
        squares[row] = _exact_dot(x[row], x[row], lanes)
    return squares


@kernel
def normalise(x: Floats, out: Floats) -> NDArray[np.float64]:
    """Write vectors of unit length into `out`.

    Returns:
        `(N,)` their lengths with room for rounding; 0 for vectors without direction, not finite where `x` is not.
    """
    lengths = np.empty(len(x))
    lanes = np.empty(LANES)
    for row in range(len(x)):
        length = np.sqrt(_exact_dot(x[row], x[row], lanes))
        factor = 1.0 / length if length > TINY else 1.0
        for k in range(x.shape[1]):
            out[row, k] = x[row, k] * factor
        if np.isfinite(length):
            length = 1.000001 if length > TINY else 0.0
        lengths[row] = length
    return lengths


@kernel
def _exact_dot(a: Floats, b: Floats, lanes: NDArray[np.float64]) -> float:
    """Dot product in float64, added in an order that depends on the length alone; `lanes` is scratch memory."""
    lanes[:] = 0.0
    whole = len(a) - len(a) % LANES
    for first in range(0, whole, LANES):
        for lane in range(LANES):
            lanes[lane] += np.float64(a[first + lane]) * np.float64(b[first + lane])
    total = 0.0
    for k in range(whole, len(a)):
        total += np.float64(a[k]) * np.float64(b[k])
    for lane in range(LANES):
        total += lanes[lane]
    return total


class Tile(NamedTuple):
    """Some queries against some items.

    Attributes:
        scores: `(at least B, at least I)` products, each within the query's margin of the exact score.
        queries: `(B, D)`.
        items: `(I, D)`.
        margins: `(B,)`.
    """

    scores: Floats
    queries: Floats
    items: Floats
    margins: NDArray[np.float64]


@kernel
def count_tile(tile: Tile, first_query: int, first_item: int, targets: Targets) -> None:
    """Count a tile's items for the targets of its queries.

    Args:
        tile: scores and what they were made of.
        first_query: the query of row 0.
        first_item: the item of column 0.
        targets: counts are added here.
    """
    scores, queries, items, margins = tile
    n_items, places, lanes = len(items), np.empty(CHUNK, np.int64), np.empty(LANES)
    limits = np.empty(2, scores.dtype)
    exact = np.full(n_items, np.nan)
    for row in range(len(queries)):
        start, stop = targets.offsets[first_query + row], targets.offsets[first_query + row + 1]
        rescored = False
        for first in range(0, n_items, CHUNK):
            part = scores[row][first : min(first + CHUNK, n_items)]
            for target in targets.rising[start:stop]:
                score = targets.scores[target]
                limits[0], limits[1] = score - margins[row], score + margins[row]
                low, high = limits[0], limits[1]
                # A plain loop with 32-bit sums: the form that the compiler turns into vector instructions.
                clear, near = np.int32(0), np.int32(0)
                for place in range(len(part)):
                    clear = np.int32(clear + (part[place] > high))
                    near = np.int32(near + (part[place] >= low))
                if near == 0:
                    # Nothing here comes near this target, so nothing comes near the better ones that follow.
                    break
                targets.above[target] += clear
                if near == clear:
                    continue
                rescored = True
                for number in range(_find(part, (low, high), places)):
                    item = first + places[number]
                    if np.isnan(exact[item]):
                        exact[item] = _exact_dot(queries[row], items[item], lanes)
                    targets.above[target] += exact[item] > score
                    if exact[item] == score:
                        targets.tied[target] += 1
                        targets.before[target] += first_item + item < targets.ids[target]
        if rescored:
            exact[:] = np.nan


@kernel
def _find(scores: Floats, limits: tuple[float, float], places: NDArray[np.int64]) -> int:
    """Write the places of the scores between two limits into `places`; returns how many there are."""
    low, high = limits
    found = 0
    for first in range(0, len(scores), 32):
        part = scores[first : first + 32]
        near = np.int32(0)
        for place in range(len(part)):
            near = np.int32(near + ((part[place] >= low) & (part[place] <= high)))
        if near > 0:
            for place in range(len(part)):
                if low <= part[place] <= high:
                    places[found] = first + place
                    found += 1
    return found


@kernel
def transpose(x: Floats, shape: tuple[int, int], out: Floats) -> None:
    """Write the transpose of the corner `shape` of `x` into that of `out`, in squares that stay in the cache."""
    n_rows, n_columns = shape
    for first_column in range(0, n_columns, TRANSPOSED):
        last_column = min(first_column + TRANSPOSED, n_columns)
        for first_row in range(0, n_rows, TRANSPOSED):
            last_row = min(first_row + TRANSPOSED, n_rows)
            for column in range(first_column, last_column):
                for row in range(first_row, last_row):
                    out[column, row] = x[row, column]


@kernel
def leave_out(targets: Targets, ignored: Lists, scores: NDArray[np.float64]) -> None:
    """Take ignored items, whose exact scores are given, out of the counts."""
    for query in range(len(ignored.offsets) - 1):
        for place in range(ignored.offsets[query], ignored.offsets[query + 1]):
            for target in range(targets.offsets[query], targets.offsets[query + 1]):
                targets.above[target] -= scores[place] > targets.scores[target]
                if scores[place] == targets.scores[target]:
                    targets.tied[target] -= 1
                    targets.before[target] -= ignored.ids[place] < targets.ids[target]
