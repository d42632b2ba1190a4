"""Ranks of relevant items from whole rows of scores, where they are too many to be counted one by one.

Letters: B a block of queries, G items, P relevant items of all queries of the block, M items that share a score.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pertinent.functional.jit import kernel
from pertinent.functional.positives import Lists, Positives

Floats = NDArray[np.floating[Any]]
PairScores = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]

SORTED_ROWS = 8
"""Rows that are sorted at a time; they stay in the cache."""

FEW_GROUPS, FEW_MEMBERS = 32, 512
"""Groups of equal scores in a row, and items in them, that are looked at one by one; of more, the row is ordered."""


class Standing(NamedTuple):
    """Where the relevant items of a block stand, in ranked order, as in `RankedBlock`."""

    ids: NDArray[np.int64]
    levels: NDArray[np.int64]
    ranks: NDArray[np.int64]
    above: NDArray[np.int64]
    tied: NDArray[np.int64]

    def part(self, start: int, stop: int) -> Standing:
        """A view of some of them."""
        return Standing(*(values[start:stop] for values in self))


def rank_rows(scores: Floats, positives: Positives, ignored: Lists, pair_scores: PairScores | None = None) -> Standing:
    """Rank the relevant items of every query; of items with equal scores the one with the smaller position comes first.

    Args:
        scores: `(B, G)` float32 or float64, higher is nearer, no NaN; ignored items are set to -inf in it.
        positives: relevant items of each query; its ids and levels are put in ranked order, in place.
        ignored: items of each query that take no rank.
        pair_scores: finer scores of rows and items `(M,)`, for items whose scores are equal by rounding.
    """
    scores[ignored.rows, ignored.ids] = -np.inf
    offsets, ids = positives.lists
    stand = Standing(ids, positives.levels, *(np.empty(len(ids), np.int64) for _ in range(3)))
    shared: list[NDArray[np.int64]] = []
    for first in range(0, len(scores), SORTED_ROWS):
        last = min(first + SORTED_ROWS, len(scores))
        ascending = np.sort(scores[first:last], axis=1)
        for row in range(first, last):
            mine = stand.part(offsets[row], offsets[row + 1])
            own_scores = scores[row, mine.ids]
            order = _descending(own_scores)
            mine.ids[:], mine.levels[:], own_scores = mine.ids[order], mine.levels[order], own_scores[order]
            groups, members = _merge(ascending[row - first], own_scores, mine)
            if groups > FEW_GROUPS or members > FEW_MEMBERS:
                _walk(_descending(scores[row]), mine)
            elif groups > 0:
                shared.append(_sharing(scores[row], own_scores, mine, row, offsets[row]))
    if shared:
        alike = np.concatenate(shared)
        finer = np.zeros(len(alike)) if pair_scores is None else pair_scores(alike[:, 0], alike[:, 1])
        _settle(alike, finer, stand)
    return stand


def _descending(scores: Floats) -> NDArray[np.int64]:
    """Places of a row of scores from the best on, the smaller place first among equals."""
    if scores.dtype != np.float32:
        return np.argsort(-scores, kind="stable")
    # numpy sorts whole numbers many times faster than it finds the order of floats.
    keys = _keys(scores.view(np.int32))
    keys.sort()
    return keys & 0xFFFFFFFF


@kernel
def _keys(bits: NDArray[np.int32]) -> NDArray[np.int64]:
    """Whole numbers that ascend as (score descending, place ascending)."""
    keys = np.empty(len(bits), np.int64)
    for place in range(len(bits)):
        score = np.int64(bits[place])
        # The bits of floats ascend for positive ones and descend for negative ones; -0 must equal 0.
        rising = score if score >= 0 else np.int64(-2147483648) - score
        keys[place] = ((-rising) << 32) | place
    return keys


@kernel
def _merge(ascending: Floats, mine: Floats, stand: Standing) -> tuple[int, int]:
    """Find where sorted scores stand among all; returns how many groups share a score, and the items in them."""
    n_items, better, first, groups, members = len(ascending), 0, 0, 0, 0
    while first < len(mine):
        while ascending[n_items - 1 - better] > mine[first]:
            better += 1
        equal = 1
        while better + equal < n_items and ascending[n_items - 1 - better - equal] == mine[first]:
            equal += 1
        last = first
        while last < len(mine) and mine[last] == mine[first]:
            stand.ranks[last], stand.above[last], stand.tied[last] = better + 1 + last - first, better, equal
            last += 1
        if equal > 1:
            groups, members = groups + 1, members + equal
        first = last
    return groups, members


@kernel
def _walk(order: NDArray[np.int64], stand: Standing) -> None:
    """Take ranks, ids and levels from the order of all items."""
    level_of = np.zeros(len(order), np.int64)
    for place in range(len(stand.ids)):
        level_of[stand.ids[place]] = stand.levels[place]
    end = 0
    for rank in range(len(order)):
        item = order[rank]
        if level_of[item] > 0:
            stand.ids[end], stand.levels[end], stand.ranks[end] = item, level_of[item], rank + 1
            end += 1
            if end == len(stand.ids):
                break


@kernel
def _sharing(scores: Floats, mine: Floats, stand: Standing, row: int, start: int) -> NDArray[np.int64]:
    """Items that share the score of a relevant one, `(M, 4)`.

    Their row, their position, and of their group the place of the first relevant item and the number of those.
    """
    n_members = 0
    for place in range(len(mine)):
        if stand.tied[place] > 1 and (place == 0 or mine[place] != mine[place - 1]):
            n_members += stand.tied[place]
    members = np.empty((n_members, 4), np.int64)
    end = 0
    for place in range(len(mine)):
        if stand.tied[place] == 1 or (place > 0 and mine[place] == mine[place - 1]):
            continue
        score, n_mine = mine[place], 1
        while place + n_mine < len(mine) and mine[place + n_mine] == score:
            n_mine += 1
        for first in range(0, len(scores), 256):
            last = min(first + 256, len(scores))
            equal = np.int32(0)
            for item in range(first, last):
                equal = np.int32(equal + (scores[item] == score))
            if equal > 0:
                for item in range(first, last):
                    if scores[item] == score:
                        members[end, 0], members[end, 1] = row, item
                        members[end, 2], members[end, 3] = start + place, n_mine
                        end += 1
    return members


@kernel
def _settle(members: NDArray[np.int64], finer: NDArray[np.float64], stand: Standing) -> None:
    """Put the relevant items of each group in order by the finer scores, then by position."""
    first = 0
    while first < len(members):
        start, n_mine = members[first, 2], members[first, 3]
        base, size = stand.above[start], stand.tied[start]
        ids, levels = stand.ids[start : start + n_mine].copy(), stand.levels[start : start + n_mine].copy()
        scores = finer[first : first + size]
        order = np.argsort(-scores, kind="mergesort")
        better, equal, placed = 0, 0, start
        for rank in range(size):
            if rank == better + equal:
                better, equal = rank, 1
                while better + equal < size and scores[order[better + equal]] == scores[order[rank]]:
                    equal += 1
            for mine in range(n_mine):
                if ids[mine] == members[first + order[rank], 1]:
                    stand.ids[placed], stand.levels[placed] = ids[mine], levels[mine]
                    stand.ranks[placed], stand.above[placed] = base + rank + 1, base + better
                    stand.tied[placed] = equal
                    placed += 1
                    break
        first += size
