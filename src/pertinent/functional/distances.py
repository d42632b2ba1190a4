"""Distances between embeddings in full precision, whatever autocast says.

Letters: Q queries, B items, N pairs, D dim.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pertinent.functional.scores import dot_scores, widen

EPSILON = 1e-6
"""Added to every difference of paired vectors, as torch.nn.functional.pairwise_distance does."""


def distances(queries: Tensor, items: Tensor, p: float = 2.0) -> Tensor:
    """Lp distance of every query to every item, `(Q, B)` float32 or wider; the gradient at distance 0 is 0.

    For p = 2 it is one matrix product, exact to about 3e-4 of the norms in float32 where vectors nearly coincide.

    Args:
        queries: `(Q, D)` floats of any precision.
        items: `(B, D)` floats.
        p: norm.

    Raises:
        InputError: not two matrices of the same width.
    """
    products = dot_scores(queries, items)
    with torch.autocast(queries.device.type, enabled=False):
        queries, items = queries.to(products.dtype), items.to(products.dtype)
        if p != 2:
            return torch.cdist(queries, items, p)
        squares = queries.square().sum(1)[:, None] + items.square().sum(1)[None, :] - 2 * products
        apart = squares > 0
        return torch.where(apart, torch.where(apart, squares, 1).sqrt(), 0)


def paired_distances(left: Tensor, right: Tensor, p: float = 2.0) -> Tensor:
    """Lp distance |left - right + 1e-6| of each pair of rows, `(N,)` float32 or wider.

    Args:
        left: `(N, D)` floats of any precision.
        right: `(N, D)` floats.
        p: norm.
    """
    with torch.autocast(left.device.type, enabled=False):
        return torch.nn.functional.pairwise_distance(widen(left), widen(right), p, EPSILON)
