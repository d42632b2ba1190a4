"""`Relevance`: what is relevant to what, for any block of queries against any block of items.

Letters: B a block of queries, Q queries, G items, L levels, C tags. A level is 0 unrelated, 1..L better, -1 ignore.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from pertinent.errors import InputError
from pertinent.functional import judgements
from pertinent.functional.labels import Labels, as_columns, as_positions, as_tags
from pertinent.functional.positives import (
    UNLABELLED,
    Lists,
    Positives,
    count_levels,
    invert_columns,
    invert_tags,
    most_shared,
    pack_bits,
    shared_items,
    tagged_items,
)
from pertinent.functional.relevance import Weighting, level_weights

Kind = Literal["classes", "tree", "tags", "judged"]


@dataclass(frozen=True)
class Relevance:
    """What is relevant to what; make one with `classes`, `tree`, `tags` or `judged`.

    Without a gallery the queries are also the items, and each is left out of its own ranking, by index. Label -1 means
    unlabelled (for tags: no tag set): such an item is related to nothing and stays in every ranking as a distractor;
    such a query has nothing to find. On a tree this holds for each column by itself.

    Attributes:
        kind: what the labels are.
        levels: L, the best level there can be.
        n_queries: Q.
        n_items: G.
        query_positions: `(Q,)` where each query stands among the items, -1 where it does not.
        weighting: "pop" or "map", how `gains` values a level.
        alpha: what `weighting` needs.
        count_self: whether a query counts in the population of its own level.
        protocol: which judgements count, for kind `judged`.
        open_ended: any gallery of at least `n_items` fits; the rest of it is unrelated.
    """

    kind: Kind
    levels: int
    n_queries: int
    n_items: int
    query_positions: NDArray[np.int64] = field(repr=False)
    weighting: Weighting = "pop"
    alpha: float | tuple[float, ...] = 1.0
    count_self: bool = False
    protocol: str = ""
    open_ended: bool = False
    _label_lists: tuple[Lists, Lists] | None = field(default=None, repr=False)
    _columns: tuple[NDArray[np.int64], NDArray[np.int64]] | None = field(default=None, repr=False)
    _judged_lists: tuple[Lists, Lists] | None = field(default=None, repr=False)
    _tag_words: tuple[NDArray[np.uint64], NDArray[np.uint64]] | None = field(default=None, repr=False)

    @classmethod
    def classes(cls, y: Labels, gallery: Labels | None = None, *, query_positions: Labels | None = None) -> Relevance:
        """Items are relevant to each other when their labels are equal.

        Args:
            y: `(Q,)` integers; any int64 is a label, except -1 which means unlabelled.
            gallery: `(G,)` labels of the items; when left out the queries are the items.
            query_positions: `(Q,)` place of each query in a gallery that holds it, -1 for one that it does not hold.

        Raises:
            InputError: labels that are not whole numbers, shapes that do not fit.
        """
        mine = as_columns(y, "labels", 1)
        theirs = None if gallery is None else as_columns(gallery, "gallery labels", 1)
        return cls._from_columns("classes", mine, theirs, query_positions)

    @classmethod
    def tree(
        cls,
        labels: Labels,
        gallery_labels: Labels | None = None,
        *,
        weights: Weighting = "pop",
        alpha: float | Sequence[float] = 1.0,
        count_self: bool = False,
        query_positions: Labels | None = None,
    ) -> Relevance:
        """The level of a pair is the number of label columns that are equal.

        Args:
            labels: `(Q, L)` integers, column 0 finest; `(Q,)` is a tree of one level. Columns need not be nested.
            gallery_labels: `(G, L)`; when left out the queries are the items.
            weights: "pop" gives each level the mass (l/L)^alpha, shared by its population; "map" makes H-AP the
                weighted mean of the levels' average precisions.
            alpha: a number for "pop", the weights w_1..w_L (coarsest first) for "map".
            count_self: count the query in the population of its own level, though it is not ranked, as HAPPIER's
                published tables do.
            query_positions: `(Q,)` place of each query in a gallery that holds it, -1 for one that it does not hold.

        Raises:
            InputError: labels that are not whole numbers, shapes or weights that do not fit.
        """
        mine = as_columns(labels, "labels", 2)
        theirs = None if gallery_labels is None else as_columns(gallery_labels, "gallery labels", 2)
        made = cls._from_columns("tree", mine, theirs, query_positions)
        decay = float(alpha) if isinstance(alpha, int | float) else tuple(float(weight) for weight in alpha)
        level_weights(torch.zeros(1, made.levels + 1, dtype=torch.int64), weights, decay)
        return replace(made, weighting=weights, alpha=decay, count_self=count_self)

    @classmethod
    def tags(
        cls,
        Y: Labels,
        Yg: Labels | None = None,
        *,
        graded: bool = False,
        query_positions: Labels | None = None,
    ) -> Relevance:
        """Items are relevant to each other when they share a tag.

        Args:
            Y: `(Q, C)` bool or 0/1.
            Yg: `(G, C)`; when left out the queries are the items.
            graded: the level is the number of shared tags (for NDCG, ACG and WAP), else 1.
            query_positions: `(Q,)` place of each query in a gallery that holds it, -1 for one that it does not hold.

        Raises:
            InputError: values other than 0 and 1, shapes that do not fit.
        """
        mine = as_tags(Y, "tags")
        theirs = mine if Yg is None else as_tags(Yg, "gallery tags")
        if mine.shape[1] != theirs.shape[1]:
            raise InputError(f"queries have {mine.shape[1]} tags and items {theirs.shape[1]}; give both the same")
        most = min(mine.sum(1).max(initial=0), theirs.sum(1).max(initial=0))
        own = _own_positions(query_positions, len(mine), None if Yg is None else len(theirs))
        top = max(1, int(most)) if graded else 1
        words = None if graded else (pack_bits(mine), pack_bits(theirs))
        lists = invert_tags(mine, theirs)
        return cls("tags", top, len(mine), len(theirs), own, _label_lists=lists, _tag_words=words)

    @classmethod
    def judged(
        cls,
        gnd: Sequence[Any] | Mapping[str, Any],
        protocol: str = "medium",
        *,
        n_items: int | None = None,
        query_positions: Labels | None = None,
    ) -> Relevance:
        """A person said for each query which items are easy, hard and junk.

        Args:
            gnd: one record a query with item positions under `easy`, `hard` and `junk` (`ok` and `junk` for the classic
                protocol): mappings, as revisitop's, or objects such as `Judgement`; or a whole ground truth, a mapping
                with `gnd` and perhaps `imlist`.
            protocol: "easy", "medium", "hard" or "classic".
            n_items: G; when neither this nor an `imlist` tells, every gallery that holds the judged items fits, and the
                rest of it (a million distractors, say) is unrelated.
            query_positions: `(Q,)` place of each query in a gallery that holds it, -1 for one that it does not hold;
                for records with an attribute `query` the default is that. A query is left out of its own ranking
                unless its own record names it as relevant, as the classic protocol's do.

        Raises:
            UnknownNameError: unknown protocol.
            InputError: lists that are missing, positions out of range or named twice.
        """
        records, listed = judgements.records_of(gnd)
        wanted, ignored = judgements.split_records(records, protocol)
        n_items = listed if n_items is None else n_items
        places = judgements.own_places(records) if query_positions is None else query_positions
        own = as_positions(places, len(records), n_items)
        for row, place in enumerate(own.tolist()):
            if place >= 0 and place not in wanted[row] and place not in ignored[row]:
                ignored[row] = np.append(ignored[row], place)
        most = 1 + max((int(ids.max()) for ids in wanted + ignored if ids.size), default=-1)
        if n_items is not None and most > n_items:
            raise InputError(f"a judgement names item {most - 1}, but there are {n_items} items, counted from 0")
        return cls(
            "judged",
            1,
            len(records),
            most if n_items is None else n_items,
            own,
            protocol=protocol,
            open_ended=n_items is None,
            _judged_lists=(Lists.of(wanted), Lists.of(ignored)),
        )

    @classmethod
    def _from_columns(
        cls, kind: Kind, mine: NDArray[np.int64], theirs: NDArray[np.int64] | None, query_positions: Labels | None
    ) -> Relevance:
        own = _own_positions(query_positions, len(mine), None if theirs is None else len(theirs))
        theirs = mine if theirs is None else theirs
        if mine.shape[1] != theirs.shape[1]:
            raise InputError(
                f"queries have {mine.shape[1]} label columns and items {theirs.shape[1]}; give both the same"
            )
        lists = invert_columns(mine, theirs)
        return cls(kind, mine.shape[1], len(mine), len(theirs), own, _label_lists=lists, _columns=(mine, theirs))

    def positives(self, rows: slice) -> Positives:
        """Relevant items of the queries `rows` with their levels; the query itself is left out."""
        start, stop = self._range(rows)
        if self._judged_lists is not None:
            wanted = self._judged_lists[0].cut(start, stop)
            return Positives(wanted, np.ones(len(wanted.ids), np.int64))
        owned, inverted = self._lists()
        owned, own = owned.cut(start, stop), self.query_positions[start:stop]
        if self._tag_words is not None:
            mine, theirs = self._tag_words
            return tagged_items(mine[start:stop], theirs, own, most_shared(owned, inverted, self.n_items))
        return shared_items(owned, inverted, self.n_items, own, self.levels)

    def tag_words(self, rows: slice) -> tuple[tuple[NDArray[np.uint64], NDArray[np.uint64]], int] | None:
        """Where sharing a tag is all that counts, packed tags of the queries `rows` and of all items, else None.

        Beside them stands a number that the relevant items of these queries together do not exceed.
        """
        if self._tag_words is None:
            return None
        start, stop = self._range(rows)
        owned, inverted = self._lists()
        most = most_shared(owned.cut(start, stop), inverted, self.n_items)
        return (self._tag_words[0][start:stop], self._tag_words[1]), most

    def most_positives(self) -> float:
        """About how many relevant items a query has, at most: to plan memory."""
        if self._judged_lists is not None:
            return len(self._judged_lists[0].ids) / max(self.n_queries, 1)
        owned, inverted = self._lists()
        return min(self.n_items, float(inverted.lengths[owned.ids].sum()) / max(self.n_queries, 1))

    def ignored(self, rows: slice) -> Lists:
        """Items of level -1 of the queries `rows`: junk, and the query itself."""
        start, stop = self._range(rows)
        if self._judged_lists is not None:
            return self._judged_lists[1].cut(start, stop)
        own = self.query_positions[start:stop]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(own >= 0)])
        return Lists(offsets, own[own >= 0])

    def block(self, rows: slice, columns: slice) -> NDArray[np.int64]:
        """Level of every pair of the queries `rows` and the items `columns`, `(B, columns)` int64, -1 = ignore."""
        start, stop = self._range(rows)
        found, ignored = self.positives(rows), self.ignored(rows)
        levels = np.zeros((stop - start, self.n_items), np.int64)
        levels[found.lists.rows, found.lists.ids] = found.levels
        levels[ignored.rows, ignored.ids] = -1
        return levels[:, columns]

    def counts(self, rows: slice, positives: Positives | None = None) -> NDArray[np.int64]:
        """How many ranked items of each level the queries `rows` have, `(B, L+1)`; ignored items do not count."""
        positives = self.positives(rows) if positives is None else positives
        if self.levels == 1:
            lengths = positives.lists.lengths
            counts = np.stack([np.zeros_like(lengths), lengths], 1)
        else:
            counts = count_levels(positives, self.levels + 1)
        counts[:, 0] = self.n_items - self.ignored(rows).lengths - counts.sum(1)
        return counts

    def gains(self, rows: slice, counts: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Value of an item of each level to each of the queries `rows`, `(B, L+1)`; unrelated items are worth 0."""
        start, stop = self._range(rows)
        population = (self.counts(rows) if counts is None else counts).copy()
        if self.count_self:
            inside = np.flatnonzero(self.query_positions[start:stop] >= 0)
            population[inside, self._lists()[0].lengths[start:stop][inside]] += 1
        values: NDArray[np.float64] = level_weights(torch.from_numpy(population), self.weighting, self.alpha).numpy()
        return values

    def same_label(self, rows: slice, found: Lists, level: int) -> NDArray[np.bool_]:
        """Which of the items found for the queries `rows` share the query's label in column `level`, `(P,)`."""
        start, _ = self._range(rows)
        mine, theirs = self._column(level)
        wanted = mine[start + found.rows]
        same: NDArray[np.bool_] = (wanted == theirs[found.ids]) & (wanted != UNLABELLED)
        return same

    def labels(self, level: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Labels of the queries `(Q,)` and of the items `(G,)` in one column; 0 is the finest.

        Raises:
            InputError: there is no such column.
        """
        return self._column(level)

    def totals(self, level: int) -> NDArray[np.int64]:
        """How many ranked items share each query's label in column `level`, `(Q,)`."""
        mine, theirs = self._column(level)
        values, counts = np.unique(theirs[theirs != UNLABELLED], return_counts=True)
        place = np.minimum(np.searchsorted(values, mine), max(len(values) - 1, 0))
        known = (mine != UNLABELLED) & (values[place] == mine) if len(values) else np.zeros(len(mine), np.bool_)
        own = (self.query_positions >= 0) & (theirs[self.query_positions] == mine)
        return np.where(known, np.append(counts, 0)[place] - own, 0)

    def at(self, level: int) -> Relevance:
        """The relevance of one label column of a tree by itself; 0 is the finest.

        Raises:
            InputError: there is no such column.
        """
        mine, theirs = self._column(level)
        return self._from_columns("classes", mine[:, None], theirs[:, None], self.query_positions)

    def for_gallery(self, n_items: int) -> Relevance:
        """This relevance for a gallery of `n_items`.

        Raises:
            InputError: the gallery has another size, or does not hold the judged items.
        """
        if n_items == self.n_items:
            return self
        if self.open_ended and n_items > self.n_items:
            return replace(self, n_items=n_items)
        least = "at least " if self.open_ended else ""
        raise InputError(f"the relevance was made for {least}{self.n_items} items, the gallery has {n_items}")

    def describe(self) -> dict[str, Any]:
        """What a report needs to say about it, in plain values."""
        said: dict[str, Any] = {"kind": self.kind, "levels": self.levels}
        if self.kind == "tree":
            alpha = list(self.alpha) if isinstance(self.alpha, tuple) else self.alpha
            said |= {"weights": self.weighting, "alpha": alpha, "count_self": self.count_self}
        if self.kind == "judged":
            said["protocol"] = self.protocol
        return said | {"queries_in_gallery": int((self.query_positions >= 0).sum())}

    def _lists(self) -> tuple[Lists, Lists]:
        if self._label_lists is None:
            raise InputError(f"relevance of kind {self.kind} has no labels")
        return self._label_lists

    def _column(self, level: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if self._columns is None or not 0 <= level < self.levels:
            held = f"levels 0 to {self.levels - 1}" if self._columns is not None else "no label columns"
            raise InputError(f"there is no level {level}: relevance of kind {self.kind} has {held}")
        return self._columns[0][:, level], self._columns[1][:, level]

    def _range(self, rows: slice) -> tuple[int, int]:
        start, stop, step = rows.indices(self.n_queries)
        if step != 1:
            raise InputError(f"rows must be consecutive, got {rows}")
        return start, max(start, stop)


def _own_positions(given: Labels | None, n_queries: int, n_items: int | None) -> NDArray[np.int64]:
    if n_items is not None:
        return as_positions(given, n_queries, n_items)
    if given is not None:
        raise InputError("query_positions needs the labels of the gallery that holds the queries")
    return np.arange(n_queries)
