"""Dot products of a mini-batch in full precision, whatever autocast says.

Letters: Q queries, B items, D dim.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pertinent.errors import InputError


def widen(values: Tensor) -> Tensor:
    """Return `values` in float32 when they are narrower (float16, bfloat16), else unchanged.

    Near a score of 1 a float16 step is 5e-4, a twentieth of the usual temperature: too coarse to rank by.
    """
    return values if values.dtype in (torch.float32, torch.float64) else values.to(torch.float32)


def dot_scores(queries: Tensor, items: Tensor) -> Tensor:
    """Dot product of every query with every item, in float32 or wider even inside autocast.

    Args:
        queries: `(Q, D)` floats of any precision.
        items: `(B, D)` floats.

    Returns:
        `(Q, B)` float32, or float64 where both are float64.

    Raises:
        InputError: not two matrices of the same width.
    """
    if queries.ndim != 2 or items.ndim != 2 or queries.shape[1] != items.shape[1]:
        raise InputError(
            f"embeddings must be (Q, D) and (B, D) with one D, got {tuple(queries.shape)} and {tuple(items.shape)}"
        )
    with torch.autocast(queries.device.type, enabled=False):
        queries, items = widen(queries), widen(items)
        dtype = torch.promote_types(queries.dtype, items.dtype)
        return queries.to(dtype) @ items.to(dtype).T
