"""Expansion: a vector joined by its neighbours' (query expansion, database augmentation).

Letters: Q queries, G items, K neighbours, D dim.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError
from pertinent.functional.neighbours import blocks, nearest, unit_rows, wide
from pertinent.functional.similarity import Floats

NEIGHBOUR_BYTES = 64 * 2**20


def expand(queries: NDArray[Any], items: NDArray[Any], positions: NDArray[np.int64], alpha: float = 3.0) -> Floats:
    """Alpha query expansion: the query and its neighbours, each weighted by its cosine to the power alpha, summed.

    alpha = 0 is average query expansion (Chum et al., ICCV 2007), alpha = 3 the usual choice (Radenovic et al., TPAMI
    2018). A negative cosine keeps its sign, so that a dissimilar neighbour is subtracted whatever alpha is.

    Args:
        queries: `(Q, D)`; compared and summed at length 1.
        items: `(G, D)`, may be a memory map; only the neighbours are read.
        positions: `(Q, K)` neighbours of each query; -1 is none.
        alpha: power of the weights, at least 0.

    Returns:
        `(Q, D)` of length 1, float32 or wider; the queries as they are when K is 0.

    Raises:
        InputError: a negative alpha.
    """
    if not alpha >= 0:
        raise InputError(f"alpha must be at least 0, got {alpha}")
    if not positions.shape[1]:
        return wide(queries)
    expanded = np.empty(queries.shape, np.result_type(wide(queries[:0]), wide(items[:0])))
    size = max(1, NEIGHBOUR_BYTES // (8 * positions.shape[1] * queries.shape[1]))
    for rows in blocks(len(queries), size):
        expanded[rows] = _expand(queries[rows], items, positions[rows], alpha)
    return expanded


def augment(items: NDArray[Any], k: int, alpha: float = 3.0, out: Floats | None = None) -> Floats:
    """Database augmentation: every item is replaced by its own expansion (Turcot and Lowe, 2009; Arandjelovic, 2012).

    Args:
        items: `(G, D)`, may be a memory map; an item is not its own neighbour.
        k: neighbours joined to each.
        alpha: as for `expand`.
        out: `(G, D)` memory to write into, such as a memory map; not that of `items`.
    """
    out = np.empty(items.shape, wide(items[:0]).dtype) if out is None else out
    for rows in blocks(len(items), 1024):
        some = items[rows]
        _, positions = nearest(some, items, k, own=np.arange(rows.start, rows.stop))
        out[rows] = expand(some, items, positions, alpha)
    return out


def _expand(queries: NDArray[Any], items: NDArray[Any], positions: NDArray[np.int64], alpha: float) -> Floats:
    query = unit_rows(queries)
    near = unit_rows(items[positions.ravel()]).reshape(*positions.shape, -1)
    cosines = np.einsum("qd,qkd->qk", query, near, dtype=np.float64)
    weights = np.sign(cosines) * np.abs(cosines) ** alpha if alpha else np.ones_like(cosines)
    weights[positions < 0] = 0.0
    return unit_rows(query + np.einsum("qk,qkd->qd", weights, near, dtype=np.float64))
