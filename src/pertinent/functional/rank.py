"""`RankedBlock`: where the relevant items of a block of queries stand; all that a ranking metric needs.

Letters: B a block of queries, L levels, P relevant items of all queries of the block, T their groups of equal scores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pertinent.functional.jit import kernel
from pertinent.functional.positives import Lists

Cut = int | NDArray[np.int64] | None


class Groups(NamedTuple):
    """Groups of items with equal scores that hold a relevant one, best first: those of query `i` end at `offsets[i+1]`.

    Attributes:
        offsets: `(B+1,)`.
        above: `(T,)` ranked items with a better score.
        size: `(T,)` ranked items in the group.
        members: `(T, L+1)` how many of them there are of each level; column 0 the unrelated.
    """

    offsets: NDArray[np.int64]
    above: NDArray[np.int64]
    size: NDArray[np.int64]
    members: NDArray[np.int64]


@dataclass(frozen=True)
class RankedBlock:
    """Relevant items of B queries in ranked order.

    Attributes:
        found: item ids of each query in ranked order.
        ranks: `(P,)` rank of each, from 1, among the items that are not ignored.
        levels: `(P,)` level of each, 1..L.
        counts: `(B, L+1)` how many ranked items of each level there are; column 0 the unrelated.
        gains: `(B, L+1)` what an item of each level is worth to the query.
        above: `(P,)` ranked items with a better score; None where no two scores are equal.
        tied: `(P,)` ranked items with the same score, itself included; None as above.
        depth: `(B,)` ranks that are known: relevant items beyond are missing above; None where all are known.
    """

    found: Lists
    ranks: NDArray[np.int64]
    levels: NDArray[np.int64]
    counts: NDArray[np.int64]
    gains: NDArray[np.float64]
    above: NDArray[np.int64] | None = None
    tied: NDArray[np.int64] | None = None
    depth: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def offsets(self) -> NDArray[np.int64]:
        """`(B+1,)` where each query's items start."""
        return self.found.offsets

    @cached_property
    def relevant(self) -> NDArray[np.int64]:
        """`(B,)` number R of relevant items, those of unknown rank included."""
        total: NDArray[np.int64] = self.counts[:, 1:].sum(1)
        return total

    @cached_property
    def row(self) -> NDArray[np.int64]:
        """`(P,)` query of each item."""
        return self.found.rows

    @cached_property
    def position(self) -> NDArray[np.int64]:
        """`(P,)` 1 for the first relevant item of a query, 2 for the second, ..."""
        return np.arange(1, len(self.ranks) + 1) - self.offsets[:-1][self.row]

    @cached_property
    def precision(self) -> NDArray[np.float64]:
        """`(P,)` share of relevant items among those down to each item."""
        return self.position / self.ranks

    def within(self, cut: Cut) -> NDArray[np.bool_]:
        """`(P,)` which items are among the first `cut`: a number, one a query `(B,)`, or None for all."""
        if cut is None:
            return np.ones(len(self.ranks), np.bool_)
        inside: NDArray[np.bool_] = self.ranks <= (cut if isinstance(cut, int) else cut[self.row])
        return inside

    def sum(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """`(B,)` sum of `(P,)` values over the items of each query; 0 where it has none."""
        return _sum_lists(self.offsets, np.asarray(values, np.float64))

    def first(self) -> NDArray[np.float64]:
        """`(B,)` rank of the first relevant item, NaN where none is known."""
        padded = np.append(self.ranks.astype(np.float64), np.nan)
        return np.where(self.found.lengths > 0, padded[self.offsets[:-1]], np.nan)

    def last(self) -> NDArray[np.float64]:
        """`(B,)` rank of the last relevant item, infinity where it is not known, NaN where there is none."""
        padded = np.append(self.ranks.astype(np.float64), np.nan)
        end = np.where(self.found.lengths < self.relevant, np.inf, padded[self.offsets[1:] - 1])
        return np.where(self.relevant > 0, end, np.nan)

    def select(self, keep: NDArray[np.bool_], relevant: NDArray[np.int64] | None = None) -> RankedBlock:
        """The binary ranking in which only the items `keep` `(P,)` are relevant.

        Args:
            keep: which items.
            relevant: `(B,)` how many there are, where not all ranks are known.
        """
        lengths = np.bincount(self.row[keep], minlength=len(self))
        relevant = lengths if relevant is None else relevant
        return replace(
            self,
            found=Lists(np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]), self.found.ids[keep]),
            ranks=self.ranks[keep],
            levels=np.ones(int(keep.sum()), np.int64),
            counts=np.stack([self.counts.sum(1) - relevant, relevant], axis=1),
            gains=np.tile([0.0, 1.0], (len(self), 1)),
            above=None if self.above is None else self.above[keep],
            tied=None if self.tied is None else self.tied[keep],
        )

    @cached_property
    def groups(self) -> Groups:
        """Groups of equal scores that hold a relevant item."""
        above = self.ranks - 1 if self.above is None else self.above
        tied = np.ones(len(self.ranks), np.int64) if self.tied is None else self.tied
        return Groups(*_groups(self.offsets, above, tied, self.levels, self.counts.shape[1]))

    @cached_property
    def has_ties(self) -> NDArray[np.bool_]:
        """`(B,)` which queries have items of different levels with equal scores: their order matters."""
        mixed = np.zeros(len(self), np.bool_)
        if self.tied is not None:
            groups = self.groups
            row = np.repeat(np.arange(len(self)), np.diff(groups.offsets))
            mixed[row[groups.members.max(1) < groups.size]] = True
        return mixed

    @cached_property
    def relevant_first(self) -> RankedBlock:
        """The order of equals that is best: the most relevant ones first."""
        return self._reordered(best_first=True)

    @cached_property
    def irrelevant_first(self) -> RankedBlock:
        """The order of equals that is worst: the unrelated ones first, then the least relevant."""
        return self._reordered(best_first=False)

    def _reordered(self, best_first: bool) -> RankedBlock:
        if self.above is None or self.tied is None:
            return self
        order, ranks = _order_groups(self.offsets, self.above, self.tied, self.levels, best_first)
        found = Lists(self.offsets, self.found.ids[order])
        above, tied = self.above[order], self.tied[order]
        return replace(self, found=found, ranks=ranks, levels=self.levels[order], above=above, tied=tied)


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """`part / whole`, NaN where the whole is 0: the value is undefined there."""
    quotient = np.full(len(part), np.nan)
    np.divide(part, whole, out=quotient, where=whole != 0)
    return quotient


@kernel
def _sum_lists(offsets: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """In order, one after the other, so that a query's sum does not depend on the rest of its block."""
    sums = np.zeros(len(offsets) - 1)
    for row in range(len(sums)):
        for place in range(offsets[row], offsets[row + 1]):
            sums[row] += values[place]
    return sums


@kernel
def _groups(
    offsets: NDArray[np.int64],
    above: NDArray[np.int64],
    tied: NDArray[np.int64],
    levels: NDArray[np.int64],
    n_levels: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    n_groups = 0
    for row in range(len(offsets) - 1):
        for place in range(offsets[row], offsets[row + 1]):
            n_groups += place == offsets[row] or above[place] != above[place - 1]
    group_offsets = np.zeros(len(offsets), np.int64)
    group_above, size = np.empty(n_groups, np.int64), np.empty(n_groups, np.int64)
    members = np.zeros((n_groups, n_levels), np.int64)
    group = -1
    for row in range(len(offsets) - 1):
        for place in range(offsets[row], offsets[row + 1]):
            if place == offsets[row] or above[place] != above[place - 1]:
                group += 1
                group_above[group], size[group] = above[place], tied[place]
                members[group, 0] = tied[place]
            members[group, levels[place]] += 1
            members[group, 0] -= 1
        group_offsets[row + 1] = group + 1
    return group_offsets, group_above, size, members


@kernel
def _order_groups(
    offsets: NDArray[np.int64],
    above: NDArray[np.int64],
    tied: NDArray[np.int64],
    levels: NDArray[np.int64],
    best_first: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Order and ranks of items when each group of equals is ordered by level, at the group's start or at its end."""
    order, ranks = np.empty(len(levels), np.int64), np.empty(len(levels), np.int64)
    for row in range(len(offsets) - 1):
        first = offsets[row]
        while first < offsets[row + 1]:
            last, top = first, levels[first]
            while last < offsets[row + 1] and above[last] == above[first]:
                top = max(top, levels[last])
                last += 1
            end, rank = first, above[first] + (0 if best_first else tied[first] - (last - first))
            for step in range(top):
                level = top - step if best_first else step + 1
                for place in range(first, last):
                    if levels[place] == level:
                        rank += 1
                        order[end], ranks[end] = place, rank
                        end += 1
            first = last
    return order, ranks
