"""Measure what a `Pipeline` makes of vectors: the same ranking that an index with this pipeline serves.

Letters: Q queries, G gallery items, B a block of queries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.engine.evaluate import Report, evaluate_all
from pertinent.engine.ranker import rank_block
from pertinent.engine.tally import Tally, requests_of
from pertinent.errors import InputError
from pertinent.functional.neighbours import Found, blocks, nearest, wide
from pertinent.functional.similarity import Scorer, as_vectors, check_dimensions
from pertinent.metrics._metric import ClusterMetric, Metric
from pertinent.pipeline import Pipeline, Search, Vectors, vector_room
from pertinent.relevance import Relevance

ROWS = 1024
SCORE_BYTES = 64 * 2**20


def evaluate_processed(
    queries: Any,
    gallery: Any = None,
    *,
    pipeline: Pipeline,
    relevances: Mapping[str, Relevance],
    metrics: Sequence[str],
) -> dict[str, Report]:
    """Put queries and gallery through a fitted pipeline, rank by cosine and re-rank, and measure.

    Every item is ranked: those that re-ranking does not reach follow by cosine. A query that the gallery holds neither
    expands itself nor is a candidate of its own re-ranking. Equal scores go by position.

    Args:
        queries: `(Q, D)` array, memory map or tensor.
        gallery: `(G, D)`; when left out the queries are the gallery.
        pipeline: fitted.
        relevances: by name; all of the same queries and items.
        metrics: names, as for `evaluate`.

    Raises:
        InputError: shapes that do not fit, vectors that are not finite, or a pipeline that is not fitted.
        UnknownNameError: unknown metric.
    """
    if not relevances:
        raise InputError("at least one relevance is needed")
    asked = as_vectors(queries, "queries")
    held = asked if gallery is None else as_vectors(gallery, "gallery")
    check_dimensions(asked, held)
    for name, vectors in {"queries": asked, "gallery": held}.items():
        _check_finite(name, vectors)
    relevances = {name: relevance.for_gallery(len(held)) for name, relevance in relevances.items()}
    own = next(iter(relevances.values())).query_positions
    if len(own) != len(asked):
        raise InputError(f"the relevance was made for {len(own)} queries, there are {len(asked)}")
    items = pipeline.items(held)
    ready = _queries(pipeline, asked, items, own)
    if pipeline.rerankers:
        reports = _reranked(pipeline, ready, items, relevances, metrics)
    else:
        reports = evaluate_all(ready, items, relevances=relevances, metrics=metrics, ties="index")
    similarity = f"cosine after {pipeline.words}" if pipeline.stages else "cosine"
    return {name: replace(report, similarity=similarity) for name, report in reports.items()}


def _check_finite(name: str, vectors: NDArray[Any]) -> None:
    for rows in blocks(len(vectors), ROWS):
        bad = ~np.isfinite(wide(vectors[rows])).all(axis=1)
        if bad.any():
            raise InputError(f"{name} row {rows.start + int(bad.argmax())} holds NaN or infinity")


def _queries(pipeline: Pipeline, vectors: NDArray[Any], items: Vectors, own: NDArray[np.int64]) -> Vectors:
    ready = vector_room((len(vectors), items.shape[1]))
    for rows in blocks(len(vectors), ROWS):
        ready[rows] = pipeline.queries(vectors[rows], items, _search(items, own[rows]))
    return ready


def _search(items: Vectors, own: NDArray[np.int64]) -> Search:
    def search(queries: Vectors, k: int) -> Found:
        return nearest(queries, items, k, own)

    return search


def _reranked(
    pipeline: Pipeline, queries: Vectors, items: Vectors, relevances: Mapping[str, Relevance], metrics: Sequence[str]
) -> dict[str, Report]:
    requests = {name: requests_of(metrics, relevance) for name, relevance in relevances.items()}
    for one in (one for wanted in requests.values() for one in wanted):
        if isinstance(one.metric, ClusterMetric):
            raise InputError(f"metric {one.name!r} compares vectors, which re-ranking leaves; measure it without")
    tallies = {
        name: Tally([one for one in requests[name] if isinstance(one.metric, Metric)], relevance, "index")
        for name, relevance in relevances.items()
    }
    own = next(iter(relevances.values())).query_positions
    scorer = Scorer(queries, items, "cosine")
    for rows in blocks(len(queries), max(1, min(ROWS, SCORE_BYTES // (4 * len(items))))):
        scores = scorer.rows(rows.start, rows.stop)
        _, positions = pipeline.rank(queries[rows], items, _search(items, own[rows]), pipeline.depth)
        # Above every cosine, in the order of the list.
        scores[np.arange(len(scores))[:, None], positions] = 2.0 + np.arange(positions.shape[1])[::-1]
        for tally in tallies.values():
            tally.add(rows, rank_block(scores, tally.relevance, rows))
    return {name: tally.report(requests[name], {}, len(items), "cosine") for name, tally in tallies.items()}
