"""`Ranking`: what any index or database answered, and how well it answered.

A list that ends early does not tell the rank of every relevant item; what that means is said for each metric.

Letters: Q queries, G gallery items, k places of a list, B a block of queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.engine.report import Report
from pertinent.engine.tally import Tally, requests_of
from pertinent.errors import InputError
from pertinent.functional.jit import kernel
from pertinent.functional.labels import as_integers
from pertinent.functional.positives import Lists, Positives
from pertinent.functional.rank import RankedBlock
from pertinent.metrics._metric import ClusterMetric
from pertinent.relevance import Relevance

BLOCK_PLACES = 2**22
NOTHING = -1


@dataclass(frozen=True)
class Ranking:
    """Ranked lists of gallery items, one a query; they may end early.

    Attributes:
        positions: `(Q, k)` int64 positions in the gallery, best first; -1 fills up a short list at its end.
        n_items: G.
        scores: `(Q, k)` in the order of the lists, rising or falling; None where they are not known.

    Raises:
        InputError: a position out of range or listed twice, or scores that say another order.
    """

    positions: NDArray[np.int64]
    n_items: int
    scores: NDArray[np.floating[Any]] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        positions = as_integers(self.positions, "positions")
        object.__setattr__(self, "positions", positions)
        if positions.ndim != 2:
            raise InputError(f"positions must be (Q, k), got shape {positions.shape}")
        if positions.size and not -1 <= positions.min() <= positions.max() < self.n_items:
            raise InputError(f"positions must lie in 0..{self.n_items - 1}, or be -1 at the end of a short list")
        late = (positions[:, 1:] >= 0) & (positions[:, :-1] < 0)
        if late.any():
            raise InputError(f"query {int(late.any(1).argmax())}: -1 may stand only at the end of a list")
        ordered = np.sort(positions, axis=1)
        twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
        if twice.any():
            row = int(twice.any(1).argmax())
            raise InputError(f"query {row} lists item {int(ordered[row, 1:][twice[row]][0])} twice")
        if self.scores is not None:
            _check_scores(np.asarray(self.scores), positions)

    @classmethod
    def of_ids(
        cls, ids: Sequence[Sequence[str]], gallery_ids: Sequence[str], scores: NDArray[np.floating[Any]] | None = None
    ) -> Ranking:
        """Lists of names, as an index answers.

        Args:
            ids: for each query the names of the items found, best first; lists may differ in length.
            gallery_ids: names of the G items, in the order that the relevance was made for.
            scores: as in `Ranking`.

        Raises:
            InputError: a name that the gallery does not hold.
        """
        place = {name: position for position, name in enumerate(gallery_ids)}
        longest = max((len(names) for names in ids), default=0)
        positions = np.full((len(ids), longest), NOTHING)
        for query, names in enumerate(ids):
            for rank, name in enumerate(names):
                if name not in place:
                    raise InputError(f"query {query} lists {name!r}, which is not in the gallery")
                positions[query, rank] = place[name]
        return cls(positions, len(gallery_ids), scores)

    def __len__(self) -> int:
        return len(self.positions)


def evaluate_ranking(ranking: Ranking, *, relevance: Relevance, metrics: Sequence[str]) -> Report:
    """Measure lists as they are: items with equal scores in the order given, items that are not listed last.

    `Report.limits` says for each metric whether its value is exact, a lower bound, or undefined (NaN) where lists end
    too early. Metrics at K are exact with lists of K; others need all relevant items, `ap@r`, `rp` and `asi` the first
    R. A query in its own list and junk are dropped, which shortens a list: ask the index for a few more.

    Args:
        ranking: the lists.
        relevance: what is relevant to what.
        metrics: names as for `evaluate`; none that compares clusters.

    Raises:
        InputError: a relevance made for other queries or items, or a metric that needs the vectors.
        UnknownNameError: unknown metric.
    """
    if relevance.n_queries != len(ranking):
        raise InputError(f"the relevance was made for {relevance.n_queries} queries, the ranking has {len(ranking)}")
    relevance = relevance.for_gallery(ranking.n_items)
    requests = requests_of(metrics, relevance)
    for request in requests:
        if isinstance(request.metric, ClusterMetric):
            raise InputError(f"metric {request.name!r} needs the vectors, a ranking has none; use evaluate")
    tally = Tally(requests, relevance, "as listed")
    step = max(1, BLOCK_PLACES // max(1, ranking.positions.shape[1]))
    for start in range(0, len(ranking), step):
        rows = slice(start, min(start + step, len(ranking)))
        tally.add(rows, _ranked(ranking.positions[rows], relevance, rows))
    return tally.report(requests, {}, ranking.n_items, "as listed", limited=True)


def _ranked(positions: NDArray[np.int64], relevance: Relevance, rows: slice) -> RankedBlock:
    positives, ignored = relevance.positives(rows), relevance.ignored(rows)
    counts = relevance.counts(rows, positives)
    most = len(positives.levels)
    offsets, depth = np.zeros(len(positions) + 1, np.int64), np.zeros(len(positions), np.int64)
    found = Positives(Lists(offsets, np.empty(most, np.int64)), np.empty(most, np.int64))
    ranks = np.empty(most, np.int64)
    _find(positions, positives, ignored, (found, ranks, depth), np.zeros(relevance.n_items, np.int64))
    end = int(offsets[-1])
    return RankedBlock(
        Lists(offsets, found.lists.ids[:end]),
        ranks[:end],
        found.levels[:end],
        counts,
        relevance.gains(rows, counts),
        depth=depth,
    )


@kernel
def _find(
    positions: NDArray[np.int64],
    positives: Positives,
    ignored: Lists,
    out: tuple[Positives, NDArray[np.int64], NDArray[np.int64]],
    level_of: NDArray[np.int64],
) -> None:
    """Fill `out`: relevant items in the lists, their ranks, and how many ranks are known; `level_of` is G zeros."""
    found, ranks, depth = out
    end = 0
    for row in range(len(positions)):
        mine = range(positives.lists.offsets[row], positives.lists.offsets[row + 1])
        for place in mine:
            level_of[positives.lists.ids[place]] = positives.levels[place]
        for place in range(ignored.offsets[row], ignored.offsets[row + 1]):
            level_of[ignored.ids[place]] = -1
        rank = 0
        for item in positions[row]:
            if item < 0:
                break
            if level_of[item] < 0:
                continue
            rank += 1
            if level_of[item] > 0:
                found.lists.ids[end], found.levels[end], ranks[end] = item, level_of[item], rank
                end += 1
        for place in mine:
            level_of[positives.lists.ids[place]] = 0
        for place in range(ignored.offsets[row], ignored.offsets[row + 1]):
            level_of[ignored.ids[place]] = 0
        found.lists.offsets[row + 1], depth[row] = end, rank


def _check_scores(scores: NDArray[Any], positions: NDArray[np.int64]) -> None:
    if scores.shape != positions.shape:
        raise InputError(f"scores have shape {scores.shape}, positions {positions.shape}; give one score a place")
    step = np.diff(scores, axis=1)
    step[positions[:, 1:] < 0] = 0
    if not ((step <= 0).all() or (step >= 0).all()):
        raise InputError("scores neither fall nor rise along the lists, so the lists are in no order")
