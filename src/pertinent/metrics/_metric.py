"""What a metric is: a function of ranked blocks, and what its author takes for granted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pertinent.functional.rank import RankedBlock

Compute = Callable[..., NDArray[np.float64]]
Reads = Literal["all", "relevant", "first"]


@dataclass(frozen=True)
class Metric:
    """A function from a block of B queries to `(B,)` values.

    Attributes:
        compute: takes the block, and the cut where the spelling has one.
        expected: the same as the exact mean over all orders of items with equal scores.
        conventions: for each spelling, with K for a number, one line on what is counted and by what it is divided;
            R stands for the number of relevant items of the query.
        graded: knows levels; other metrics treat all relevant items alike and are reported for each level of a tree.
        nothing_relevant: value of a query without a relevant item; NaN leaves it out of the mean.
        reads: how much of a ranking a spelling without cut reads: all of it, its first R items, or as far as the first
            relevant item. A spelling with a cut K reads the first K items.
        bounded: where less of a ranking is known than is read, the value is a lower bound; otherwise it is undefined.
    """

    compute: Compute
    expected: Compute
    conventions: Mapping[str, str]
    graded: bool = False
    nothing_relevant: float = np.nan
    reads: Reads = "all"
    bounded: bool = True

    def __call__(self, ranked: RankedBlock, cut: int | None = None, expected: bool = False) -> NDArray[np.float64]:
        """Values of the queries of the block, NaN where undefined.

        Args:
            ranked: the block.
            cut: the number after @.
            expected: the mean over all orders of items with equal scores, instead of the order at hand.
        """
        compute = self.expected if expected else self.compute
        values = compute(ranked) if cut is None else compute(ranked, cut)
        values = np.where(ranked.relevant > 0, values, self.nothing_relevant)
        return values if self.bounded else np.where(self.exact(ranked, cut), values, np.nan)

    def exact(self, ranked: RankedBlock, cut: int | None = None) -> NDArray[np.bool_]:
        """`(B,)` where enough ranks are known for the value to be exact."""
        known: NDArray[np.bool_] = ranked.found.lengths == ranked.relevant
        if ranked.depth is None:
            return np.ones(len(ranked), np.bool_)
        if cut is not None:
            return known | np.greater_equal(ranked.depth, cut)
        if self.reads == "first":
            return known | np.greater(ranked.found.lengths, 0)
        return known | np.greater_equal(ranked.depth, ranked.relevant) if self.reads == "relevant" else known

    def convention(self, spelling: str) -> str:
        """What is counted, by what it is divided and what becomes of queries without a relevant item."""
        rest = "are skipped" if np.isnan(self.nothing_relevant) else f"count {self.nothing_relevant:g}"
        return f"{self.conventions[spelling]}; queries with nothing relevant {rest}"


@dataclass(frozen=True)
class ClusterMetric:
    """A function of the classes of N items and of the clusters that k-means finds among their vectors.

    Attributes:
        compute: takes classes `(N,)` and clusters `(N,)`, and returns one value.
        conventions: as in `Metric`.
    """

    compute: Callable[[NDArray[np.int64], NDArray[np.int64]], float]
    conventions: Mapping[str, str]
    graded: bool = False

    def __call__(self, classes: NDArray[np.int64], clusters: NDArray[np.int64]) -> float:
        """Agreement of classes and clusters."""
        return self.compute(classes, clusters)

    def convention(self, spelling: str) -> str:
        """How the agreement is normalised and how the clusters are found."""
        return f"{self.conventions[spelling]}; as many k-means clusters as classes, unlabelled items are left out"


def cluster_metric(
    conventions: Mapping[str, str],
) -> Callable[[Callable[[NDArray[np.int64], NDArray[np.int64]], float]], ClusterMetric]:
    """Make a metric of the function below, which compares classes with clusters."""
    return lambda compute: ClusterMetric(compute, conventions)


def metric(
    conventions: Mapping[str, str],
    *,
    expected: Compute,
    graded: bool = False,
    nothing_relevant: float = np.nan,
    reads: Reads = "all",
    bounded: bool = True,
) -> Callable[[Compute], Metric]:
    """Make a metric of the function below; see `Metric` for the arguments."""
    return lambda compute: Metric(compute, expected, conventions, graded, nothing_relevant, reads, bounded)
