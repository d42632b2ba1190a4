"""Ranks of relevant items by Hamming distance: codes packed into words, and counting instead of sorting.

The distance of two codes of K bits is (K - a.b) / 2. It can only be 0, 1/2, 1, ... K, so a histogram of the distances
tells every rank. Half distances come from outputs that are exactly 0: their sign is 0.

Letters: N codes, W words of 64 bits, Q queries, G items, K bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError
from pertinent.functional.jit import kernel
from pertinent.functional.positives import Lists, Positives, pack_bits, shares_tag
from pertinent.functional.similarity import as_vectors, widen
from pertinent.functional.sorting import Standing

PACKED_ROWS = 65536
MOST_BITS = 32767


class Codes(NamedTuple):
    """Signs of N real outputs, packed.

    Attributes:
        positive: `(N, W)` uint64, a bit where the output is above 0.
        known: `(N, W)` uint64, a bit where it is not 0.
        bits: K.
        whole: whether no output is 0, so that `known` need not be looked at.
    """

    positive: NDArray[np.uint64]
    known: NDArray[np.uint64]
    bits: int
    whole: bool

    @classmethod
    def of(cls, outputs: Any, name: str) -> Codes:
        """Pack real outputs or bool.

        Args:
            outputs: `(N, K)` array, memory map or tensor; bool counts as -1 and 1.
            name: what to call them in a message.

        Raises:
            InputError: another shape or type, NaN, more than 32,767 bits.
        """
        raw = as_vectors(outputs, name)
        if raw.shape[1] > MOST_BITS:
            raise InputError(f"{name} have {raw.shape[1]} bits, at most {MOST_BITS} can be compared")
        parts = [_pack(raw[first : first + PACKED_ROWS], name, first) for first in range(0, len(raw), PACKED_ROWS)]
        positive, known = (np.concatenate([part[plane] for part in parts]) for plane in (0, 1))
        return cls(positive, known, raw.shape[1], int(np.bitwise_count(known).sum()) == raw.size)

    def cut(self, start: int, stop: int) -> Codes:
        """The codes `start..stop-1`."""
        return self._replace(positive=self.positive[start:stop], known=self.known[start:stop])


def _pack(raw: NDArray[Any], name: str, first: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    x = widen(raw, np.float64 if raw.dtype.itemsize > 4 else np.float32)
    missing = np.isnan(x).any(1)
    if missing.any():
        row = first + int(np.flatnonzero(missing)[0])
        raise InputError(f"{name} row {row} holds NaN; the encoder or the input of that row is at fault")
    return pack_bits(x > 0), pack_bits(x != 0)


def rank_codes(
    queries: Codes, items: Codes, positives: Positives, ignored: Lists, depth: int | None = None
) -> tuple[NDArray[np.int64], Standing]:
    """Rank the relevant items of every query by Hamming distance; equal distances by position.

    Args:
        queries: B codes.
        items: G codes.
        positives: relevant items of each query.
        ignored: items of each query that take no rank.
        depth: leave out relevant items before which at least this many items stand.

    Returns:
        offsets: `(B+1,)` where each query's relevant items start.
        standing: where they stand.
    """
    offsets = np.zeros(len(positives.lists.offsets), np.int64)
    stand = Standing(*(np.empty(len(positives.levels), np.int64) for _ in range(5)))
    depth = len(items.positive) if depth is None else depth
    _rank_codes((queries, items), positives, _ascending(ignored), depth, (offsets, stand, _scratch(items)))
    return offsets, stand.part(0, int(offsets[-1]))


def rank_tagged_codes(
    queries: Codes,
    items: Codes,
    words: tuple[NDArray[np.uint64], NDArray[np.uint64]],
    ignored: Lists,
    *,
    most: int,
    depth: int | None = None,
) -> tuple[NDArray[np.int64], Standing, NDArray[np.int64]]:
    """As `rank_codes`, where items that share a tag are relevant: no list of the relevant items is made.

    Args:
        queries: B codes.
        items: G codes.
        words: tags of queries `(B, W)` and items `(G, W)`, see `positives.pack_bits`.
        ignored: items of each query that take no rank.
        most: no more items than that are relevant to the queries together.
        depth: as in `rank_codes`.

    Returns:
        offsets and standing, as `rank_codes`, and `(B,)` the number of relevant items of each query.
    """
    n_rows, n_items = len(queries.positive), len(items.positive)
    offsets, relevant = np.zeros(n_rows + 1, np.int64), np.zeros(n_rows, np.int64)
    stand = Standing(*(np.empty(most, np.int64) for _ in range(5)))
    depth = n_items if depth is None else depth
    _rank_tagged((queries, items), words, _ascending(ignored), depth, (offsets, stand, relevant, _scratch(items)))
    return offsets, stand.part(0, int(offsets[-1])), relevant


def _ascending(ignored: Lists) -> Lists:
    return Lists(ignored.offsets, ignored.ids[np.lexsort((ignored.ids, ignored.rows))])


def half_distances(queries: Codes, items: Codes, row: int) -> NDArray[np.uint16]:
    """Hamming distance of one query to all items, `(G,)`, in half bits."""
    halves = np.empty(len(items.positive), np.uint16)
    _measure(queries, items, row, halves)
    return halves


@kernel
def count_by_distance(
    sides: tuple[Codes, Codes], positives: Positives, ignored: Lists
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many items, and how many relevant ones, lie at each distance of every query, `(B, 2 K + 1)` by half bits."""
    queries, items = sides
    n_rows, n_buckets = len(queries.positive), 2 * queries.bits + 1
    every, relevant = np.zeros((n_rows, n_buckets), np.int64), np.zeros((n_rows, n_buckets), np.int64)
    halves = np.empty(len(items.positive), np.uint16)
    for row in range(n_rows):
        _measure(queries, items, row, halves)
        for item in range(len(halves)):
            every[row, halves[item]] += 1
        for place in range(ignored.offsets[row], ignored.offsets[row + 1]):
            every[row, halves[ignored.ids[place]]] -= 1
        for place in range(positives.lists.offsets[row], positives.lists.offsets[row + 1]):
            relevant[row, halves[positives.lists.ids[place]]] += 1
    return every, relevant


@kernel
def _ones(word: np.uint64) -> np.uint64:
    """Number of bits set; the compiler knows this form and uses the processor's own instruction."""
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.uint64(word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@kernel
def _measure(queries: Codes, items: Codes, row: int, halves: NDArray[np.uint16]) -> None:
    """Twice the distance: K less the bits known to both, plus twice those in which they differ."""
    positive, known = queries.positive[row], queries.known[row]
    if queries.whole and items.whole and len(positive) == 1:
        for item in range(len(halves)):
            halves[item] = np.uint64(2) * _ones(positive[0] ^ items.positive[item, 0])
        return
    for item in range(len(halves)):
        half = np.uint64(queries.bits)
        for word in range(len(positive)):
            both = known[word] & items.known[item, word]
            half += np.uint64(2) * _ones((positive[word] ^ items.positive[item, word]) & both) - _ones(both)
        halves[item] = half


@kernel
def _histogram(
    halves: NDArray[np.uint16],
    skip: NDArray[np.int64],
    depth: int,
    out: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> int:
    """Number of items at each distance and at all smaller ones; returns the last distance that begins in the depth."""
    size, start = out
    # Four histograms by turns: equal distances that follow each other need not wait for each other.
    turns = np.zeros((4, len(size)), np.int32)
    size[:] = 0
    whole = len(halves) // 4 * 4
    for item in range(0, whole, 4):
        for turn in range(4):
            turns[turn, halves[item + turn]] += 1
    for item in range(whole, len(halves)):
        turns[0, halves[item]] += 1
    for item in skip:
        size[halves[item]] -= 1
    total, last = 0, 0
    for bucket in range(len(size)):
        for turn in range(4):
            size[bucket] += turns[turn, bucket]
        start[bucket] = total
        last = bucket if total < depth else last
        total += size[bucket]
    return last


class _Scratch(NamedTuple):
    """Memory of one query: its half distances, the histogram of them, and the items that are near enough.

    Attributes:
        halves: `(G,)` twice the distance to each item.
        size: `(2 K + 1,)` ranked items at each half distance.
        start: ranked items that are nearer.
        place: where in the output the next relevant item of each half distance goes.
        seen: ranked items of each half distance that came before, by position.
        within: `(G+1,)` the items near enough, ascending; one place more, for a write that is not kept.
        marks: `(G+1,)` level of each of those, -1 for one that takes no rank.
    """

    halves: NDArray[np.uint16]
    size: NDArray[np.int64]
    start: NDArray[np.int64]
    place: NDArray[np.int64]
    seen: NDArray[np.int64]
    within: NDArray[np.int64]
    marks: NDArray[np.int64]


def _scratch(items: Codes) -> _Scratch:
    n_items, n_buckets = len(items.positive), 2 * items.bits + 1
    size, start, place, seen = (np.zeros(n_buckets, np.int64) for _ in range(4))
    within, marks = (np.zeros(n_items + 1, np.int64) for _ in range(2))
    return _Scratch(np.zeros(n_items, np.uint16), size, start, place, seen, within, marks)


@kernel
def _find_near(
    sides: tuple[Codes, Codes], row: int, skip: NDArray[np.int64], depth: int, scratch: _Scratch
) -> tuple[int, int]:
    """Fill the scratch for one query; returns the last half distance that counts and how many items are within."""
    queries, items = sides
    halves, within, marks = scratch.halves, scratch.within, scratch.marks
    _measure(queries, items, row, halves)
    last = _histogram(halves, skip, depth, (scratch.size, scratch.start))
    n_within = 0
    for item in range(len(halves)):
        within[n_within] = item
        n_within += halves[item] <= last
    marks[:n_within] = 0
    number = 0
    for item in skip:
        while number < n_within and within[number] < item:
            number += 1
        if number < n_within and within[number] == item:
            marks[number] = -1
    return last, n_within


@kernel
def _stand_near(scratch: _Scratch, last: int, n_within: int, end: int, stand: Standing) -> int:
    """Write where the marked items of one query stand, from `end` on; returns the new end."""
    halves, place, seen = scratch.halves, scratch.place, scratch.seen
    place[:], seen[:] = 0, 0
    for number in range(n_within):
        place[halves[scratch.within[number]]] += scratch.marks[number] > 0
    slot = end
    for bucket in range(last + 1):
        members = place[bucket]
        place[bucket] = slot
        slot += members
    for number in range(n_within):
        item, level = scratch.within[number], scratch.marks[number]
        bucket = halves[item]
        if level > 0:
            found = place[bucket]
            place[bucket] += 1
            stand.ids[found], stand.levels[found] = item, level
            stand.above[found], stand.tied[found] = scratch.start[bucket], scratch.size[bucket]
            stand.ranks[found] = scratch.start[bucket] + seen[bucket] + 1
        seen[bucket] += level >= 0
    return slot


@kernel
def _rank_codes(
    sides: tuple[Codes, Codes],
    positives: Positives,
    ignored: Lists,
    depth: int,
    out: tuple[NDArray[np.int64], Standing, _Scratch],
) -> None:
    offsets, stand, scratch = out
    end = 0
    for row in range(len(offsets) - 1):
        skip = ignored.ids[ignored.offsets[row] : ignored.offsets[row + 1]]
        last, n_within = _find_near(sides, row, skip, depth, scratch)
        begin, stop = positives.lists.offsets[row], positives.lists.offsets[row + 1]
        wanted, levels, number = positives.lists.ids[begin:stop], positives.levels[begin:stop], 0
        for target in range(len(wanted)):
            if scratch.halves[wanted[target]] <= last:
                while scratch.within[number] < wanted[target]:
                    number += 1
                if scratch.marks[number] == 0:
                    scratch.marks[number] = levels[target]
        end = _stand_near(scratch, last, n_within, end, stand)
        offsets[row + 1] = end


@kernel
def _rank_tagged(
    sides: tuple[Codes, Codes],
    words: tuple[NDArray[np.uint64], NDArray[np.uint64]],
    ignored: Lists,
    depth: int,
    out: tuple[NDArray[np.int64], Standing, NDArray[np.int64], _Scratch],
) -> None:
    offsets, stand, relevant, scratch = out
    mine, theirs = words
    first_word, end = theirs[:, 0].copy(), 0
    for row in range(len(offsets) - 1):
        skip = ignored.ids[ignored.offsets[row] : ignored.offsets[row + 1]]
        last, n_within = _find_near(sides, row, skip, depth, scratch)
        count = 0
        if mine.shape[1] == 1:
            for item in range(len(first_word)):
                count += (mine[row, 0] & first_word[item]) != 0
        else:
            for item in range(len(theirs)):
                count += shares_tag(mine, theirs, row, item)
        for item in skip:
            count -= shares_tag(mine, theirs, row, item)
        relevant[row] = count
        one = mine.shape[1] == 1
        for number in range(n_within):
            item = scratch.within[number]
            found = (mine[row, 0] & first_word[item]) != 0 if one else shares_tag(mine, theirs, row, item) > 0
            # An item that takes no rank keeps its -1.
            scratch.marks[number] += found & (scratch.marks[number] == 0)
        end = _stand_near(scratch, last, n_within, end, stand)
        offsets[row + 1] = end
