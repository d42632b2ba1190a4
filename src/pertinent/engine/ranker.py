"""`Ranker`: exact ranks of the relevant items of every query, block by block, never the whole score matrix.

Three ways lead to the ranks and the cheapest is taken. Few relevant items a query: count what lies above each, tile by
tile of the gallery. Many: sort whole rows of scores. Hamming distance: histograms of packed codes.

Letters: Q queries, G gallery items, B a block of queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError, UnknownNameError
from pertinent.functional.counting import Targets, Tile, count_tile, leave_out, transpose
from pertinent.functional.hamming import Codes, rank_codes, rank_tagged_codes
from pertinent.functional.positives import Lists, Positives
from pertinent.functional.rank import RankedBlock
from pertinent.functional.similarity import SIMILARITIES, Floats, Prepared, Scorer, tile_rows
from pertinent.functional.sorting import PairScores, Standing, rank_rows
from pertinent.relevance import Relevance

COUNTED = 96
"""Up to this many relevant items a query, counting is cheaper than sorting."""

BLOCK_BYTES = 64 * 2**20
TARGETS_AT_A_TIME = 2**21
QUERY_BYTES = 256 * 2**20
TILE_BYTES = 8 * 2**20
SQUARE = 768
BYTES_PER_POSITIVE = 128

Progress = Callable[[int, int], None]
Blocks = Iterator[tuple[slice, list[RankedBlock]]]


class Ranker:
    """Ranks a gallery for queries under one or several relevances at once.

    Args:
        queries: `(Q, D)` array, memory map or tensor.
        gallery: `(G, D)`; None means the queries.
        relevances: what is relevant to what; each is fitted to the gallery.
        similarity: "cosine", "dot", "euclidean" or "hamming".

    Raises:
        UnknownNameError: unknown similarity.
        InputError: vectors or a relevance that do not fit.
    """

    def __init__(self, queries: Any, gallery: Any, relevances: Sequence[Relevance], similarity: str = "cosine") -> None:
        if similarity not in (*SIMILARITIES, "hamming"):
            raise UnknownNameError("similarity", similarity, (*SIMILARITIES, "hamming"))
        self.similarity = similarity
        self._way: _ByCodes | _ByScores
        if similarity == "hamming":
            mine = Codes.of(queries, "queries")
            theirs = mine if gallery is None else Codes.of(gallery, "gallery")
            self._way = _ByCodes(mine, theirs)
        else:
            self._way = _ByScores(Scorer(queries, gallery, similarity))
        self.n_queries, self.n_items = self._way.shape
        self.relevances = [self._fit(relevance, gallery is None) for relevance in relevances]

    def blocks(self, depth: int | None = None, block: int | None = None, progress: Progress | None = None) -> Blocks:
        """Ranked blocks of consecutive queries, one for each relevance.

        Args:
            depth: ranks beyond this are not needed; they may be left out.
            block: queries at a time; by default as many as keep a block near 64 MiB. Ranks do not depend on it.
            progress: called with the number of queries done and Q.
        """
        if block is not None and block < 1:
            raise InputError(f"block must be at least 1 query, got {block}")
        return self._way.blocks(self.relevances, depth, block, progress or _say_nothing)

    def _fit(self, relevance: Relevance, own_gallery: bool) -> Relevance:
        if relevance.n_queries != self.n_queries:
            raise InputError(f"the relevance was made for {relevance.n_queries} queries, there are {self.n_queries}")
        if own_gallery and not np.array_equal(relevance.query_positions, np.arange(self.n_queries)):
            raise InputError("the relevance was made for queries against another gallery; pass that gallery")
        return relevance.for_gallery(self.n_items)


def rank_block(scores: Floats, relevance: Relevance, rows: slice, pair_scores: PairScores | None = None) -> RankedBlock:
    """Ranks of the relevant items of the queries `rows`, from their scores with all items.

    Args:
        scores: `(B, G)`, higher is nearer.
        relevance: what is relevant to what.
        rows: which queries of the relevance the scores are of.
        pair_scores: finer scores of rows and items, for items whose scores are equal by rounding.
    """
    positives, ignored = relevance.positives(rows), relevance.ignored(rows)
    counts = relevance.counts(rows, positives)
    kept = scores[ignored.rows, ignored.ids]
    stand = rank_rows(scores, positives, ignored, pair_scores)
    scores[ignored.rows, ignored.ids] = kept
    return _ranked(relevance, rows, counts, Lists(positives.lists.offsets, stand.ids), stand)


def _ranked(relevance: Relevance, rows: slice, counts: NDArray[np.int64], found: Lists, stand: Standing) -> RankedBlock:
    gains = relevance.gains(rows, counts)
    above, tied = (None, None) if bool((stand.tied == 1).all()) else (stand.above, stand.tied)
    return RankedBlock(found, stand.ranks, stand.levels, counts, gains, above, tied)


@dataclass(frozen=True)
class _ByCodes:
    queries: Codes
    items: Codes

    def __post_init__(self) -> None:
        if self.queries.bits != self.items.bits:
            raise InputError(
                f"queries have {self.queries.bits} bits and the gallery {self.items.bits}; "
                "embed both with the same encoder"
            )

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.queries.positive), len(self.items.positive)

    def blocks(
        self, relevances: Sequence[Relevance], depth: int | None, block: int | None, progress: Progress
    ) -> Blocks:
        n_queries, _ = self.shape
        most = max(relevance.most_positives() for relevance in relevances)
        step = block or int(max(1, min(1024, BLOCK_BYTES // (most * BYTES_PER_POSITIVE + 1))))
        for start in range(0, n_queries, step):
            rows = slice(start, min(start + step, n_queries))
            yield rows, [self._rank(relevance, rows, depth) for relevance in relevances]
            progress(rows.stop, n_queries)

    def _rank(self, relevance: Relevance, rows: slice, depth: int | None) -> RankedBlock:
        queries, ignored = self.queries.cut(rows.start, rows.stop), relevance.ignored(rows)
        tagged = relevance.tag_words(rows)
        if tagged is not None:
            words, most = tagged
            offsets, stand, relevant = rank_tagged_codes(queries, self.items, words, ignored, most=most, depth=depth)
            counts = np.stack([len(self.items.positive) - ignored.lengths - relevant, relevant], 1)
        else:
            positives = relevance.positives(rows)
            counts = relevance.counts(rows, positives)
            offsets, stand = rank_codes(queries, self.items, positives, ignored, depth)
        ranked = _ranked(relevance, rows, counts, Lists(offsets, stand.ids), stand)
        return ranked if depth is None else replace(ranked, depth=np.minimum(counts.sum(1), depth))


@dataclass(frozen=True)
class _ByScores:
    scorer: Scorer

    @property
    def shape(self) -> tuple[int, int]:
        return self.scorer.n_queries, self.scorer.n_items

    def blocks(
        self,
        relevances: Sequence[Relevance],
        depth: int | None,  # noqa: ARG002 - counting does not know what lies beyond before it is done
        block: int | None,
        progress: Progress,
    ) -> Blocks:
        if max(relevance.most_positives() for relevance in relevances) <= COUNTED:
            return self._count(relevances, block, progress)
        return self._sort(relevances, block, progress)

    def _sort(self, relevances: Sequence[Relevance], block: int | None, progress: Progress) -> Blocks:
        n_queries, n_items = self.shape
        most = max(relevance.most_positives() for relevance in relevances)
        # Scores come in blocks that multiply well, ranks in smaller ones where relevant items are many.
        rows_scored = BLOCK_BYTES // (n_items * np.dtype(self.scorer.row_dtype).itemsize)
        rows_scored = int(min(1024, max(2, rows_scored)))
        step = min(rows_scored, block or int(max(1, BLOCK_BYTES // (most * BYTES_PER_POSITIVE + 1))))
        memory = np.empty((max(2, min(rows_scored, n_queries)), n_items), self.scorer.row_dtype)
        for start in range(0, n_queries, rows_scored):
            stop = min(start + rows_scored, n_queries)
            scores = self.scorer.rows(start, stop, memory)
            queries = self.scorer.queries(start, stop)
            for first in range(start, stop, step):
                rows = slice(first, min(first + step, stop))
                pair_scores = partial(self.scorer.pair_scores, queries.cut(first - start, rows.stop - start))
                some = scores[first - start : rows.stop - start]
                yield rows, [rank_block(some, relevance, rows, pair_scores) for relevance in relevances]
                progress(rows.stop, n_queries)

    def _count(self, relevances: Sequence[Relevance], block: int | None, progress: Progress) -> Blocks:
        n_queries, _ = self.shape
        wanted = sum(relevance.most_positives() for relevance in relevances)
        step = int(TARGETS_AT_A_TIME // max(wanted, 1.0))
        if not self.scorer.cached:
            step = min(step, max(256, QUERY_BYTES // (4 * self.scorer.dim)))
        for start in range(0, n_queries, step):
            rows = slice(start, min(start + step, n_queries))
            queries = self.scorer.queries(rows.start, rows.stop)
            positives = [relevance.positives(rows) for relevance in relevances]
            lists, places = _union([found.lists for found in positives], self.scorer.n_items)
            targets = Targets.start(lists, self.scorer.pair_scores(queries, lists.rows, lists.ids))
            if len(lists.ids):
                self._count_all(queries, targets, block, _Part(rows, n_queries, progress))
            yield (
                rows,
                [
                    self._standing(relevance, rows, queries, found, _pick(targets, found.lists, place))
                    for relevance, found, place in zip(relevances, positives, places, strict=True)
                ],
            )
            progress(rows.stop, n_queries)

    def _count_all(self, queries: Prepared, targets: Targets, block: int | None, part: _Part) -> None:
        scorer = self.scorer
        n_rows = len(queries.lengths)
        if scorer.own_gallery and scorer.cached and n_rows == scorer.n_items:
            self._count_square(queries, targets, min(SQUARE, block or SQUARE), part)
            return
        size = tile_rows(scorer.dim, 16384)
        step = block or max(32, TILE_BYTES // (4 * size))
        memory = np.empty((min(step, n_rows), min(size, scorer.n_items)), scorer.dtype)
        for first, items in scorer.tiles(size):
            for start in range(0, n_rows, step):
                some = queries.cut(start, start + step)
                count_tile(self._multiply(some, items, memory), start, first, targets)
            part.report(min(1.0, (first + size) / scorer.n_items))

    def _count_square(self, queries: Prepared, targets: Targets, size: int, part: _Part) -> None:
        """Queries are the items, so a product tells the score of a pair both ways."""
        scorer, n_rows = self.scorer, len(queries.lengths)
        # Rows a little longer than a power of two would be do not crowd the same lines of the cache.
        memory, flipped = (np.empty((size, size + 16), scorer.dtype) for _ in range(2))
        for first in range(0, n_rows, size):
            mine, ours = queries.cut(first, first + size), scorer.items(first, first + size)
            for second in range(first, n_rows, size):
                theirs = scorer.items(second, second + size)
                tile = self._multiply(mine, theirs, memory)
                count_tile(tile, first, second, targets)
                if second > first:
                    transpose(memory, (len(mine.lengths), len(theirs.lengths)), flipped)
                    them = queries.cut(second, second + size)
                    count_tile(self._tile(flipped, them, ours), second, first, targets)
            rest = max(0, n_rows - first - size) / n_rows
            part.report(1 - rest * rest)

    def _multiply(self, queries: Prepared, items: Prepared, memory: Floats) -> Tile:
        np.matmul(queries.vectors, items.vectors.T, out=memory[: len(queries.lengths), : len(items.lengths)])
        return self._tile(memory, queries, items)

    def _tile(self, scores: Floats, queries: Prepared, items: Prepared) -> Tile:
        margins = self.scorer.slack * queries.lengths * items.lengths.max()
        return Tile(scores, queries.vectors, items.vectors, margins)

    def _standing(
        self, relevance: Relevance, rows: slice, queries: Prepared, positives: Positives, targets: Targets
    ) -> RankedBlock:
        """From counts over all items to ranks among the items that are not ignored."""
        ignored = relevance.ignored(rows)
        leave_out(targets, ignored, self.scorer.pair_scores(queries, ignored.rows, ignored.ids))
        ranks = targets.above + targets.before + 1
        order = np.lexsort((ranks, positives.lists.rows))
        columns = (positives.lists.ids, positives.levels, ranks, targets.above, targets.tied)
        stand = Standing(*(column[order] for column in columns))
        counts = relevance.counts(rows, positives)
        return _ranked(relevance, rows, counts, Lists(positives.lists.offsets, stand.ids), stand)


def _union(lists: Sequence[Lists], n_items: int) -> tuple[Lists, list[NDArray[np.int64]]]:
    """Each query's ids in any of the lists, and where the ids of each of the lists stand among them."""
    if len(lists) == 1:
        return lists[0], [np.arange(len(lists[0].ids))]
    keys = [part.rows * n_items + part.ids for part in lists]
    union = np.unique(np.concatenate(keys))
    n_rows = len(lists[0].offsets) - 1
    offsets = np.searchsorted(union, np.arange(n_rows + 1) * n_items)
    return Lists(offsets, union % n_items), [np.searchsorted(union, part) for part in keys]


def _pick(targets: Targets, lists: Lists, places: NDArray[np.int64]) -> Targets:
    """Copies of the counts of some targets."""
    above, tied, before = (column[places] for column in (targets.above, targets.tied, targets.before))
    return Targets.start(lists, targets.scores[places])._replace(above=above, tied=tied, before=before)


class _Part(NamedTuple):
    """A share of the work on some of the queries, told as a number of queries."""

    rows: slice
    n_queries: int
    progress: Progress

    def report(self, share: float) -> None:
        self.progress(self.rows.start + int(share * (self.rows.stop - self.rows.start)), self.n_queries)


def _say_nothing(done: int, total: int) -> None:
    """Stand in for a progress bar."""
