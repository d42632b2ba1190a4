"""Regional pooling: the rigid grid of R-MAC over a feature map (B, C, H, W), and the sum of its normalised regions."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pertinent.errors import InputError

Box = tuple[int, int, int, int]
OVERLAP = 0.4
MOST_STEPS = 7


def unit(vectors: Tensor, eps: float = 1e-6) -> Tensor:
    """Divide vectors `(..., D)` by their length plus `eps`, so that a zero vector stays zero."""
    norm: Tensor = vectors.norm(dim=-1, keepdim=True)
    return vectors / (norm + eps)


@functools.lru_cache(maxsize=1024)
def rmac_regions(height: int, width: int, levels: int = 3) -> tuple[Box, ...]:
    """Boxes of the R-MAC grid: the whole map, then at each level squares that overlap by about 40 %.

    Tolias, Sicre and Jegou, ICLR 2016, section 3.2, on the places where cirtorch puts them: its arithmetic is that of
    float32, and so is this one.

    Args:
        height: H of the map, in cells.
        width: W of the map, in cells.
        levels: number of scales; level l has squares of side 2 min(H, W) / (l + 1).

    Returns:
        `(y0, x0, y1, x1)` of each region, the end excluded. On small maps a region may come twice; it counts twice.

    Raises:
        InputError: a size below 1.
    """
    if min(height, width, levels) < 1:
        raise InputError(f"regions need a map of at least 1 x 1 and one level, got {height} x {width}, {levels} levels")
    extra = _extra_steps(height, width)
    boxes = [(0, 0, height, width)]
    for level in range(1, levels + 1):
        side = 2 * min(height, width) // (level + 1)
        if side == 0:
            continue
        tops = _starts(height, side, level + (extra if height > width else 0))
        lefts = _starts(width, side, level + (extra if width > height else 0))
        boxes += [(top, left, top + side, left + side) for top, left in itertools.product(tops, lefts)]
    return tuple(boxes)


def regional_pool(features: Tensor, pool: Callable[[Tensor], Tensor], levels: int = 3) -> Tensor:
    """Pool every region of the grid: `(B, C, H, W)` to `(B, R, C)`, in the order of `rmac_regions`."""
    boxes = rmac_regions(features.shape[2], features.shape[3], levels)
    return torch.stack([pool(features[:, :, top:bottom, left:right]) for top, left, bottom, right in boxes], dim=1)


def region_sum(vectors: Tensor, project: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Add up the regions of each picture, every one at unit length: `(B, R, C)` to `(B, D)`.

    With max pooling this is R-MAC; with `project`, a whitening of each region, it is the R-MAC of Gordo et al., IJCV
    2017. The sum itself is not normalised.

    Args:
        vectors: pooled regions, as `regional_pool` gives them.
        project: from `(B, R, C)` to `(B, R, D)`; its result is brought to unit length again.
    """
    vectors = unit(vectors)
    return (vectors if project is None else unit(project(vectors))).sum(dim=1)


def _extra_steps(height: int, width: int) -> int:
    # How many regions more than on the short side fit on the long side, for the wanted overlap.
    short = min(height, width)
    # By way of the reciprocal, which decides a tie between 5 and 6 steps on a map of 11 x 47 as cirtorch does.
    gaps = np.float32(1) / np.arange(1, MOST_STEPS, dtype=np.float32) * np.float32(max(height, width) - short)
    overlap = (short**2 - short * gaps) / np.float32(short**2)
    return int(np.abs(overlap - np.float32(OVERLAP)).argmin()) + 1


def _starts(length: int, side: int, count: int) -> list[int]:
    gap = np.float32((length - side) / (count - 1) if count > 1 else 0.0)
    half = math.floor(side / 2 - 1)
    return [math.floor(np.float32(half) + np.float32(number) * gap) - half for number in range(count)]
