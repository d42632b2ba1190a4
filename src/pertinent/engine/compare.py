"""How sure a mean is, whether one run beats another, and where: intervals, paired tests and breakdowns.

All of it works on the per-query values of reports. Letters: Q queries, N resamples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pertinent.engine.report import Report
from pertinent.errors import InputError
from pertinent.functional.labels import Labels, as_integers, as_tags

DRAWN_AT_A_TIME = 2**22
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean over queries and where it would lie were other queries drawn like these.

    Attributes:
        mean: over the queries that have a value.
        low: lower end.
        high: upper end.
        queries: number of queries with a value.
    """

    mean: float
    low: float
    high: float
    queries: int


@dataclass(frozen=True)
class Difference:
    """Two runs on the same queries, by one metric.

    Attributes:
        metric: its name.
        first: mean of the first run over the queries for which both have a value.
        second: the same of the second.
        gain: second less first, with its interval.
        p: probability of a gain at least as large, either way, were the runs alike (paired randomisation test).
        better: queries for which the second run is better.
        worse: queries for which it is worse.
        queries: queries for which both have a value.
    """

    metric: str
    first: float
    second: float
    gain: Interval
    p: float
    better: int
    worse: int
    queries: int


@dataclass(frozen=True)
class Share:
    """Metrics of some of the queries.

    Attributes:
        name: what they have in common.
        queries: how many they are.
        mean: mean of each metric over those of them that have a value.
    """

    name: str
    queries: int
    mean: Mapping[str, float]


def confidence(report: Report, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> dict[str, Interval]:
    """Percentile bootstrap intervals of each metric's mean over queries. Efron, 1979.

    Args:
        report: with per-query values.
        level: share of resamples inside the interval.
        resamples: N.
        seed: of the resampling; the same seed gives the same interval.

    Raises:
        InputError: a report without per-query values, a level that is no share, too few resamples.
    """
    if not 0 < level < 1 or resamples < 20:
        raise InputError(f"level must lie between 0 and 1 and resamples be at least 20, got {level} and {resamples}")
    return {name: _interval(values, level, resamples, seed) for name, values in _per_query(report).items()}


def compare(
    first: Report,
    second: Report,
    metrics: Sequence[str] = (),
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> list[Difference]:
    """Compare two runs query by query.

    The p value is of the two-sided paired randomisation test: under the null hypothesis each query's difference might
    as well have the other sign. Smucker, Allan and Carterette, CIKM 2007.

    Args:
        first: the run to beat.
        second: the run in question, measured on the same queries.
        metrics: which; none means all that both have.
        level: of the intervals.
        resamples: N, for the test and the intervals.
        seed: of the resampling.

    Raises:
        InputError: reports of other queries, or without a metric that was asked for.
    """
    ours, theirs = _per_query(first), _per_query(second)
    if first.n_queries != second.n_queries or first.relevance != second.relevance:
        raise InputError("the reports are of different queries or relevance; measure both runs on the same test set")
    names = list(metrics) or [name for name in ours if name in theirs]
    missing = [name for name in names if name not in ours or name not in theirs]
    if missing or not names:
        raise InputError(f"not both reports have {', '.join(missing) or 'a metric in common'}")
    return [_difference(name, ours[name], theirs[name], (level, resamples, seed)) for name in names]


def by_label(report: Report, labels: Labels, names: Sequence[str] = ()) -> list[Share]:
    """Metrics of the queries of each label, largest group first.

    Args:
        report: with per-query values.
        labels: `(Q,)` integers; -1 is left out.
        names: name of each label; by default its number.

    Raises:
        InputError: labels that do not fit.
    """
    groups = as_integers(labels, "labels")
    if groups.shape != (report.n_queries,):
        raise InputError(f"labels must be ({report.n_queries},), one a query, got shape {groups.shape}")
    values, counts = np.unique(groups[groups >= 0], return_counts=True)
    if names and len(values) and values[-1] >= len(names):
        raise InputError(f"label {values[-1]} has no name among {len(names)}")
    order = np.argsort(-counts, kind="stable")
    return [_share(report, names[label] if names else str(label), groups == label) for label in values[order].tolist()]


def by_tag_count(report: Report, tags: Labels) -> list[Share]:
    """Metrics of the queries with one tag, with two, and so on.

    Args:
        report: with per-query values.
        tags: `(Q, C)` bool or 0/1, of the queries.

    Raises:
        InputError: tags that do not fit.
    """
    count = as_tags(tags, "tags").sum(1)
    if len(count) != report.n_queries:
        raise InputError(f"tags must be of the {report.n_queries} queries, got {len(count)}")
    return [
        _share(report, f"{number} tag" + "s" * (number != 1), count == number) for number in np.unique(count).tolist()
    ]


def _per_query(report: Report) -> Mapping[str, Floats]:
    if not report.per_query:
        raise InputError("the report has no per-query values; write it with per_query=True or measure again")
    return report.per_query


def _share(report: Report, name: str, chosen: NDArray[np.bool_]) -> Share:
    return Share(name, int(chosen.sum()), {metric: _mean(v[chosen]) for metric, v in _per_query(report).items()})


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _interval(values: Floats, level: float, resamples: int, seed: int) -> Interval:
    known = values[~np.isnan(values)]
    if not len(known):
        return Interval(math.nan, math.nan, math.nan, 0)
    rng = np.random.default_rng(seed)
    step = max(1, DRAWN_AT_A_TIME // len(known))
    means = [
        known[rng.integers(0, len(known), (min(step, resamples - start), len(known)))].mean(1)
        for start in range(0, resamples, step)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(known.mean()), float(low), float(high), len(known))


def _difference(name: str, first: Floats, second: Floats, drawing: tuple[float, int, int]) -> Difference:
    level, resamples, seed = drawing
    both = ~(np.isnan(first) | np.isnan(second))
    change = second[both] - first[both]
    return Difference(
        name,
        _mean(first[both]),
        _mean(second[both]),
        _interval(change, level, resamples, seed),
        _randomisation_p(change, resamples, seed),
        int((change > 0).sum()),
        int((change < 0).sum()),
        int(both.sum()),
    )


def _randomisation_p(change: Floats, resamples: int, seed: int) -> float:
    """Share of random signs under which the sum is as far from 0; the observed signs count as one of the draws."""
    moved = change[change != 0]
    if not len(moved):
        return 1.0
    rng = np.random.default_rng(seed)
    # A sum that equals the observed one but for rounding counts as equal.
    seen, step = abs(moved.sum()) * (1 - 1e-12), max(1, DRAWN_AT_A_TIME // len(moved))
    as_far = 0
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        signs = np.unpackbits(rng.integers(0, 256, (rows, -(-len(moved) // 8)), np.uint8), axis=1, count=len(moved))
        sums = moved.sum() - 2 * (signs @ moved)
        as_far += int((np.abs(sums) >= seen).sum())
    return (1 + as_far) / (1 + resamples)
