"""Expected values of the metrics over all orders of items with equal scores: exact, without trying any order.

A group of g items with equal scores, of which t are relevant, starts after n items of which r were relevant. Its i-th
item is relevant with probability t / g, and then (i - 1)(t - 1)/(g - 1) of those before it in the group are relevant on
average. What depends on a cut inside a group follows the hypergeometric distribution. Groups are ordered independently.
McSherry and Najork, Computing information retrieval performance measures efficiently in the presence of tied scores,
ECIR 2008. Where all scores differ the values are those of the plain metrics.

Letters: B a block of queries, L levels, R relevant items of a query. Undefined values are NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.functional.graded import best_relevance, exponential_gain, ideal_gain, summed_discount
from pertinent.functional.jit import kernel
from pertinent.functional.rank import Cut, Groups, RankedBlock, ratio

Floats = NDArray[np.float64]


def depths(ranked: RankedBlock, cut: Cut) -> NDArray[np.int64]:
    """`(B,)` how far down each query's ranking counts."""
    ranked_items = ranked.counts.sum(1)
    whole: NDArray[np.int64] = ranked_items if cut is None else np.minimum(ranked_items, cut)
    return whole


def precision_sum(ranked: RankedBlock, cut: Cut = None) -> Floats:
    """Expected sum over the relevant items down to `cut` of the precision at their rank, `(B,)`."""
    return _precision_sum(ranked.groups, depths(ranked, cut))


def hits(ranked: RankedBlock, cut: Cut) -> Floats:
    """Expected number of relevant items among the first `cut`, `(B,)`."""
    return _gain_within(ranked.groups, depths(ranked, cut), _binary(ranked))


def average_precision(ranked: RankedBlock, cut: Cut = None) -> Floats:
    """Expected precision sum over min(R, cut), `(B,)`."""
    most = ranked.relevant if cut is None else np.minimum(ranked.relevant, cut)
    return ratio(precision_sum(ranked, cut), most)


def average_precision_at_r(ranked: RankedBlock) -> Floats:
    """Expected precision sum of the first R items over R, `(B,)`."""
    return average_precision(ranked, ranked.relevant)


def average_precision_of_all(ranked: RankedBlock, cut: int) -> Floats:
    """Expected precision sum of the first `cut` items over R, `(B,)`."""
    return ratio(precision_sum(ranked, cut), ranked.relevant)


def average_precision_of_hits(ranked: RankedBlock, cut: int) -> Floats:
    """Expected precision sum of the first `cut` over the relevant items among them, `(B,)`; 0 where there is none."""
    return _mean_over_hits(ranked.groups, depths(ranked, cut), _binary(ranked))


def trapezoid_average_precision(ranked: RankedBlock) -> Floats:
    """Expected area under the precision-recall curve by the trapezoid rule, `(B,)`."""
    before = _precision_before(ranked.groups, depths(ranked, None))
    return ratio((before + precision_sum(ranked)) / 2, ranked.relevant)


def precision(ranked: RankedBlock, cut: int) -> Floats:
    """Expected share of relevant items among the first `cut`, `(B,)`."""
    return hits(ranked, cut) / cut


def r_precision(ranked: RankedBlock) -> Floats:
    """Expected share of relevant items among the first R, `(B,)`."""
    return ratio(hits(ranked, ranked.relevant), ranked.relevant)


def found_within(ranked: RankedBlock, cut: int) -> Floats:
    """Probability that the first `cut` hold a relevant item, `(B,)`."""
    return _over_first(ranked.groups, depths(ranked, cut), False)


def reciprocal_rank(ranked: RankedBlock) -> Floats:
    """Expected 1 / rank of the first relevant item, `(B,)`."""
    return _over_first(ranked.groups, depths(ranked, None), True)


def precision_to_last(ranked: RankedBlock, cut: int) -> Floats:
    """Expected precision of the first min(cut, rank of the last relevant item), `(B,)`."""
    return _precision_to_last(ranked.groups, ranked.relevant, depths(ranked, None), cut)


def hierarchical_average_precision(ranked: RankedBlock, cut: int | None = None) -> Floats:
    """Expected H-AP of the first `cut` items, `(B,)`."""
    total = _hierarchical_sum(ranked.groups, depths(ranked, cut), ranked.gains)
    return ratio(total, best_relevance(ranked, cut))


def average_set_intersection(ranked: RankedBlock) -> Floats:
    """Expected ASI, `(B,)`."""
    return _intersection(ranked.groups, ranked.counts, ranked.relevant)


def discounted_gain(ranked: RankedBlock, cut: int | None = None) -> Floats:
    """Expected NDCG of the first `cut` items, `(B,)`."""
    gain, summed = exponential_gain(ranked), summed_discount(ranked)
    total = _discounted_sum(ranked.groups, depths(ranked, cut), gain, summed)
    return ratio(total, ideal_gain(ranked, cut))


def average_cumulative_gain(ranked: RankedBlock, cut: int) -> Floats:
    """Expected ACG, `(B,)`: sum of the levels of the first `cut` items, divided by `cut`."""
    return _gain_within(ranked.groups, depths(ranked, cut), _levels(ranked)) / cut


def weighted_average_precision(ranked: RankedBlock, cut: int) -> Floats:
    """Expected mean of ACG at the ranks of the relevant items among the first `cut`, `(B,)`; 0 where there is none."""
    return _mean_over_hits(ranked.groups, depths(ranked, cut), _levels(ranked))


def _binary(ranked: RankedBlock) -> Floats:
    return np.minimum(_levels(ranked), 1.0)


def _levels(ranked: RankedBlock) -> Floats:
    return np.arange(ranked.counts.shape[1], dtype=np.float64)


@kernel
def _sloped_sum(above: int, stop: int, start: float, slope: float) -> float:
    """Sum over the places i = 1..stop of a group of (start + slope (i - 1)) / rank."""
    total = 0.0
    for i in range(1, stop + 1):
        total += (start + slope * (i - 1)) / (above + i)
    return total


@kernel
def _precision_sum(groups: Groups, depth: NDArray[np.int64]) -> Floats:
    totals = np.zeros(len(depth))
    for row in range(len(depth)):
        seen = 0
        for group in range(groups.offsets[row], groups.offsets[row + 1]):
            above, size = groups.above[group], groups.size[group]
            relevant = size - groups.members[group, 0]
            stop = min(size, depth[row] - above)
            slope = (relevant - 1) / (size - 1) if size > 1 else 0.0
            totals[row] += relevant / size * _sloped_sum(above, stop, seen + 1.0, slope)
            seen += relevant
    return totals


@kernel
def _precision_before(groups: Groups, depth: NDArray[np.int64]) -> Floats:
    """Expected sum over the relevant items of the precision just before them, which is 1 before the first rank."""
    totals = np.zeros(len(depth))
    for row in range(len(depth)):
        seen = 0
        for group in range(groups.offsets[row], groups.offsets[row + 1]):
            above, size = groups.above[group], groups.size[group]
            relevant = size - groups.members[group, 0]
            slope = (relevant - 1) / (size - 1) if size > 1 else 0.0
            if above == 0:
                # The first rank aside, place i follows rank i - 1 and has slope (i - 1) relevant ones before it.
                totals[row] += relevant / size * (1.0 + slope * (size - 1))
            else:
                totals[row] += relevant / size * _sloped_sum(above - 1, size, float(seen), slope)
            seen += relevant
    return totals


@kernel
def _gain_within(groups: Groups, depth: NDArray[np.int64], gain: Floats) -> Floats:
    totals = np.zeros(len(depth))
    for row in range(len(depth)):
        for group in range(groups.offsets[row], groups.offsets[row + 1]):
            size = groups.size[group]
            share = max(0, min(size, depth[row] - groups.above[group])) / size
            for level in range(1, len(gain)):
                totals[row] += share * groups.members[group, level] * gain[level]
    return totals


@kernel
def _discounted_sum(groups: Groups, depth: NDArray[np.int64], gain: Floats, summed: Floats) -> Floats:
    totals = np.zeros(len(depth))
    for row in range(len(depth)):
        for group in range(groups.offsets[row], groups.offsets[row + 1]):
            above, size = groups.above[group], groups.size[group]
            stop = max(above, min(above + size, depth[row]))
            mean = 0.0
            for level in range(1, len(gain)):
                mean += groups.members[group, level] * gain[level] / size
            totals[row] += mean * (summed[stop] - summed[above])
    return totals


@kernel
def _hypergeometric(size: int, relevant: int, drawn: int) -> tuple[int, Any]:
    """Fewest relevant items among `drawn` of `size`, and the probabilities of that number and of each one above it."""
    low, high = max(0, drawn - (size - relevant)), min(relevant, drawn)
    odds = np.empty(high - low + 1)
    mode = min(high, max(low, (drawn + 1) * (relevant + 1) // (size + 2)))
    # From the most likely number outwards, so that nothing but the negligible underflows.
    odds[mode - low] = 1.0
    for h in range(mode, high):
        more = (relevant - h) * (drawn - h) / ((h + 1) * (size - relevant - drawn + h + 1))
        odds[h + 1 - low] = odds[h - low] * more
    for h in range(mode, low, -1):
        fewer = h * (size - relevant - drawn + h) / ((relevant - h + 1) * (drawn - h + 1))
        odds[h - 1 - low] = odds[h - low] * fewer
    return low, odds / odds.sum()


@kernel
def _mean_over_hits(groups: Groups, depth: NDArray[np.int64], gain: Floats) -> Floats:
    """Expected mean, over the relevant items in the depth, of the mean gain of all items down to each of them."""
    values = np.zeros(len(depth))
    for row in range(len(depth)):
        seen, gained, total = 0, 0.0, 0.0
        value = 0.0
        for group in range(groups.offsets[row], groups.offsets[row + 1]):
            above, size = groups.above[group], groups.size[group]
            if above >= depth[row]:
                break
            relevant = size - groups.members[group, 0]
            here = 0.0
            for level in range(1, len(gain)):
                here += groups.members[group, level] * gain[level]
            mean = here / relevant
            stop = min(size, depth[row] - above)
            if stop == size:
                slope = mean * (relevant - 1) / (size - 1) if size > 1 else 0.0
                total += relevant / size * _sloped_sum(above, size, gained + mean, slope)
                seen, gained = seen + relevant, gained + here
                value = total / seen
                continue
            # The depth cuts this group: h of its relevant items fall inside, on any of the `stop` places.
            low, chance = _hypergeometric(size, relevant, stop)
            flat = _sloped_sum(above, stop, 1.0, 0.0)
            rising = _sloped_sum(above, stop, 0.0, 1.0)
            value = 0.0
            for number in range(len(chance)):
                h = low + number
                if seen + h > 0:
                    slope = mean * (h - 1) / (stop - 1) if stop > 1 else 0.0
                    inside = h / stop * ((gained + mean) * flat + slope * rising)
                    value += chance[number] * (total + inside) / (seen + h)
            break
        values[row] = value
    return values


@kernel
def _over_first(groups: Groups, depth: NDArray[np.int64], reciprocal: bool) -> Floats:
    """Expectation, over the rank of the first relevant item, of 1 / rank or of 1, where the rank is in the depth."""
    values = np.zeros(len(depth))
    for row in range(len(depth)):
        if groups.offsets[row] == groups.offsets[row + 1]:
            continue
        group = groups.offsets[row]
        above, size = groups.above[group], groups.size[group]
        relevant = size - groups.members[group, 0]
        chance = relevant / size
        for place in range(1, size - relevant + 2):
            if above + place > depth[row]:
                break
            values[row] += chance / (above + place) if reciprocal else chance
            if place < size:
                chance *= (size - place - relevant + 1) / (size - place)
    return values


@kernel
def _precision_to_last(groups: Groups, total: NDArray[np.int64], n_ranked: NDArray[np.int64], cut: int) -> Floats:
    values = np.full(len(total), np.nan)
    for row in range(len(total)):
        first, end = groups.offsets[row], groups.offsets[row + 1]
        if total[row] == 0:
            continue
        depth = min(cut, n_ranked[row])
        seen, found, expected = 0, 0, 0.0
        for group in range(first, end):
            relevant = groups.size[group] - groups.members[group, 0]
            found += relevant
            if group + 1 < end:
                seen += relevant
            expected += relevant * max(0, min(groups.size[group], depth - groups.above[group])) / groups.size[group]
        if found < total[row] or groups.above[end - 1] >= depth:
            values[row] = expected / cut if found < total[row] else expected / depth
            continue
        # The last relevant item is in the last group; it stands at place i with probability `chance`.
        above, size = groups.above[end - 1], groups.size[end - 1]
        relevant = size - groups.members[end - 1, 0]
        inside, value, chance = min(size, depth - above), 0.0, relevant / size
        all_inside = 0.0
        for place in range(size, relevant - 1, -1):
            if place <= inside:
                value += chance * total[row] / (above + place)
                all_inside += chance
            chance *= (place - relevant) / (place - 1) if place > 1 else 0.0
        # Otherwise the depth is reached first, with some of the last group's relevant items still to come.
        missed = seen * (1 - all_inside) + relevant * inside / size - relevant * all_inside
        values[row] = value + missed / depth
    return values


@kernel
def _hierarchical_sum(groups: Groups, depth: NDArray[np.int64], gains: Floats) -> Floats:
    totals = np.zeros(len(depth))
    n_levels = gains.shape[1]
    seen = np.zeros(n_levels, np.int64)
    for row in range(len(depth)):
        seen[:] = 0
        for group in range(groups.offsets[row], groups.offsets[row + 1]):
            above, size = groups.above[group], groups.size[group]
            start, slope = 0.0, 0.0
            for level in range(1, n_levels):
                share = groups.members[group, level] / size
                if share == 0.0:
                    continue
                start += share * gains[row, level]
                for other in range(1, n_levels):
                    common = share * min(gains[row, other], gains[row, level])
                    start += common * seen[other]
                    if size > 1:
                        slope += common * (groups.members[group, other] - (other == level)) / (size - 1)
            totals[row] += _sloped_sum(above, min(size, depth[row] - above), start, slope)
            for level in range(1, n_levels):
                seen[level] += groups.members[group, level]
    return totals


@kernel
def _intersection(groups: Groups, counts: NDArray[np.int64], total: NDArray[np.int64]) -> Floats:
    values = np.full(len(total), np.nan)
    n_levels = counts.shape[1]
    seen = np.zeros(n_levels, np.int64)
    for row in range(len(total)):
        if total[row] == 0:
            continue
        seen[:] = 0
        group, end, summed = groups.offsets[row], groups.offsets[row + 1], 0.0
        for depth in range(1, total[row] + 1):
            while group < end and groups.above[group] + groups.size[group] < depth:
                for level in range(1, n_levels):
                    seen[level] += groups.members[group, level]
                group += 1
            drawn = max(0, depth - groups.above[group]) if group < end else 0
            size = groups.size[group] if drawn > 0 else 1
            better, common = 0, 0.0
            for level in range(n_levels - 1, 0, -1):
                ideal = max(0, min(counts[row, level], depth - better))
                better += counts[row, level]
                tied = groups.members[group, level] if drawn > 0 else 0
                common += _expected_minimum(seen[level], size, tied, drawn, ideal)
            summed += common / depth
        values[row] = summed / total[row]
    return values


@kernel
def _expected_minimum(seen: int, size: int, relevant: int, drawn: int, most: int) -> float:
    """Expectation of min(seen + h, most), h being the relevant items among `drawn` of the group."""
    if relevant == 0 or drawn == 0:
        return float(min(seen, most))
    if seen + min(relevant, drawn) <= most:
        return seen + drawn * relevant / size
    low, chance = _hypergeometric(size, relevant, drawn)
    total = 0.0
    for number in range(len(chance)):
        total += chance[number] * min(seen + low + number, most)
    return total
