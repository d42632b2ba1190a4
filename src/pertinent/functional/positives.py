"""The relevant items of a range of queries, found from sorted lists and never by scanning a matrix.

Classes, trees and tags are one thing here: a query owns some lists of items (its class, its label in each column, its
tags), and the level of an item is the number of those lists that hold it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pertinent.functional.jit import kernel

UNLABELLED = -1


class Lists(NamedTuple):
    """Lists of ids end to end: list `i` is `ids[offsets[i]:offsets[i + 1]]`."""

    offsets: NDArray[np.int64]
    ids: NDArray[np.int64]

    @classmethod
    def of(cls, lists: Sequence[NDArray[np.int64]]) -> Lists:
        """Put separate arrays end to end."""
        lengths = np.array([len(ids) for ids in lists], np.int64)
        return cls(_offsets(lengths), np.concatenate([np.zeros(0, np.int64), *lists]))

    def cut(self, start: int, stop: int) -> Lists:
        """The lists `start..stop-1`."""
        first, last = self.offsets[start], self.offsets[stop]
        return Lists(self.offsets[start : stop + 1] - first, self.ids[first:last])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Length of each list."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> NDArray[np.int64]:
        """For every id the number of its list."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.lengths)


class Positives(NamedTuple):
    """Relevant items of B queries with the level (1..L) of each; items ascend within a query."""

    lists: Lists
    levels: NDArray[np.int64]


def invert_columns(query_labels: NDArray[np.int64], item_labels: NDArray[np.int64]) -> tuple[Lists, Lists]:
    """Lists of the items of every label of every column, and for each query the lists it owns.

    Args:
        query_labels: `(Q, C)`; -1 owns no list.
        item_labels: `(G, C)`; -1 lies in no list.

    Returns:
        owned: list numbers of each query, coarsest column first.
        inverted: items of each list, ascending.
    """
    owned = np.full(query_labels.shape, -1, np.int64)
    parts: list[NDArray[np.int64]] = []
    lengths: list[NDArray[np.int64]] = []
    base = 0
    for column in range(item_labels.shape[1]):
        known = np.flatnonzero(item_labels[:, column] != UNLABELLED)
        labels = item_labels[known, column]
        order = np.argsort(labels, kind="stable")
        values, counts = np.unique(labels, return_counts=True)
        parts.append(known[order])
        lengths.append(counts)
        if len(values):
            wanted = query_labels[:, column]
            place = np.minimum(np.searchsorted(values, wanted), len(values) - 1)
            owned[:, column] = np.where((values[place] == wanted) & (wanted != UNLABELLED), base + place, -1)
        base += len(values)
    inverted = Lists(_offsets(np.concatenate(lengths)), np.concatenate(parts))
    coarse_first = owned[:, ::-1]
    return Lists(_offsets((coarse_first >= 0).sum(1)), coarse_first[coarse_first >= 0]), inverted


def invert_tags(query_tags: NDArray[np.bool_], item_tags: NDArray[np.bool_]) -> tuple[Lists, Lists]:
    """As `invert_columns`, for tags: one list a tag, and a query owns the lists of its tags.

    Args:
        query_tags: `(Q, C)` bool.
        item_tags: `(G, C)` bool.
    """
    owned = Lists(_offsets(query_tags.sum(1)), np.nonzero(query_tags)[1])
    return owned, Lists(_offsets(item_tags.sum(0)), np.nonzero(item_tags.T)[1])


def shared_items(owned: Lists, inverted: Lists, n_items: int, own: NDArray[np.int64], top: int) -> Positives:
    """Items that lie in at least one list of each of B queries.

    Args:
        owned: list numbers of each query.
        inverted: items of each list, ascending.
        n_items: G.
        own: `(B,)` position of each query among the items, -1 where it is not one; that item is left out.
        top: levels above this one are lowered to it.
    """
    most = most_shared(owned, inverted, n_items)
    # One place more than there can be items, for the write that `_collect` does not keep.
    found = Positives(
        Lists(np.zeros(len(own) + 1, np.int64), np.empty(most + 1, np.int64)), np.empty(most + 1, np.int64)
    )
    end = _collect(owned, inverted, own, np.zeros(n_items, np.int32), found)
    levels = found.levels[:end]
    np.minimum(levels, top, out=levels)
    return Positives(Lists(found.lists.offsets, found.lists.ids[:end]), levels)


def most_shared(owned: Lists, inverted: Lists, n_items: int) -> int:
    """A number that the items of all queries together cannot exceed."""
    room = np.bincount(owned.rows, weights=inverted.lengths[owned.ids], minlength=len(owned.offsets) - 1)
    return int(np.minimum(room, n_items).sum())


def pack_bits(flags: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """`(N, C)` bool as bits, `(N, W)` words of 64, at least one."""
    packed = np.zeros((len(flags), 8 * max(1, -(-flags.shape[1] // 64))), np.uint8)
    tight = np.packbits(flags, axis=1)
    packed[:, : tight.shape[1]] = tight
    return packed.view(np.uint64)


def tagged_items(
    query_words: NDArray[np.uint64], item_words: NDArray[np.uint64], own: NDArray[np.int64], most: int
) -> Positives:
    """Items that share a tag with each of B queries, all at level 1; as `shared_items` finds them, from packed tags.

    Args:
        query_words: `(B, W)`, see `pack_bits`.
        item_words: `(G, W)`.
        own: `(B,)` position of each query among the items, -1 where it is not one; that item is left out.
        most: no more items than that can be found in all.
    """
    offsets = np.zeros(len(own) + 1, np.int64)
    # One place more than there can be items, for the write that `_share` does not keep.
    ids = np.empty(most + 1, np.int64)
    end = _share((query_words, item_words), own, offsets, ids)
    return Positives(Lists(offsets, ids[:end]), np.ones(end, np.int64))


@kernel
def shares_tag(queries: NDArray[np.uint64], items: NDArray[np.uint64], row: int, item: int) -> int:
    """1 where a query and an item have a packed tag in common, else 0."""
    shared = np.uint64(0)
    for word in range(queries.shape[1]):
        shared |= queries[row, word] & items[item, word]
    return 1 if shared != 0 else 0


@kernel
def _share(
    sides: tuple[NDArray[np.uint64], NDArray[np.uint64]],
    own: NDArray[np.int64],
    offsets: NDArray[np.int64],
    ids: NDArray[np.int64],
) -> int:
    queries, items = sides
    flat = items.ravel()
    end = 0
    for row in range(len(own)):
        # The item that is the query itself stands between two stretches of others.
        gap = own[row] if own[row] >= 0 else len(items)
        for first, stop in ((0, gap), (gap + 1, len(items))):
            if queries.shape[1] == 1:
                # No branch: whether an item is kept cannot be foreseen.
                mine = queries[row, 0]
                for item in range(first, stop):
                    ids[end] = item
                    end += (mine & flat[item]) != 0
            else:
                for item in range(first, stop):
                    ids[end] = item
                    end += shares_tag(queries, items, row, item)
        offsets[row + 1] = end
    return end


@kernel
def _collect(owned: Lists, inverted: Lists, own: NDArray[np.int64], shared: NDArray[np.int32], found: Positives) -> int:
    """Fill `found` and return its length; `shared` holds G zeros before and after."""
    offsets, items, levels = found.lists.offsets, found.lists.ids, found.levels
    end = 0
    for row in range(len(own)):
        mine = owned.ids[owned.offsets[row] : owned.offsets[row + 1]]
        # On a tree the coarsest list, the first, holds all others: then it alone gives the items, in ascending order.
        nested = True
        for number in range(len(mine)):
            members = inverted.ids[inverted.offsets[mine[number]] : inverted.offsets[mine[number] + 1]]
            for item in members:
                nested &= number == 0 or shared[item] > 0
                shared[item] += 1
        if own[row] >= 0:
            shared[own[row]] = 0
        if nested and len(mine) > 0:
            for item in inverted.ids[inverted.offsets[mine[0]] : inverted.offsets[mine[0] + 1]]:
                items[end], levels[end] = item, shared[item]
                end += shared[item] > 0
                shared[item] = 0
        elif len(mine) > 0:
            for item in range(len(shared)):
                items[end], levels[end] = item, shared[item]
                end += shared[item] > 0
                shared[item] = 0
        offsets[row + 1] = end
    return end


@kernel
def count_levels(positives: Positives, n_levels: int) -> NDArray[np.int64]:
    """How many of each query's relevant items have each level, `(B, n_levels)`."""
    counts = np.zeros((len(positives.lists.offsets) - 1, n_levels), np.int64)
    for row in range(len(counts)):
        for place in range(positives.lists.offsets[row], positives.lists.offsets[row + 1]):
            counts[row, positives.levels[place]] += 1
    return counts


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
