"""Average precision on a soft histogram of the scores, with a gradient (AP-GeM's listwise loss).

Scores fall into M bins by centre c_m = max - m (max - min) / (M - 1), the best first. A score shares itself linearly
between the two nearest centres; beyond the outer ones it falls into these whole. With c_m the shares of all items, p_m
those of the relevant ones, C_m and P_m their sums over the bins up to m:

AP = sum_m (P_m / C_m) p_m / R

References: He, Cakir, Bargal, Sclaroff, "Hashing as Tie-Aware Learning to Rank", and He, Lu, Sclaroff, "Local
Descriptors Optimized for Average Precision", both CVPR 2018; Revaud, Almazan, Rezende, de Souza, "Learning with Average
Precision: Training Image Retrieval with a Listwise Loss", ICCV 2019.

Letters: Q queries, B items, M bins, R relevant items of a query.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor

from pertinent.errors import InputError
from pertinent.functional.rowwise import by_rows
from pertinent.functional.smooth_rank import check_levels

Ties = Literal["ordered", "expected", "mean"]
EPSILON = 1e-8


class _Rule(Protocol):
    """Sum over the relevant items of the precision at them, `(Q,)`, from histograms of all and of relevant items."""

    def __call__(self, c: Tensor, p: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Bins:
    """Where scores fall.

    Attributes:
        count: M, at least 2.
        low: centre of the last bin.
        high: centre of the first bin.

    Raises:
        InputError: fewer than two bins, or low not below high.
    """

    count: int = 25
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if self.count < 2 or not self.low < self.high:
            raise InputError(f"needs two bins or more and min below max, got {self.count}, {self.low} and {self.high}")

    def place(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The better of the two bins that a score touches, int64, and its share in the other one, same shape."""
        place = ((self.high - scores) * ((self.count - 1) / (self.high - self.low))).clamp(0, self.count - 1)
        first = place.detach().floor().clamp(max=self.count - 2)
        return first.long(), place - first

    def histogram(self, place: tuple[Tensor, Tensor], counted: Tensor) -> Tensor:
        """Sum of the shares of the counted scores in each bin, `(Q, M)`; `counted` is `(Q, B)` of 0 and 1."""
        first, share = place
        far = share * counted
        empty = far.new_zeros(len(far), self.count)
        return empty.scatter_add(1, first, counted - far).scatter_add(1, first + 1, far)


def binned_ap(
    scores: Tensor, levels: Tensor, bins: Bins | None = None, ties: Ties = "ordered", *, distance: bool = False
) -> Tensor:
    """Average precision of each query on a soft histogram, differentiable in the scores.

    Only the two bins that a score touches are visited, so time and memory are O(Q B), whatever M is.

    Args:
        scores: `(Q, B)` floats, larger is nearer; narrower ones are widened to float32.
        levels: `(Q, B)` integers: above 0 relevant, 0 unrelated, -1 ignore. A query's own item is an item like any.
        bins: 25 over 0..1 by default.
        ties: `ordered` takes the precision at the end of each bin; `expected` the mean over all orders inside a bin;
            `mean` the mean of the precisions before and after it.
        distance: first map scores to 1 - sqrt(2.001 - 2 s), which is linear in the distance of unit vectors.

    Returns:
        `(Q,)` in float32 or wider, 1 without gradient for queries that have nothing relevant.

    Raises:
        InputError: shapes do not match.
    """
    check_levels(scores, levels)
    rule = {"ordered": _ordered, "expected": _expected, "mean": _mean_around}[ties]
    return by_rows(partial(_of_rows, bins=bins or Bins(), rule=rule, distance=distance), scores, levels)


def _of_rows(scores: Tensor, levels: Tensor, bins: Bins, rule: _Rule, distance: bool) -> Tensor:
    if distance:
        # Below zero there is no square root: such scores are nearer than a unit vector is to itself.
        scores = 1 - (2.001 - 2 * scores).clamp(min=1e-6).sqrt()
    place = bins.place(scores)
    relevant = (levels > 0).to(scores.dtype)
    everything = bins.histogram(place, (levels >= 0).to(scores.dtype))
    found = bins.histogram(place, relevant)
    count = relevant.sum(1)
    return torch.where(count > 0, rule(everything, found) / count.clamp(min=1), 1)


def _ordered(c: Tensor, p: Tensor) -> Tensor:
    return (p * p.cumsum(1) / (c.cumsum(1) + 1e-16)).sum(1)


def _mean_around(c: Tensor, p: Tensor) -> Tensor:
    C, P = c.cumsum(1), p.cumsum(1)
    return (p * (P - p + P + 1) / (C - c + C + 1)).sum(1)


def _expected(c: Tensor, p: Tensor) -> Tensor:
    """Equation 8 of He, Cakir, Bargal, Sclaroff with the sum over ranks inside a bin as a logarithm."""
    C, P = c.cumsum(1), p.cumsum(1)
    before, found = C - c, P - p
    rate = (p - 1).clamp(min=0) / ((c - 1).clamp(min=0) + EPSILON)
    inside = c * rate + (found + 1 - rate * (before + 1)) * torch.log((C + 1) / (before + 1))
    return (p * inside / (c + EPSILON)).sum(1)
