"""Vectors of unit length, and the exact nearest of them, tile by tile from memory or from disk.

Letters: N vectors, Q queries, G items, K kept, D dim.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pertinent.functional.similarity import Floats, tile_rows, widen

NOBODY = -1
"""Position of a query that is none of the items, and of a place in a list that holds no item."""

SCORE_BYTES = 64 * 2**20

Found = tuple[Floats, NDArray[np.int64]]
"""Scores and positions of what was found for each query, `(Q, K)` each, best first."""


def wide(x: NDArray[Any]) -> Floats:
    """The same numbers in float32, or in float64 where float32 would lose digits."""
    return widen(x, np.float64 if x.dtype.kind == "i" or x.dtype.itemsize >= 8 else np.float32)


def unit_rows(x: NDArray[Any]) -> Floats:
    """Each row divided by its length, `(N, D)` in float32 or wider; a row of zeros stays zero."""
    x = wide(x)
    # In float64, so that no vector is too long or too short to be squared.
    lengths = np.sqrt(np.einsum("nd,nd->n", x, x, dtype=np.float64))[:, None]
    unit: Floats = np.divide(x, np.where(lengths > 0, lengths, 1), out=np.empty_like(x), casting="same_kind")
    return unit


def blocks(n_rows: int, size: int) -> Iterator[slice]:
    """Slices of `size` rows that cover `n_rows`."""
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def nearest(queries: NDArray[Any], items: NDArray[Any], k: int, own: NDArray[np.int64] | None = None) -> Found:
    """The k items of the largest cosine with each query, best first; equal cosines by position.

    Args:
        queries: `(Q, D)`.
        items: `(G, D)`, may be a memory map; read once for each block of queries.
        k: how many; at most G, or G - 1 where a query is one of the items.
        own: `(Q,)` position of each query among the items, -1 where it is none of them; it is not its own neighbour.

    Returns:
        cosines and positions, `(Q, K)` each.
    """
    own = np.full(len(queries), NOBODY) if own is None else own
    k = max(0, min(k, len(items) - bool((own >= 0).any())))
    places = np.empty((len(queries), k), np.int64)
    scores = np.empty((len(queries), k), wide(queries[:0]).dtype)
    size = tile_rows(max(items.shape[1], 1), 16384)
    if k:
        for rows in blocks(len(queries), max(1, SCORE_BYTES // (8 * (size + k)))):
            scores[rows], places[rows] = _nearest(unit_rows(queries[rows]), items, k, own[rows], size)
    return scores, places


def _nearest(queries: Floats, items: NDArray[Any], k: int, own: NDArray[np.int64], size: int) -> Found:
    query, self_position = torch.from_numpy(queries), torch.from_numpy(own)
    scores = query.new_empty(len(query), 0)
    places = torch.empty(len(query), 0, dtype=torch.int64)
    for tile in blocks(len(items), size):
        block = torch.from_numpy(unit_rows(items[tile])).to(query.dtype)
        product = query @ block.T
        inside = ((self_position >= tile.start) & (self_position < tile.stop)).nonzero().flatten()
        product[inside, self_position[inside] - tile.start] = -torch.inf
        values, columns = top_k(product, min(k, product.shape[1]))
        scores, places = torch.cat([scores, values], dim=1), torch.cat([places, columns + tile.start], dim=1)
        scores, places = in_order(scores, places, k)
    return scores.numpy(), places.numpy()


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest scores of each row and their columns, `(Q, K)`; of those equal at the cut the first columns."""
    values, columns = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    crowded = values[:, -1] == values[:, k - 1] if values.shape[1] > k else torch.zeros(0)
    values, columns = values[:, :k].clone(), columns[:, :k].clone()
    for row in crowded.nonzero().flatten().tolist():
        order = scores[row].argsort(descending=True, stable=True)[:k]
        values[row], columns[row] = scores[row, order], order
    return values, columns


def in_order(scores: Tensor, places: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best places of each row, `(Q, K)`, best first; equal scores by place."""
    by_place = places.argsort(dim=1)
    scores, places = scores.gather(1, by_place), places.gather(1, by_place)
    by_score = scores.argsort(dim=1, descending=True, stable=True)[:, :k]
    return scores.gather(1, by_score), places.gather(1, by_score)
