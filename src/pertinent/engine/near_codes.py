"""Every item of a store whose code differs from a query's in few bits: near duplicates, or a search by radius."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pertinent.engine.measure import queries_of
from pertinent.errors import InputError
from pertinent.functional.hamming_search import codes_within
from pertinent.functional.neighbours import blocks
from pertinent.functional.packed import PackedCodes, pack_signs
from pertinent.store import EmbeddingStore

# Queries whose finds are in memory together.
ROWS = 1024


@dataclass(frozen=True)
class NearItems:
    """What lies within a radius of one query.

    Attributes:
        query: its id.
        ids: of the items, nearest first; equal distances by position.
        distances: in bits.
    """

    query: str
    ids: list[str]
    distances: list[int]


def items_within(store: EmbeddingStore, radius: int, queries: EmbeddingStore | None = None) -> Iterator[NearItems]:
    """Items of a store within a Hamming radius of each query, by the signs of their vectors.

    Args:
        store: the items.
        radius: in bits, at least 0.
        queries: a store of queries; None takes those of the store itself, its items where it has none. An item is not
            near itself.

    Raises:
        InputError: a radius below 0, or queries of another number of bits.
    """
    if radius < 0:
        raise InputError(f"radius must be at least 0 bits, got {radius}")
    asked = store if queries is None else queries
    if asked.dim != store.dim:
        raise InputError(
            f"the queries in {asked.folder} have {asked.dim} bits, the items in {store.folder} {store.dim}"
        )
    return _found(store, radius, asked, among_themselves=queries is None)


def _found(store: EmbeddingStore, radius: int, asked: EmbeddingStore, *, among_themselves: bool) -> Iterator[NearItems]:
    items = PackedCodes.of(pack_signs(store.items), store.dim)
    rows, ids, names = queries_of(asked), store.ids, asked.ids
    for some in blocks(len(rows), ROWS):
        found = codes_within(PackedCodes.of(pack_signs(asked.vectors[rows[some]]), store.dim), items, radius)
        for number, row in enumerate(rows[some].tolist()):
            part = slice(found.offsets[number], found.offsets[number + 1])
            hits = zip(found.positions[part].tolist(), found.distances[part].tolist(), strict=True)
            kept = [hit for hit in hits if not (among_themselves and hit[0] == row)]
            yield NearItems(names[row], [ids[place] for place, _ in kept], [distance for _, distance in kept])
