"""`Tally`: values of one relevance's metrics, gathered block by block.

Letters: Q queries, G gallery items, B a block of queries.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pertinent.engine.report import EXACT, Report, TieRange
from pertinent.errors import InputError
from pertinent.functional.rank import RankedBlock
from pertinent.metrics._metric import ClusterMetric, Metric
from pertinent.metrics._parse import RequestedMetric, parse_metrics, per_level
from pertinent.relevance import Relevance


class Tally:
    """Gathers the values of one relevance's metrics, block by block."""

    def __init__(self, requests: Sequence[RequestedMetric], relevance: Relevance, ties: str) -> None:
        self.requests, self.relevance, self.ties = list(requests), relevance, ties
        n_queries = relevance.n_queries
        self.values = {one.name: np.full(n_queries, np.nan) for one in self.requests}
        self.spread = {one.name: np.full((3, n_queries), np.nan) for one in self.requests}
        self.exact = {one.name: np.ones(n_queries, np.bool_) for one in self.requests}
        self.tied = np.zeros(n_queries, np.bool_)
        self._totals: dict[int, NDArray[np.int64]] = {}

    def add(self, rows: slice, ranked: RankedBlock) -> None:
        """Measure a block."""
        views: dict[int | None, RankedBlock] = {}
        for request in self.requests:
            if request.level not in views:
                views[request.level] = self._view(rows, ranked, request.level)
            view, metric = views[request.level], request.metric
            if not isinstance(metric, Metric):
                continue
            values = metric(view, request.cut)
            worst = expected = best = values
            if view.has_ties.any():
                self.tied[rows] |= view.has_ties
                worst = metric(view.irrelevant_first, request.cut)
                best = metric(view.relevant_first, request.cut)
                expected = metric(view, request.cut, expected=True)
            self.values[request.name][rows] = expected if self.ties == "expected" else values
            self.spread[request.name][:, rows] = worst, expected, best
            self.exact[request.name][rows] = metric.exact(view, request.cut)

    def report(
        self,
        requests: Sequence[RequestedMetric],
        clusters: Mapping[str, tuple[float, int]],
        n_items: int,
        similarity: str,
        limited: bool = False,
    ) -> Report:
        """Means and counts of all that was added.

        Args:
            requests: all metrics that were asked for, in order.
            clusters: value and number of skipped items of those that compare clusters.
            n_items: G.
            similarity: to say by what items were ranked.
            limited: whether to say how far each metric is exact.
        """
        skipped = {name: int(np.isnan(values).sum()) for name, values in self.values.items()}
        means = {name: _mean(values) for name, values in self.values.items()}
        means |= {name: value for name, (value, _) in clusters.items()}
        skipped |= {name: count for name, (_, count) in clusters.items()}
        names = [request.name for request in requests]
        spread = {name: TieRange(*map(_mean, values)) for name, values in self.spread.items()}
        return Report(
            mean={name: means[name] for name in names},
            per_query=self.values,
            skipped={name: skipped[name] for name in names},
            convention={request.name: request.convention for request in requests},
            n_queries=self.relevance.n_queries,
            n_items=n_items,
            similarity=similarity,
            ties=self.ties,
            relevance=self.relevance.describe(),
            tied_queries=int(self.tied.sum()),
            tie_range=spread if self.tied.any() else {},
            limits={one.name: _limit(one, self.exact[one.name]) for one in self.requests} if limited else {},
        )

    def _view(self, rows: slice, ranked: RankedBlock, level: int | None) -> RankedBlock:
        """The whole block, or its binary ranking in one label column."""
        if level is None:
            return ranked
        if ranked.depth is not None and level not in self._totals:
            self._totals[level] = self.relevance.totals(level)
        keep = self.relevance.same_label(rows, ranked.found, level)
        return ranked.select(keep, None if ranked.depth is None else self._totals[level][rows])


def requests_of(names: Sequence[str], relevance: Relevance) -> list[RequestedMetric]:
    """Read metric names, and ask binary ones for every level of a tree.

    Raises:
        InputError: no list of names, or a level that the relevance does not have.
        UnknownNameError: unknown metric.
    """
    if isinstance(names, str) or not names:
        raise InputError(f"metrics must be a list of names such as ['hap', 'r@1'], got {names!r}")
    requests = parse_metrics(names)
    if relevance.kind == "tree":
        requests = per_level(requests, relevance.levels)
    for request in requests:
        if request.level is not None and (relevance.kind != "tree" or request.level >= relevance.levels):
            held = f"levels 0 to {relevance.levels - 1}" if relevance.kind == "tree" else "no label columns"
            raise InputError(f"metric {request.name!r}: relevance of kind {relevance.kind} has {held}")
        if isinstance(request.metric, ClusterMetric) and relevance.kind not in ("classes", "tree"):
            raise InputError(f"metric {request.name!r} needs classes or a tree, the relevance is {relevance.kind}")
    return requests


def needed_depth(requests: Sequence[RequestedMetric]) -> int | None:
    """How many ranks the metrics read; None for all."""
    cuts = [request.cut for request in requests if request.cut is not None]
    return max(cuts) if cuts and len(cuts) == len(requests) else None


def _limit(request: RequestedMetric, exact: NDArray[np.bool_]) -> str:
    if exact.all():
        return EXACT
    what = "a lower bound" if isinstance(request.metric, Metric) and request.metric.bounded else "undefined"
    return f"{what} for {int((~exact).sum())} of {len(exact)} queries, whose lists end too early"


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan
