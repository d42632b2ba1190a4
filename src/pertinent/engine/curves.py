"""Curves: precision and recall by rank and by Hamming radius, and metrics over a range of cuts.

Letters: Q queries, G gallery items, K bits, M points of a curve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.engine.evaluate import evaluate, tie_rule
from pertinent.engine.ranker import Ranker
from pertinent.errors import InputError
from pertinent.functional.hamming import Codes, count_by_distance
from pertinent.functional.jit import kernel
from pertinent.functional.rank import Groups, RankedBlock
from pertinent.relevance import Relevance

BLOCK = 64


@dataclass(frozen=True)
class Curve:
    """Mean precision and recall of Q queries at M points.

    Attributes:
        by: what a point is: "rank" or "radius".
        at: `(M,)` the points: ranks from 1, or radii from 0.
        precision: `(M,)` mean share of relevant items among those found.
        recall: `(M,)` mean share of the relevant items that is found, over queries with a relevant item.
        empty: `(M,)` number of queries that find nothing there; their precision counts 0.
        n_queries: number of queries in the mean precision.
    """

    by: str
    at: NDArray[np.int64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    empty: NDArray[np.int64]
    n_queries: int

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}


def precision_recall(
    queries: Any,
    gallery: Any = None,
    *,
    relevance: Relevance,
    similarity: str = "cosine",
    ties: str | None = None,
) -> Curve:
    """Mean precision and recall at every rank, over queries with a relevant item; relevant is any level above 0.

    Args:
        queries: as for `evaluate`, and so are the other arguments; for one level of a tree pass `relevance.at(level)`.
        gallery: as for `evaluate`.
        relevance: as for `evaluate`.
        similarity: as for `evaluate`.
        ties: as for `evaluate`.
    """
    rule = tie_rule(ties, similarity)
    ranker = Ranker(queries, gallery, [relevance], similarity)
    hits, recalled = np.zeros(ranker.n_items + 1), np.zeros(ranker.n_items + 1)
    n_queries, longest = 0, 1
    for _, (ranked,) in ranker.blocks():
        n_queries += int((ranked.relevant > 0).sum())
        longest = max(longest, int(ranked.counts.sum(1).max(initial=1)))
        _add(_in_order(ranked) if rule == "index" else ranked.groups, ranked.relevant, hits, recalled)
    at = np.arange(1, longest + 1)
    found, share = (np.cumsum(np.cumsum(steps))[:longest] / max(n_queries, 1) for steps in (hits, recalled))
    return Curve("rank", at, found / at, share, np.zeros(longest, np.int64), n_queries)


def precision_recall_by_radius(queries: Any, gallery: Any = None, *, relevance: Relevance) -> Curve:
    """Mean precision and recall within every Hamming radius 0..K; equal distances need no order here.

    Args:
        queries: `(Q, K)` real outputs, whose signs count, or bool.
        gallery: `(G, K)`; when left out the queries are the gallery.
        relevance: what is relevant to what.
    """
    ranker = Ranker(queries, gallery, [relevance], "hamming")
    relevance = ranker.relevances[0]
    mine = Codes.of(queries, "queries")
    theirs = mine if gallery is None else Codes.of(gallery, "gallery")
    n_radii = mine.bits + 1
    precision, recall, empty = np.zeros(n_radii), np.zeros(n_radii), np.zeros(n_radii, np.int64)
    n_relevant = 0
    for start in range(0, ranker.n_queries, BLOCK):
        rows = slice(start, min(start + BLOCK, ranker.n_queries))
        sides = (mine.cut(rows.start, rows.stop), theirs)
        counts = count_by_distance(sides, relevance.positives(rows), relevance.ignored(rows))
        # Distances are in half bits; a radius is whole.
        every, found = (np.cumsum(part, axis=1)[:, ::2] for part in counts)
        precision += (found / np.maximum(every, 1)).sum(0)
        empty += (every == 0).sum(0)
        known = found[:, -1] > 0
        recall += (found[known] / found[known, -1:]).sum(0)
        n_relevant += int(known.sum())
    at = np.arange(n_radii)
    return Curve("radius", at, precision / ranker.n_queries, recall / max(n_relevant, 1), empty, ranker.n_queries)


def metric_curve(
    metric: str,
    cuts: Sequence[int],
    queries: Any,
    gallery: Any = None,
    *,
    relevance: Relevance,
    similarity: str = "cosine",
    ties: str | None = None,
) -> Mapping[int, float]:
    """Mean of a metric at several cuts: top-N precision ("topn@K"), recall at K ("r@K") and the like.

    Args:
        metric: a name with K for the number, such as "topn@K", "r@K", "ndcg@K" or "r@K.0" for one level of a tree.
        cuts: the numbers.
        queries: as for `evaluate`, and so are the other arguments.
        gallery: as for `evaluate`.
        relevance: as for `evaluate`.
        similarity: as for `evaluate`.
        ties: as for `evaluate`.

    Raises:
        InputError: a name without @K, or one that stands for several levels of a tree.
    """
    if "@K" not in metric:
        raise InputError(f"a curve needs a metric with @K, such as 'r@K', got {metric!r}")
    names = {cut: metric.replace("@K", f"@{cut}") for cut in cuts}
    report = evaluate(
        queries, gallery, relevance=relevance, metrics=list(names.values()), similarity=similarity, ties=ties
    )
    if any(name not in report.mean for name in names.values()):
        raise InputError(f"{metric!r} has one value a level of the tree; name a level, such as {metric + '.0'!r}")
    return {cut: report.mean[name] for cut, name in names.items()}


def _in_order(ranked: RankedBlock) -> Groups:
    """Each relevant item as a group of its own, at its rank."""
    ones = np.ones(len(ranked.ranks), np.int64)
    return Groups(ranked.offsets, ranked.ranks - 1, ones, np.stack([0 * ones, ones], axis=1))


@kernel
def _add(groups: Groups, relevant: NDArray[np.int64], hits: NDArray[np.float64], recalled: NDArray[np.float64]) -> None:
    """Add what each rank finds on average, as steps up where a group begins and down where it ends."""
    for row in range(len(relevant)):
        for group in range(groups.offsets[row], groups.offsets[row + 1]):
            above, size = groups.above[group], groups.size[group]
            share = (size - groups.members[group, 0]) / size
            hits[above] += share
            hits[above + size] -= share
            recalled[above] += share / relevant[row]
            recalled[above + size] -= share / relevant[row]
