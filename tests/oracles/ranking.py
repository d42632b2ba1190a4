"""Slow and literal: rankings and metrics from their definitions, one query and one item at a time."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter

import numpy as np


def tree_level(mine, theirs):
    return sum(1 for a, b in zip(mine, theirs, strict=True) if a == b and a != -1)


def ranked_items(scores, ignored=()):
    """Items from the nearest on, the smaller index first among equals."""
    kept = [item for item in range(len(scores)) if item not in set(ignored)]
    return sorted(kept, key=lambda item: (-scores[item], item))


def pop_gains(levels, top, alpha, extra_level=None):
    """Worth of each level for one query, from the levels of all ranked items; `extra_level`: the query's own."""
    population = Counter(levels)
    if extra_level is not None:
        population[extra_level] += 1
    return [0.0] + [
        (level / top) ** alpha / population[level] if population[level] else 0.0 for level in range(1, top + 1)
    ]


def map_gains(levels, weights):
    top = len(weights)
    at_least = [sum(1 for level in levels if level >= p) for p in range(top + 1)]
    return [
        sum(weights[p - 1] / at_least[p] if at_least[p] else 0.0 for p in range(1, level + 1))
        for level in range(top + 1)
    ]


def value(name, levels, gains):
    """Metric `name` of one query from the levels of its ranking; NaN where undefined."""
    match = re.fullmatch(r"([a-z_]+)(?:@(\d+|r))?(?:/([a-z]+))?", name)
    word, cut, divisor = match.groups()
    n_relevant = sum(1 for level in levels if level > 0)
    if cut == "r":
        word, cut = f"{word}_r", None
    depth = len(levels) if cut is None else int(cut)
    hashing = {"topn", "acg", "wap"}
    if n_relevant == 0:
        return 0.0 if word in hashing or divisor == "hits" else math.nan
    if word == "ap":
        return average_precision(levels, depth, divisor)
    return {
        "ap_r": lambda: average_precision(levels, n_relevant, "all"),
        "ap_trapezoid": lambda: trapezoid(levels),
        "rp": lambda: hits(levels, n_relevant) / n_relevant,
        "r": lambda: float(hits(levels, depth) > 0),
        "p": lambda: hits(levels, depth) / depth,
        "topn": lambda: hits(levels, depth) / depth,
        "mp": lambda: precision_to_last(levels, depth),
        "mrr": lambda: 1 / (1 + next(i for i, level in enumerate(levels) if level > 0)),
        "hap": lambda: hierarchical(levels, gains, depth),
        "asi": lambda: set_intersection(levels),
        "ndcg": lambda: dcg(levels[:depth]) / dcg(sorted(levels, reverse=True)[:depth]),
        "acg": lambda: sum(levels[:depth]) / depth,
        "wap": lambda: weighted(levels, depth),
    }[word]()


def hits(levels, depth):
    return sum(1 for level in levels[:depth] if level > 0)


def average_precision(levels, depth, divisor):
    total = sum(hits(levels, k) / k for k in range(1, min(depth, len(levels)) + 1) if levels[k - 1] > 0)
    n_relevant = hits(levels, len(levels))
    by = {None: min(depth, n_relevant), "all": n_relevant, "hits": hits(levels, depth)}[divisor]
    return total / by if by else 0.0


def trapezoid(levels):
    """Area under the curve of precision over recall, one trapezoid a rank."""
    n_relevant = hits(levels, len(levels))
    area, old_precision, old_recall = 0.0, 1.0, 0.0
    for k in range(1, len(levels) + 1):
        precision, recall = hits(levels, k) / k, hits(levels, k) / n_relevant
        area += (recall - old_recall) * (precision + old_precision) / 2
        old_precision, old_recall = precision, recall
    return area


def precision_to_last(levels, depth):
    last = max(i + 1 for i, level in enumerate(levels) if level > 0)
    return hits(levels, min(depth, last)) / min(depth, last)


def hierarchical(levels, gains, depth):
    worth = [gains[level] for level in levels]
    total = sum(sum(min(worth[i], worth[k - 1]) for i in range(k)) / k for k in range(1, min(depth, len(levels)) + 1))
    best = sum(sorted(worth, reverse=True)[:depth])
    return total / best if best else math.nan


def set_intersection(levels):
    n_relevant = hits(levels, len(levels))
    ideal = sorted(levels, reverse=True)
    common = [sum((Counter(levels[:k]) & Counter(ideal[:k])).values()) / k for k in range(1, n_relevant + 1)]
    return sum(common) / n_relevant


def dcg(levels):
    return sum((2**level - 1) / math.log2(rank + 1) for rank, level in enumerate(levels, start=1))


def weighted(levels, depth):
    ranks = [k for k in range(1, min(depth, len(levels)) + 1) if levels[k - 1] > 0]
    return sum(sum(levels[:k]) / k for k in ranks) / len(ranks) if ranks else 0.0


def evaluate(scores, levels, name, gains_of):
    """Metric of every query from `(Q, G)` scores and levels (-1 = ignore)."""
    values = []
    for row, row_levels in zip(scores, levels, strict=True):
        order = ranked_items(row.tolist(), np.flatnonzero(row_levels < 0).tolist())
        listed = [int(row_levels[item]) for item in order]
        values.append(value(name, listed, gains_of(len(values), listed)))
    return np.array(values)


def tie_orders(scores, ignored=()):
    """Every ranking that differs from the index order only among items with equal scores."""
    order = ranked_items(scores, ignored)
    groups = [list(group) for _, group in itertools.groupby(order, key=lambda item: scores[item])]
    for parts in itertools.product(*(itertools.permutations(group) for group in groups)):
        yield [item for part in parts for item in part]


def expected(name, scores, levels, gains):
    """Mean of metric `name` of one query over all orders of items with equal scores; `levels` -1 = ignore."""
    ignored = [item for item, level in enumerate(levels) if level < 0]
    return float(
        np.mean([value(name, [levels[item] for item in order], gains) for order in tie_orders(scores, ignored)])
    )


def bounds(name, scores, levels, gains):
    """Least and greatest value of metric `name` over all orders of items with equal scores."""
    ignored = [item for item, level in enumerate(levels) if level < 0]
    values = [value(name, [levels[item] for item in order], gains) for order in tie_orders(scores, ignored)]
    return min(values), max(values)
