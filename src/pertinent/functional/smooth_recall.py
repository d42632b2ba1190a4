"""Recall at K with a gradient: how many of a query's relevant items are among its first K.

Recall@K_q = sum_{j relevant} sigma((K - rank_j) / temperature) / min(K, R), averaged over the given K.

Letters: Q queries, B items, R relevant items of a query.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from pertinent.errors import InputError
from pertinent.functional.rank_sums import Block
from pertinent.functional.rowwise import by_rows
from pertinent.functional.smooth_rank import check_levels, smooth_rank
from pertinent.functional.smooth_step import Sigmoid, SmoothStep


def smooth_recall(
    scores: Tensor, levels: Tensor, at: Sequence[int], temperature: float, step: SmoothStep | Sigmoid
) -> Tensor:
    """Mean recall at some K of each query on smooth ranks, differentiable in the scores (Patel et al., CVPR 2022).

    Args:
        scores: `(Q, B)` floats, larger is nearer; narrower ones are widened to float32.
        levels: `(Q, B)` integers: 0 unrelated, 1 relevant, -1 ignore (give the query's own item -1).
        at: the K, each at least 1.
        temperature: of the sigmoid that says whether a rank is within K, in ranks.
        step: `SmoothStep` for ranks from above, `Sigmoid` for sigmoids throughout.

    Returns:
        `(Q,)` in float32 or wider, 1 without gradient for queries that have nothing relevant.

    Raises:
        InputError: shapes do not match, a level is above 1, no K or one below 1, or temperature not positive.
    """
    check_levels(scores, levels, 1)
    check_depths(at, temperature)
    return by_rows(partial(_recall, at=tuple(at), temperature=temperature, step=step), scores, levels)


def check_depths(at: Sequence[int], temperature: float) -> None:
    """Raise InputError unless there is a K, all are at least 1, and the temperature is positive."""
    if not at or min(at) < 1:
        raise InputError(f"at needs one or more K of at least 1, got {tuple(at)}")
    if not temperature > 0:
        raise InputError(f"temperature must be positive, got {temperature}")


def _recall(
    scores: Tensor, levels: Tensor, at: tuple[int, ...], temperature: float, step: SmoothStep | Sigmoid
) -> Tensor:
    block = Block(scores, levels, 1)
    depths = scores.new_tensor(at)
    relevant = (levels > 0).sum(1)
    most = torch.minimum(relevant[:, None], depths).clamp(min=1)
    within = torch.sigmoid((depths - smooth_rank(block, step)[:, None]) / temperature)
    value = block.per_query((within / most[block.places[0]]).mean(1))
    return torch.where(relevant > 0, value, 1)
