"""Exact search: every query against every vector, block by block, best k kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pertinent.functional.neighbours import in_order, top_k

__all__ = ["ExactIndex"]

# 64 MB of float32 vectors of 256 numbers: large enough for a fast product, small enough for any machine.
BLOCK = 65536


class ExactIndex:
    """Exact nearest neighbours by blocks of a matrix product; finds every true neighbour, costs time linear in N.

    Args:
        vectors: `(N, D)` float32, may be memory-mapped.
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self.vectors = vectors

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The k items of the largest dot product with each query, best first; equal scores by position.

        Args:
            queries: `(Q, D)` float32.
            k: how many; at most N come back.

        Returns:
            scores `(Q, k)` float32 and positions `(Q, k)` int64.
        """
        query = torch.from_numpy(np.ascontiguousarray(queries, dtype=np.float32))
        k = min(k, len(self.vectors))
        scores = torch.empty(len(query), 0)
        places = torch.empty(len(query), 0, dtype=torch.int64)
        for start in range(0, len(self.vectors), BLOCK):
            block = torch.from_numpy(np.array(self.vectors[start : start + BLOCK], dtype=np.float32))
            product = query @ block.T
            values, columns = top_k(product, min(k, product.shape[1]))
            scores = torch.cat([scores, values], dim=1)
            places = torch.cat([places, columns + start], dim=1)
            scores, places = in_order(scores, places, k)
        return scores.numpy(), places.numpy()

    def state(self) -> dict[str, Any]:
        """Nothing but the vectors is needed."""
        return {}
