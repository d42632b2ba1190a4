"""Rank a gallery for every query and measure how well: exact, block by block, never the whole score matrix.

Letters: Q queries, G gallery items, D dim, B a block of queries.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pertinent.engine.processed import evaluate_reranked, process
from pertinent.engine.ranker import Progress, Ranker
from pertinent.engine.report import Report
from pertinent.engine.tally import Tally, needed_depth, requests_of
from pertinent.errors import InputError, UnknownNameError
from pertinent.functional.clustering import k_means
from pertinent.functional.positives import UNLABELLED
from pertinent.functional.similarity import cluster_vectors
from pertinent.metrics._metric import ClusterMetric, Metric
from pertinent.metrics._parse import RequestedMetric
from pertinent.pipeline import Pipeline
from pertinent.relevance import Relevance

__all__ = ["Report", "evaluate", "evaluate_all"]

TIE_RULES = ("index", "expected")


def evaluate(
    queries: Any,
    gallery: Any = None,
    *,
    relevance: Relevance,
    metrics: Sequence[str],
    similarity: str = "cosine",
    ties: str | None = None,
    pipeline: Pipeline | None = None,
    block: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Rank the gallery for every query and measure.

    Values are exact: every item is ranked, whatever the metric. A query that the gallery holds is left out of its own
    ranking by its index. On a tree, binary metrics are reported for each level: `ap.0` is the finest.

    Args:
        queries: `(Q, D)` numpy array, memory map or tensor.
        gallery: `(G, D)`; when left out the queries are the gallery. A memory map is read tile by tile.
        relevance: what is relevant to what.
        metrics: names such as "hap", "asi", "ndcg@10", "ap", "ap@1000/hits", "ap@r", "r@1"; `r@1.0` is one level alone.
        similarity: "cosine", "dot", "euclidean" or "hamming" (of the signs of real outputs).
        ties: "index": of items with equal scores the one with the smaller position comes first; "expected": the exact
            mean over all their orders. Default "expected" for hamming, else "index".
        pipeline: fitted stages of post-processing, through which queries and gallery go first; the ranking is that of
            an index with these stages. Needs cosine.
        block: queries at a time; by default as many as keep a block near 64 MiB. Values do not depend on it.
        progress: called with the number of queries done and Q.

    Raises:
        InputError: shapes that do not fit, NaN or infinite vectors, a relevance made for other items, a pipeline that
            is not fitted or meets another similarity.
        UnknownNameError: unknown metric, similarity or tie rule.
    """
    return evaluate_all(
        queries, gallery, relevances={"": relevance}, metrics=metrics, similarity=similarity, ties=ties,
        pipeline=pipeline, block=block, progress=progress,
    )[""]  # fmt: skip


def evaluate_all(
    queries: Any,
    gallery: Any = None,
    *,
    relevances: Mapping[str, Relevance],
    metrics: Sequence[str],
    similarity: str = "cosine",
    ties: str | None = None,
    pipeline: Pipeline | None = None,
    block: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Report]:
    """Measure one ranking under several relevances, such as easy, medium and hard; the gallery is read once.

    Args:
        queries: as for `evaluate`, and so are the other arguments.
        gallery: as for `evaluate`.
        relevances: by name; all of the same queries and items.
        metrics: as for `evaluate`.
        similarity: as for `evaluate`.
        ties: as for `evaluate`.
        pipeline: as for `evaluate`.
        block: as for `evaluate`.
        progress: as for `evaluate`.
    """
    ties = tie_rule(ties, similarity)
    if not relevances:
        raise InputError("at least one relevance is needed")
    if pipeline is not None:
        return _processed(
            pipeline, queries, gallery, relevances=relevances, metrics=metrics, similarity=similarity, ties=ties,
            block=block, progress=progress,
        )  # fmt: skip
    requests = {name: requests_of(metrics, relevance) for name, relevance in relevances.items()}
    ranker = Ranker(queries, gallery, list(relevances.values()), similarity)
    tallies = [
        Tally([one for one in wanted if isinstance(one.metric, Metric)], relevance, ties)
        for wanted, relevance in zip(requests.values(), ranker.relevances, strict=True)
    ]
    depth = needed_depth([request for tally in tallies for request in tally.requests])
    if any(tally.requests for tally in tallies):
        for rows, blocks in ranker.blocks(depth, block, progress):
            for tally, ranked in zip(tallies, blocks, strict=True):
                tally.add(rows, ranked)
    reports = {}
    for (name, wanted), tally in zip(requests.items(), tallies, strict=True):
        clusters = [one for one in wanted if isinstance(one.metric, ClusterMetric)]
        found = {one.name: _cluster_value(one, queries, tally.relevance, similarity) for one in clusters}
        reports[name] = tally.report(wanted, found, ranker.n_items, similarity)
    return reports


def _processed(
    pipeline: Pipeline,
    queries: Any,
    gallery: Any,
    *,
    relevances: Mapping[str, Relevance],
    similarity: str,
    **how: Any,
) -> dict[str, Report]:
    if similarity != "cosine":
        raise InputError(f"what comes out of a pipeline is compared by cosine, not by {similarity!r}")
    ready, items = process(pipeline, queries, gallery, next(iter(relevances.values())))
    if pipeline.rerankers:
        reports = evaluate_reranked(pipeline, ready, items, relevances=relevances, **how)
    else:
        reports = evaluate_all(ready, items, relevances=relevances, **how)
    said = f"cosine after {pipeline.words}" if pipeline.stages else "cosine"
    return {name: replace(report, similarity=said) for name, report in reports.items()}


def tie_rule(name: str | None, similarity: str) -> str:
    """The rule for equal scores; by default "expected" for hamming, else "index".

    Raises:
        UnknownNameError: no such rule.
    """
    default = "expected" if similarity == "hamming" else "index"
    rule = default if name is None else name
    if rule not in TIE_RULES:
        raise UnknownNameError("tie rule", rule, TIE_RULES)
    return rule


def _cluster_value(request: RequestedMetric, queries: Any, relevance: Relevance, similarity: str) -> tuple[float, int]:
    classes = relevance.labels(request.level or 0)[0]
    known = classes != UNLABELLED
    n_classes = len(np.unique(classes[known]))
    if not isinstance(request.metric, ClusterMetric) or n_classes == 0:
        return math.nan, int((~known).sum())
    clusters = k_means(cluster_vectors(queries, similarity)[known], n_classes)
    return request.metric(classes[known], clusters), int((~known).sum())
