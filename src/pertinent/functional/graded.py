"""Metrics that know better and worse relevance: H-AP, ASI, NDCG, ACG and WAP of a ranked block.

Letters: B a block of queries, L levels, P relevant items of all queries of the block. Undefined values are NaN.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pertinent.functional.jit import kernel
from pertinent.functional.rank import RankedBlock, ratio


def hierarchical_average_precision(ranked: RankedBlock, cut: int | None = None) -> NDArray[np.float64]:
    """H-AP of the first `cut` items, `(B,)`: sum of hrank(k) / k over the sum of the best relevances that fit.

    hrank(k) = sum over i <= k of min(relevance i, relevance k). Ramzi et al., ECCV 2022, equation 4. Items are grouped
    by level, so two levels of equal worth are never counted twice.
    """
    depth = _depth(ranked, cut)
    total = _hierarchical_sum(ranked.offsets, ranked.ranks, ranked.levels, ranked.gains, depth)
    return ratio(total, best_relevance(ranked, cut))


def best_relevance(ranked: RankedBlock, cut: int | None) -> NDArray[np.float64]:
    """Sum of the `cut` best relevances that there are, `(B,)`."""
    best_first = np.argsort(-ranked.gains, axis=1)
    most = np.minimum(np.cumsum(np.take_along_axis(ranked.counts, best_first, 1), axis=1), _depth(ranked, cut))
    best = np.take_along_axis(ranked.gains, best_first, 1) * np.diff(most, axis=1, prepend=0)
    total: NDArray[np.float64] = best.sum(1)
    return total


def _depth(ranked: RankedBlock, cut: int | None) -> int:
    """The cut, or the length of the longest ranking if that is less."""
    n_ranked = int(ranked.counts.sum(1).max(initial=0))
    return n_ranked if cut is None else min(cut, n_ranked)


@kernel
def _hierarchical_sum(
    offsets: NDArray[np.int64],
    ranks: NDArray[np.int64],
    levels: NDArray[np.int64],
    gains: NDArray[np.float64],
    depth: int,
) -> NDArray[np.float64]:
    totals = np.zeros(len(gains))
    seen = np.zeros(gains.shape[1], np.int64)
    for row in range(len(gains)):
        seen[:] = 0
        for place in range(offsets[row], offsets[row + 1]):
            if ranks[place] > depth:
                break
            seen[levels[place]] += 1
            hierarchical_rank = 0.0
            for level in range(1, len(seen)):
                hierarchical_rank += seen[level] * min(gains[row, level], gains[row, levels[place]])
            totals[row] += hierarchical_rank / ranks[place]
    return totals


def average_set_intersection(ranked: RankedBlock) -> NDArray[np.float64]:
    """ASI, `(B,)`: mean over k = 1..R of the share of the first k items that the ideal first k match.

    Items are compared by level, as multisets. Sun et al., Dynamic Metric Learning, CVPR 2021.
    """
    return _intersection(ranked.offsets, ranked.ranks, ranked.levels, ranked.counts, ranked.relevant)


@kernel
def _intersection(
    offsets: NDArray[np.int64],
    ranks: NDArray[np.int64],
    levels: NDArray[np.int64],
    counts: NDArray[np.int64],
    relevant: NDArray[np.int64],
) -> NDArray[np.float64]:
    values = np.full(len(counts), np.nan)
    top = counts.shape[1] - 1
    mine, ideal = np.zeros(top + 1, np.int64), np.zeros(top + 1, np.int64)
    for row in range(len(counts)):
        first, last = offsets[row], offsets[row + 1]
        mine[:], ideal[:] = 0, 0
        best, place, common, total = top, first, 0, 0.0
        for depth in range(1, relevant[row] + 1):
            while ideal[best] == counts[row, best]:
                best -= 1
            ideal[best] += 1
            common += ideal[best] <= mine[best]
            if place < last and ranks[place] == depth:
                mine[levels[place]] += 1
                common += mine[levels[place]] <= ideal[levels[place]]
                place += 1
            total += common / depth
        if relevant[row] > 0:
            values[row] = total / relevant[row]
    return values


def discounted_gain(ranked: RankedBlock, cut: int | None = None) -> NDArray[np.float64]:
    """NDCG of the first `cut` items, `(B,)`: gain 2^level - 1, discount 1 / log2(1 + rank), ideal of the whole gallery.

    Jarvelin and Kekalainen, 2002; gain of Burges et al., 2005.
    """
    gain, discount = exponential_gain(ranked), discounts(_depth(ranked, None))
    total = ranked.sum(gain[ranked.levels] * discount[ranked.ranks - 1] * ranked.within(cut))
    return ratio(total, ideal_gain(ranked, cut))


def exponential_gain(ranked: RankedBlock) -> NDArray[np.float64]:
    """2^level - 1 of each level, `(L+1,)`."""
    return np.exp2(np.arange(ranked.counts.shape[1], dtype=np.float64)) - 1


@lru_cache(maxsize=1)
def discounts(n_ranked: int) -> NDArray[np.float64]:
    """1 / log2(1 + rank) of the ranks 1..n; kept, since all blocks of a gallery need the same."""
    return 1.0 / np.log2(np.arange(2, n_ranked + 2, dtype=np.float64))


def summed_discount(ranked: RankedBlock) -> NDArray[np.float64]:
    """Sum of the discounts of the first 0, 1, 2, ... ranks, down to the end of the longest ranking."""
    return np.concatenate([np.zeros(1), np.cumsum(discounts(_depth(ranked, None)))])


def ideal_gain(ranked: RankedBlock, cut: int | None) -> NDArray[np.float64]:
    """Discounted gain of the best order of the whole gallery, down to `cut`, `(B,)`."""
    ends = np.minimum(np.cumsum(ranked.counts[:, :0:-1], axis=1), _depth(ranked, cut))
    share = np.diff(summed_discount(ranked)[ends], axis=1, prepend=0.0)
    total: NDArray[np.float64] = (share * exponential_gain(ranked)[:0:-1]).sum(1)
    return total


def cumulative_gain(ranked: RankedBlock) -> NDArray[np.float64]:
    """`(P,)` mean level of all items down to each relevant item: the average cumulative gain (ACG) at its rank."""
    summed = np.cumsum(ranked.levels)
    start = np.append(0, summed)[ranked.offsets[:-1]]
    mean: NDArray[np.float64] = (summed - start[ranked.row]) / ranked.ranks
    return mean


def average_cumulative_gain(ranked: RankedBlock, cut: int) -> NDArray[np.float64]:
    """ACG, `(B,)`: sum of the levels of the first `cut` items, divided by `cut`."""
    return ranked.sum(ranked.levels * ranked.within(cut)) / cut


def weighted_average_precision(ranked: RankedBlock, cut: int) -> NDArray[np.float64]:
    """WAP, `(B,)`: mean of ACG at the ranks of the relevant items among the first `cut`; 0 where there is none."""
    inside = ranked.within(cut)
    return np.nan_to_num(ratio(ranked.sum(cumulative_gain(ranked) * inside), ranked.sum(inside)))
