"""Mined pairs and triplets, as pytorch-metric-learning's miners hand them over."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pertinent.errors import InputError


def as_pairs(loss: str, indices_tuple: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Anchor, positive, anchor, negative, from pairs or from triplets.

    Raises:
        InputError: neither three nor four vectors of positions.
    """
    parts = tuple(indices_tuple)
    if len(parts) == 3:
        parts = (parts[0], parts[1], parts[0], parts[2])
    if len(parts) != 4 or any(part.ndim != 1 or part.is_floating_point() for part in parts):
        raise InputError(
            f"{loss} takes indices_tuple as (anchor, positive, negative) or (anchor, positive, anchor, negative), "
            "each a vector of positions"
        )
    if len(parts[0]) != len(parts[1]) or len(parts[2]) != len(parts[3]):
        raise InputError(f"{loss} got an indices_tuple whose vectors differ in length: {[len(part) for part in parts]}")
    first, near, second, far = (part.long() for part in parts)
    return first, near, second, far
