"""Approximate search by Hamming distance among packed codes that lie in lists around centres (inverted file).

Letters: Q queries, N items, W words of 64 bits, K bits, C centres, P lists that are searched.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pertinent.functional.hamming_search import RUN, in_threads, measure_run, nearest_codes
from pertinent.functional.jit import kernel
from pertinent.functional.packed import PackedCodes

# Queries that a thread takes at once.
ROWS = 256
NONE = -1
"""Position of a place for which the lists hold no item."""


class CodeLists(NamedTuple):
    """Codes by list.

    Attributes:
        centres: C codes.
        starts: `(C + 1,)` int64, where each list begins.
        codes: N codes, list after list.
        positions: `(N,)` int64, which item each code is.
    """

    centres: PackedCodes
    starts: NDArray[np.int64]
    codes: PackedCodes
    positions: NDArray[np.int64]


def nearest_in_lists(
    queries: PackedCodes, lists: CodeLists, k: int, probes: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The k nearest items to each query among those in the lists of the nearest centres, in no order.

    Args:
        queries: Q codes.
        lists: where the items are.
        k: how many items.
        probes: how many lists.

    Returns:
        distances `(Q, k)` int32 and positions `(Q, k)` int64, `NONE` where the lists hold too few.
    """
    _, chosen = nearest_codes(queries, lists.centres, probes)
    distances = np.zeros((queries.size, k), np.int32)
    places = np.full((queries.size, k), NONE, np.int64)
    words = np.ascontiguousarray(queries.words.T)

    def some(start: int) -> None:
        rows = slice(start, start + ROWS)
        where, out = (lists.starts, chosen[rows]), (distances[rows], places[rows])
        _search_lists((words[rows], lists.codes.words), where, queries.bits, out)

    in_threads(some, range(0, queries.size, ROWS))
    places[places >= 0] = lists.positions[places[places >= 0]]
    return distances, places


@kernel
def _search_lists(
    sides: tuple[NDArray[np.uint64], NDArray[np.uint64]],
    where: tuple[NDArray[np.int64], NDArray[np.int64]],
    bits: int,
    out: tuple[NDArray[np.int32], NDArray[np.int64]],
) -> None:
    queries, items = sides
    starts, chosen = where
    distances, places = out
    k, n_items = places.shape[1], items.shape[1]
    measured, counts = np.empty(RUN, np.uint64), np.empty(bits + 1, np.int64)
    # One place more than there are items, for a write that is not kept.
    near, away = np.empty(n_items + 1, np.int64), np.empty(n_items + 1, np.uint16)
    for row in range(len(queries)):
        counts[:] = 0
        total, end, reach = 0, 0, bits
        for number in range(chosen.shape[1]):
            stop = starts[chosen[row, number] + 1]
            for start in range(starts[chosen[row, number]], stop, RUN):
                begin = end
                for item in range(min(measure_run(queries[row], items, start, measured), stop - start)):
                    near[end], away[end] = start + item, measured[item]
                    end += measured[item] <= np.uint64(reach)
                for place in range(begin, end):
                    counts[away[place]] += 1
                total += end - begin
                while total - counts[reach] >= k:
                    total -= counts[reach]
                    counts[reach] = 0
                    reach -= 1
        # Of those at the last distance there may be more than are wanted.
        spare, filled = total - k, 0
        for place in range(end):
            if away[place] < reach or (away[place] == reach and spare <= 0):
                distances[row, filled], places[row, filled] = away[place], near[place]
                filled += 1
            elif away[place] == reach:
                spare -= 1
