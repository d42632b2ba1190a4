"""Ranks of relevant items by Hamming distance: codes packed into words, and counting instead of sorting.

The distance of two codes of K bits is (K - a.b) / 2, which can only be 0, 1/2, 1, ... K, so a histogram of the distances
tells every rank. Half distances come from outputs that are exactly 0: their sign is 0.

Letters: N codes, W words of 64 bits, Q queries, G items, K bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError
from pertinent.functional.jit import kernel
from pertinent.functional.positives import Lists, Positives
from pertinent.functional.similarity import as_vectors, widen
from pertinent.functional.sorting import Standing

PACKED_ROWS = 65536


class Codes(NamedTuple):
    """Signs of N real outputs, packed.

    Attributes:
        positive: `(N, W)` uint64, a bit where the output is above 0.
        known: `(N, W)` uint64, a bit where it is not 0.
        bits: K.
    """

    positive: NDArray[np.uint64]
    known: NDArray[np.uint64]
    bits: int

    @classmethod
    def of(cls, outputs: Any, name: str) -> Codes:
        """Pack real outputs or bool.

        Args:
            outputs: `(N, K)` array, memory map or tensor; bool counts as -1 and 1.
            name: what to call them in a message.

        Raises:
            InputError: another shape or type, NaN.
        """
        raw = as_vectors(outputs, name)
        parts = [_pack(raw[first : first + PACKED_ROWS], name, first) for first in range(0, len(raw), PACKED_ROWS)]
        positive, known = (np.concatenate([part[plane] for part in parts]) for plane in (0, 1))
        return cls(positive, known, raw.shape[1])

    def cut(self, start: int, stop: int) -> Codes:
        """The codes `start..stop-1`."""
        return Codes(self.positive[start:stop], self.known[start:stop], self.bits)


def _pack(raw: NDArray[Any], name: str, first: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    x = widen(raw, np.float64 if raw.dtype.itemsize > 4 else np.float32)
    missing = np.isnan(x).any(1)
    if missing.any():
        row = first + int(np.flatnonzero(missing)[0])
        raise InputError(f"{name} row {row} holds NaN; the encoder or the input of that row is at fault")
    words = -(-x.shape[1] // 64)
    planes = []
    for plane in (x > 0, x != 0):
        packed = np.zeros((len(x), 8 * words), np.uint8)
        tight = np.packbits(plane, axis=1)
        packed[:, : tight.shape[1]] = tight
        planes.append(packed.view(np.uint64))
    return planes[0], planes[1]


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
    left_out = Lists(ignored.offsets, ignored.ids[np.lexsort((ignored.ids, ignored.rows))])
    depth = len(items.positive) if depth is None else depth
    _rank_codes((queries, items), positives, left_out, depth, (offsets, stand))
    return offsets, stand.part(0, int(offsets[-1]))


def half_distances(queries: Codes, items: Codes, row: int) -> NDArray[np.uint16]:
    """Hamming distance of one query to all items, `(G,)`, in half bits."""
    halves = np.empty(len(items.positive), np.uint16)
    _measure(queries, items, row, halves)
    return halves


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
    for item in range(len(halves)):
        half = np.uint64(queries.bits)
        for word in range(len(positive)):
            both = known[word] & items.known[item, word]
            half += np.uint64(2) * _ones((positive[word] ^ items.positive[item, word]) & both) - _ones(both)
        halves[item] = half


@kernel
def _rank_codes(
    sides: tuple[Codes, Codes],
    positives: Positives,
    ignored: Lists,
    depth: int,
    out: tuple[NDArray[np.int64], Standing],
) -> None:
    queries, items = sides
    out_offsets, stand = out
    n_items, end = len(items.positive), 0
    buckets = np.empty(n_items, np.uint16)
    n_buckets = 2 * queries.bits + 1
    size, start = np.zeros(n_buckets, np.int64), np.zeros(n_buckets, np.int64)
    place, seen = np.zeros(n_buckets, np.int64), np.zeros(n_buckets, np.int64)
    offsets, ids, levels = positives.lists.offsets, positives.lists.ids, positives.levels
    for row in range(len(queries.positive)):
        _measure(queries, items, row, buckets)
        first, last = offsets[row], offsets[row + 1]
        size[:] = 0
        for item in range(n_items):
            size[buckets[item]] += 1
        skip = ignored.ids[ignored.offsets[row] : ignored.offsets[row + 1]]
        for item in skip:
            size[buckets[item]] -= 1
        total = 0
        for bucket in range(n_buckets):
            start[bucket] = total
            total += size[bucket]
        # Room in the output for the relevant items of each bucket, nearest bucket first.
        place[:] = 0
        for target in range(first, last):
            place[buckets[ids[target]]] += 1
        room = end
        for bucket in range(n_buckets):
            members = place[bucket] if start[bucket] < depth else 0
            place[bucket] = room
            room += members
        seen[:] = 0
        item, skipped = 0, 0
        for target in range(first, last):
            bucket = buckets[ids[target]]
            if start[bucket] >= depth:
                continue
            while item < ids[target]:
                seen[buckets[item]] += 1
                item += 1
            while skipped < len(skip) and skip[skipped] < ids[target]:
                seen[buckets[skip[skipped]]] -= 1
                skipped += 1
            slot = place[bucket]
            place[bucket] += 1
            stand.ids[slot], stand.levels[slot] = ids[target], levels[target]
            stand.above[slot], stand.tied[slot] = start[bucket], size[bucket]
            stand.ranks[slot] = start[bucket] + seen[bucket] + 1
        end = room
        out_offsets[row + 1] = end
