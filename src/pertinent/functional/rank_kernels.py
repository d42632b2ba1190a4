"""Compiled loops behind `rank_sums`: items in order, counts, sums of steps and their gradient.

Letters: Q queries, B items, P positives of all queries, L levels.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from pertinent.functional.smooth_step import Pieces

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
Function = TypeVar("Function")

REACH = {torch.float32: 24.0, torch.float64: 37.0}
"""Temperatures from where on a sigmoid is taken for 0 or 1: there it is so to 4e-11 and 1e-16."""

SPAN = 300.0
"""Temperatures between a score and the reference of the stored exponentials: exp(SPAN + REACH) is a finite double."""


class Order(NamedTuple):
    """The items of each query by level, within a level by ascending score; ignored ones last."""

    values: Floats  # (Q, B) scores
    items: NDArray[np.int32]  # (Q, B) positions
    starts: NDArray[np.int32]  # (Q, L+2) where each level begins; the last is where the ignored ones do


class Listed(NamedTuple):
    """The positives, by query."""

    rows: Whole  # (P,)
    columns: Whole  # (P,)
    scores: Floats  # (P,)


class Step(NamedTuple):
    """Pieces in the form that compiled code takes."""

    bounds: Floats
    constants: Floats
    slopes: Floats
    sigmoids: Floats
    tau: float
    reach: float

    @classmethod
    def of(cls, pieces: Pieces, dtype: torch.dtype) -> Step:
        """Pieces for scores of this type."""
        arrays = (pieces.bounds, pieces.constants, pieces.slopes, pieces.sigmoids)
        bounds, constants, slopes, sigmoids = (np.array(values, np.float64) for values in arrays)
        return cls(bounds, constants, slopes, sigmoids, pieces.tau, REACH[dtype] * pieces.tau)


def _vector_kernel(function: Function) -> Function:
    """Compile with sums in any order, without which a sum is not turned into vector instructions."""
    return cast(Function, numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})(function))


@_vector_kernel
def arrange(
    scores: NDArray[np.floating[Any]], order: Whole, levels: NDArray[np.integer[Any]], top: int
) -> tuple[Floats, NDArray[np.int32], NDArray[np.int32]]:
    """Fields of `Order` from `(Q, B)` scores, their ascending order and their levels."""
    values = np.empty(scores.shape, np.float64)
    items = np.empty(scores.shape, np.int32)
    starts = np.zeros((scores.shape[0], top + 2), np.int32)
    place = np.empty(top + 2, np.int64)
    for row in range(scores.shape[0]):
        for item in range(scores.shape[1]):
            level = levels[row, item]
            if level >= 0:
                starts[row, level + 1] += 1
        for level in range(1, top + 2):
            starts[row, level] += starts[row, level - 1]
        place[:] = starts[row]
        for rank in range(scores.shape[1]):
            item = order[row, rank]
            level = levels[row, item] if levels[row, item] >= 0 else top + 1
            values[row, place[level]] = scores[row, item]
            items[row, place[level]] = item
            place[level] += 1
    return values, items, starts


@_vector_kernel
def _first_above(values: Floats, start: int, stop: int, score: float, bound: float) -> int:
    """First of the ascending values in start..stop that is above `score` by more than the bound."""
    while start < stop:
        middle = (start + stop) // 2
        if values[middle] - score > bound:
            stop = middle
        else:
            start = middle + 1
    return start


@_vector_kernel
def count(order: Order, positives: Listed) -> Whole:
    """How many items of each level score at least as high as each positive, itself included, `(P, L+1)`."""
    counts = np.zeros((len(positives.rows), order.starts.shape[1] - 1), np.int64)
    for j in range(len(counts)):
        values, starts = order.values[positives.rows[j]], order.starts[positives.rows[j]]
        for level in range(counts.shape[1]):
            below = np.searchsorted(values[starts[level] : starts[level + 1]], positives.scores[j])
            counts[j, level] = starts[level + 1] - starts[level] - below
    return counts


@_vector_kernel
def _exponentials(values: Floats, reference: float, tau: float, out: Floats) -> None:
    """exp((s - reference) / tau): the sigmoid of two items' gap is then one division."""
    for k in range(len(values)):
        out[k] = np.exp((values[k] - reference) / tau)


@_vector_kernel
def step_sums(order: Order, positives: Listed, wanted: NDArray[np.bool_], step: Step) -> Floats:
    """Sum of the steps over the items of each wanted level, `(P, L+1)`."""
    result = np.zeros(wanted.shape)
    running, powers = np.zeros(order.values.shape[1] + 1), np.empty(order.values.shape[1])
    row, reference = -1, 0.0
    for j in range(len(wanted)):
        query, score = positives.rows[j], positives.scores[j]
        values = order.values[query]
        if query != row:
            for k in range(len(values)):
                running[k + 1] = running[k] + values[k]
        if query != row or abs(score - reference) > SPAN * step.tau:
            row, reference = query, score
            _exponentials(values, reference, step.tau, powers)
        own_power = np.exp((score - reference) / step.tau)
        for level in range(wanted.shape[1]):
            if not wanted[j, level]:
                continue
            first, end, total = order.starts[row, level], order.starts[row, level + 1], 0.0
            for piece in range(len(step.bounds)):
                last = _first_above(values, first, end, score, step.bounds[piece])
                total += step.constants[piece] * (last - first)
                total += step.slopes[piece] * (running[last] - running[first] - (last - first) * score)
                if step.sigmoids[piece]:
                    near = _first_above(values, first, last, score, -step.reach)
                    far = _first_above(values, near, last, score, step.reach)
                    for k in range(near, far):
                        total += powers[k] / (powers[k] + own_power)
                    total += last - far
                first = last
            result[j, level] = total
    return result


@_vector_kernel
def step_gradient(order: Order, positives: Listed, weights: Floats, step: Step) -> Floats:
    """Gradient in the scores `(Q, B)` of the step sums, each weighted by `(P, L+1)` weights."""
    gradient = np.zeros(order.values.shape)
    count = order.values.shape[1]
    slopes, jumps, powers = np.zeros(count), np.zeros(count + 1), np.empty(count)
    row, reference = -1, 0.0
    for j in range(len(weights)):
        query, score = positives.rows[j], positives.scores[j]
        values = order.values[query]
        if query != row or abs(score - reference) > SPAN * step.tau:
            if row >= 0 and query != row:
                _put_back(order.items[row, : order.starts[row, -1]], slopes, jumps, gradient[row])
            row, reference = query, score
            _exponentials(values, reference, step.tau, powers)
        own_power, own_slope = np.exp((score - reference) / step.tau), 0.0
        for level in range(weights.shape[1]):
            weight = weights[j, level]
            if weight == 0:
                continue
            first, end = order.starts[row, level], order.starts[row, level + 1]
            for piece in range(len(step.bounds)):
                last = _first_above(values, first, end, score, step.bounds[piece])
                straight = weight * step.slopes[piece]
                jumps[first] += straight
                jumps[last] -= straight
                own_slope += straight * (last - first)
                if step.sigmoids[piece]:
                    near = _first_above(values, first, last, score, -step.reach)
                    far = _first_above(values, near, last, score, step.reach)
                    steep = weight / step.tau
                    for k in range(near, far):
                        share = powers[k] / (powers[k] + own_power)
                        slope = steep * (share - share * share)
                        slopes[k] += slope
                        own_slope += slope
                first = last
        gradient[row, positives.columns[j]] -= own_slope
    if row >= 0:
        _put_back(order.items[row, : order.starts[row, -1]], slopes, jumps, gradient[row])
    return gradient


@_vector_kernel
def _put_back(items: NDArray[np.int32], slopes: Floats, jumps: Floats, gradient: Floats) -> None:
    """Add a query's collected slopes to its gradient in the items' own order, and clear them."""
    straight = 0.0
    for k in range(len(items)):
        straight += jumps[k]
        gradient[items[k]] += slopes[k] + straight
        slopes[k], jumps[k] = 0.0, 0.0
    jumps[len(items)] = 0.0
