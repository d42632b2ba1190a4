"""Exact search by Hamming distance among packed codes: the nearest, all that tie with the last, or all within a radius.

Items are looked at in runs. First the smallest distance in every run is found, which needs no branch and no list. The
k-th smallest of these is a distance within which at least k items lie, so only runs that reach it are looked at again;
these give the true k-th distance, and what is within it is put in order by counting.

Letters: Q queries, N items, W words of 64 bits, K bits, R runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from pertinent.errors import InputError
from pertinent.functional.jit import kernel
from pertinent.functional.packed import PackedCodes

RUN = 128
"""Items of a run: long enough for the smallest of it to cost little, short enough to be looked at again."""

# Queries that share a pass over the items.
TILE = 64
# Hits a query that there is room for at first.
ROOM = 1024

Made = TypeVar("Made")


class CodeNeighbours(NamedTuple):
    """Items found for Q queries, end to end: those of query `i` are `[offsets[i]:offsets[i + 1]]`, nearest first.

    Equal distances stand in the order of positions.

    Attributes:
        offsets: `(Q + 1,)` int64.
        positions: int64.
        distances: int32, in bits.
    """

    offsets: NDArray[np.int64]
    positions: NDArray[np.int64]
    distances: NDArray[np.int32]


def nearest_codes(queries: PackedCodes, items: PackedCodes, k: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The k items at the smallest Hamming distance from each query, nearest first; equal distances by position.

    Args:
        queries: Q codes.
        items: N codes of as many bits.
        k: at least 1; at most N come back.

    Returns:
        distances `(Q, k)` int32 and positions `(Q, k)` int64.

    Raises:
        InputError: other numbers of bits, or k below 1.
    """
    found = _search(queries, items, k, keep=k)
    shape = (queries.size, min(k, items.size))
    return found.distances.reshape(shape), found.positions.reshape(shape)


def nearest_codes_all_ties(queries: PackedCodes, items: PackedCodes, k: int) -> CodeNeighbours:
    """As `nearest_codes`, with every item at the distance of the k-th: at least k (or N) items a query.

    Raises:
        InputError: other numbers of bits, or k below 1.
    """
    return _search(queries, items, k)


def codes_within(queries: PackedCodes, items: PackedCodes, radius: int) -> CodeNeighbours:
    """Every item at a Hamming distance of at most `radius` bits from each query.

    Raises:
        InputError: other numbers of bits, or a radius below 0.
    """
    if radius < 0:
        raise InputError(f"radius must be at least 0 bits, got {radius}")
    return _search(queries, items, items.size + 1, radius=min(radius, items.bits))


def _search(
    queries: PackedCodes, items: PackedCodes, k: int, *, keep: int | None = None, radius: int | None = None
) -> CodeNeighbours:
    if queries.bits != items.bits:
        raise InputError(f"queries have {queries.bits} bits, the items {items.bits}")
    if k < 1:
        raise InputError(f"k must be at least 1, got {k}")
    most = items.size if keep is None else keep
    farthest = items.bits if radius is None else radius

    def tile(start: int) -> CodeNeighbours:
        some = queries.cut(start, start + TILE).words
        return CodeNeighbours(*_search_tile(some, items.words, items.bits, (k, most, farthest)))

    return _joined(in_threads(tile, range(0, queries.size, TILE)))


def in_threads(work: Callable[[int], Made], starts: Sequence[int]) -> list[Made]:
    """What `work` makes of each start, in as many threads as torch uses; kernels run side by side."""
    threads = min(torch.get_num_threads(), len(starts))
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(work, starts))
    return [work(start) for start in starts]


def _joined(parts: list[CodeNeighbours]) -> CodeNeighbours:
    lengths = np.concatenate([np.zeros(1, np.int64), *(np.diff(part.offsets) for part in parts)])
    positions = np.concatenate([np.zeros(0, np.int64), *(part.positions for part in parts)])
    distances = np.concatenate([np.zeros(0, np.int32), *(part.distances for part in parts)])
    return CodeNeighbours(np.cumsum(lengths), positions, distances)


@kernel
def _ones(word: np.uint64) -> np.uint64:
    """Number of bits set; the compiler knows this form and uses the processor's own instruction, on many words."""
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.uint64(word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@kernel
def _smallest_of_words(query: np.uint64, run: NDArray[np.uint64]) -> int:
    best = np.uint64(64)
    for item in range(len(run)):
        best = min(best, _ones(query ^ run[item]))
    return int(best)


@kernel
def measure_run(query: NDArray[np.uint64], items: NDArray[np.uint64], start: int, distances: NDArray[np.uint64]) -> int:
    """Distances from one query `(W,)` to the items of a run `(W, N)` that begins so; returns how many these are."""
    # Row first, then the stretch: so the compiler knows that items lie side by side.
    block = items[0][start : start + RUN]
    for item in range(len(block)):
        distances[item] = _ones(query[0] ^ block[item])
    for word in range(1, len(query)):
        mine, theirs = query[word], items[word][start : start + RUN]
        for item in range(len(theirs)):
            distances[item] += _ones(mine ^ theirs[item])
    return len(block)


@kernel
def _smallest(query: NDArray[np.uint64], items: NDArray[np.uint64], run: int, distances: NDArray[np.uint64]) -> int:
    best = np.uint64(65535)
    for item in range(measure_run(query, items, run * RUN, distances)):
        best = min(best, distances[item])
    return int(best)


@kernel
def _run_minima(queries: NDArray[np.uint64], items: NDArray[np.uint64], minima: NDArray[np.uint16]) -> None:
    """Smallest distance of each query `(Q, W)` in each run, `(Q, R)`; a run stays in the cache for all queries."""
    distances = np.empty(RUN, np.uint64)
    for run in range(minima.shape[1]):
        if queries.shape[1] == 1:
            block = items[0][run * RUN : (run + 1) * RUN]
            for row in range(len(queries)):
                minima[row, run] = _smallest_of_words(queries[row, 0], block)
        else:
            for row in range(len(queries)):
                minima[row, run] = _smallest(queries[row], items, run, distances)


@kernel
def _reach(minima: NDArray[np.uint16], k: int, farthest: int, counts: NDArray[np.int64]) -> int:
    """The k-th smallest of one query's minima, no more than `farthest`: no item beyond it can be wanted."""
    counts[:] = 0
    for run in range(len(minima)):
        counts[minima[run]] += 1
    total = 0
    for distance in range(farthest):
        total += counts[distance]
        if total >= k:
            return distance
    return farthest


class _Scratch(NamedTuple):
    """Memory of one search.

    Attributes:
        counts: `(K + 1,)` items of one query at each distance.
        measured: `(RUN,)` distances in one run.
        near: `(N + 1,)` positions that may be wanted, ascending; one place more, for a write that is not kept.
        away: `(N + 1,)` their distances.
    """

    counts: NDArray[np.int64]
    measured: NDArray[np.uint64]
    near: NDArray[np.int64]
    away: NDArray[np.uint16]


@kernel
def _find_near(
    sides: tuple[NDArray[np.uint64], NDArray[np.uint64]],
    minima: NDArray[np.uint16],
    k: int,
    reach: int,
    memory: _Scratch,
) -> tuple[int, int]:
    """List what may be wanted by one query; returns the k-th smallest distance (`reach` where fewer are within it).

    The list holds every item within that distance, and others; how many it holds comes second.
    """
    query, items = sides
    counts, measured, near, away = memory
    counts[:] = 0
    total, end = 0, 0
    for run in range(len(minima)):
        if minima[run] > reach:
            continue
        begin = end
        for item in range(measure_run(query, items, run * RUN, measured)):
            # No branch: whether an item is kept cannot be foreseen.
            near[end], away[end] = run * RUN + item, measured[item]
            end += measured[item] <= np.uint64(reach)
        for place in range(begin, end):
            counts[away[place]] += 1
        total += end - begin
        while total - counts[reach] >= k:
            total -= counts[reach]
            counts[reach] = 0
            reach -= 1
    return reach, end


@kernel
def _in_order(memory: _Scratch, reach: int, end: int, out: tuple[NDArray[np.int64], NDArray[np.int32]]) -> None:
    """Write the listed items within reach in order of distance, then position, as far as there is room."""
    positions, distances = out
    counts = memory.counts
    total = 0
    for distance in range(reach + 1):
        size = counts[distance]
        counts[distance] = total
        total += size
    for number in range(end):
        distance = memory.away[number]
        if distance <= reach:
            place = counts[distance]
            counts[distance] += 1
            if place < len(positions):
                positions[place], distances[place] = memory.near[number], distance


@kernel
def _search_tile(
    query_words: NDArray[np.uint64], items: NDArray[np.uint64], bits: int, wanted: tuple[int, int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Some queries against all items; `wanted` is k, how many to keep at most, and the farthest distance."""
    k, most, farthest = wanted
    queries = query_words.T.copy()
    n_rows, n_items = len(queries), items.shape[1]
    minima = np.empty((n_rows, -(-n_items // RUN)), np.uint16)
    _run_minima(queries, items, minima)
    memory = _Scratch(
        np.empty(bits + 1, np.int64),
        np.empty(RUN, np.uint64),
        np.empty(n_items + 1, np.int64),
        np.empty(n_items + 1, np.uint16),
    )
    offsets = np.zeros(n_rows + 1, np.int64)
    positions, distances = np.empty(n_rows * min(k, ROOM), np.int64), np.empty(n_rows * min(k, ROOM), np.int32)
    for row in range(n_rows):
        reach = _reach(minima[row], k, farthest, memory.counts)
        reach, end = _find_near((queries[row], items), minima[row], k, reach, memory)
        start = offsets[row]
        stop = start + min(most, memory.counts[: reach + 1].sum())
        offsets[row + 1] = stop
        if stop > len(positions):
            positions, distances = longer(positions, 2 * stop), longer(distances, 2 * stop)
        _in_order(memory, reach, end, (positions[start:stop], distances[start:stop]))
    return offsets, positions[: offsets[-1]], distances[: offsets[-1]]


@kernel
def longer(values: NDArray[Any], size: int) -> NDArray[Any]:
    """The same values with room for more after them."""
    more = np.empty(size, values.dtype)
    more[: len(values)] = values
    return more
