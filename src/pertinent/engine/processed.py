"""What a `Pipeline` makes of queries and a gallery, for evaluation: the same that an index with this pipeline serves.

Letters: Q queries, G gallery items, K dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.engine.ranker import Progress, rank_block
from pertinent.engine.report import Report
from pertinent.engine.tally import Tally, requests_of
from pertinent.errors import InputError
from pertinent.functional.neighbours import Found, blocks, nearest, wide
from pertinent.functional.similarity import Scorer, as_vectors, check_dimensions
from pertinent.metrics._metric import ClusterMetric
from pertinent.pipeline import Pipeline, Search, Vectors, vector_room
from pertinent.relevance import Relevance

ROWS = 1024
SCORE_BYTES = 64 * 2**20


def process(pipeline: Pipeline, queries: Any, gallery: Any, relevance: Relevance) -> tuple[Vectors, Vectors]:
    """Put queries and gallery through a fitted pipeline; a query that the gallery holds does not expand itself.

    Args:
        pipeline: fitted.
        queries: `(Q, D)` array, memory map or tensor.
        gallery: `(G, D)`; None means the queries.
        relevance: says where each query stands in the gallery.

    Returns:
        queries `(Q, K)` and items `(G, K)`, float32 of length 1.

    Raises:
        InputError: shapes that do not fit, vectors that are not finite, or a pipeline that is not fitted.
    """
    asked = as_vectors(queries, "queries")
    held = asked if gallery is None else as_vectors(gallery, "gallery")
    check_dimensions(asked, held)
    for name, vectors in {"queries": asked, "gallery": held}.items():
        _check_finite(name, vectors)
    own = relevance.for_gallery(len(held)).query_positions
    if len(own) != len(asked):
        raise InputError(f"the relevance was made for {len(own)} queries, there are {len(asked)}")
    items = pipeline.items(held)
    ready = vector_room((len(asked), items.shape[1]))
    for rows in blocks(len(asked), ROWS):
        ready[rows] = pipeline.queries(asked[rows], items, _search(items, own[rows]))
    return ready, items


def evaluate_reranked(
    pipeline: Pipeline,
    queries: Vectors,
    items: Vectors,
    *,
    relevances: Mapping[str, Relevance],
    metrics: Sequence[str],
    ties: str = "index",
    block: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Report]:
    """Measure a ranking by cosine whose first items a pipeline orders anew; every item is ranked.

    A query that the gallery holds is no candidate of its own re-ranking. Junk is, as in a search, and goes after.

    Args:
        pipeline: with a re-ranking.
        queries: `(Q, K)` and
        items: `(G, K)`, as `process` made them.
        relevances: by name; all of the same queries and items.
        metrics: names, as for `evaluate`.
        ties: rule for equal scores beyond the first items, as for `evaluate`.
        block: queries at a time.
        progress: called with the number of queries done and Q.

    Raises:
        InputError: a metric that compares vectors.
        UnknownNameError: unknown metric.
    """
    if block is not None and block < 1:
        raise InputError(f"block must be at least 1 query, got {block}")
    requests = {name: requests_of(metrics, relevance) for name, relevance in relevances.items()}
    for one in (one for wanted in requests.values() for one in wanted):
        if isinstance(one.metric, ClusterMetric):
            raise InputError(f"metric {one.name!r} compares vectors, which re-ranking leaves; measure it without")
    tallies = {
        name: Tally(requests[name], relevance.for_gallery(len(items)), ties) for name, relevance in relevances.items()
    }
    own = next(iter(relevances.values())).query_positions
    scorer = Scorer(queries, items, "cosine")
    for rows in blocks(len(queries), block or max(1, min(ROWS, SCORE_BYTES // (4 * len(items))))):
        scores = scorer.rows(rows.start, rows.stop)
        _, positions = pipeline.rank(queries[rows], items, _search(items, own[rows]), pipeline.depth)
        # Above every cosine, in the order of the list.
        scores[np.arange(len(scores))[:, None], positions] = 2.0 + np.arange(positions.shape[1])[::-1]
        for tally in tallies.values():
            tally.add(rows, rank_block(scores, tally.relevance, rows))
        if progress is not None:
            progress(rows.stop, len(queries))
    return {name: tally.report(requests[name], {}, len(items), "cosine") for name, tally in tallies.items()}


def _check_finite(name: str, vectors: NDArray[Any]) -> None:
    for rows in blocks(len(vectors), ROWS):
        bad = ~np.isfinite(wide(vectors[rows])).all(axis=1)
        if bad.any():
            raise InputError(f"{name} row {rows.start + int(bad.argmax())} holds NaN or infinity")


def _search(items: Vectors, own: NDArray[np.int64]) -> Search:
    def search(queries: Vectors, k: int) -> Found:
        return nearest(queries, items, k, own)

    return search
