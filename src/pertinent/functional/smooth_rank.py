"""Ranks of a query's positives with a gradient in the scores.

rank_j counts the items that score at least as high as j. Bounded (ROADMAP, SupRank): less relevant items k by a smooth
step, which is never too small, the others by the true one. Sigmoid (Smooth-AP): all items by a sigmoid.

Letters: Q queries, B items, P positives of all queries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pertinent.errors import InputError
from pertinent.functional.rank_sums import Block
from pertinent.functional.smooth_step import Sigmoid, SmoothStep


def smooth_rank(block: Block, step: SmoothStep | Sigmoid) -> Tensor:
    """Rank of each positive, `(P,)`, from 1 on: bounded for a `SmoothStep`, all sigmoids for a `Sigmoid`."""
    if isinstance(step, SmoothStep):
        return bounded_rank(block, step)
    # The pair (j, j) adds 1/2 to the sum.
    return 0.5 + block.sums(step.pieces(), "any").sum(1)


def bounded_rank(block: Block, step: SmoothStep) -> Tensor:
    """Rank of each positive, `(P,)`: less relevant items by the smooth step, the others counted without gradient."""
    smooth = block.sums(step.pieces(), "lower")
    return 1 + torch.where(block.level < block.own, smooth, block.at_least).sum(1)


def check_levels(scores: Tensor, levels: Tensor, top: int | None = None) -> None:
    """Raise InputError unless levels belong to the scores and go up to `top` at most, where that is given.

    The values are looked at on the CPU alone: on a GPU that would make the host wait.
    """
    if scores.ndim != 2 or levels.shape != scores.shape:
        raise InputError(f"scores and levels must both be (Q, B), got {tuple(scores.shape)} and {tuple(levels.shape)}")
    if top is not None and levels.device.type == "cpu" and levels.numel() and int(levels.max()) > top:
        raise InputError(f"levels go up to {int(levels.max())} but only 0..{top} are known")
