"""Normalised discounted cumulative gain (NDCG) with a gradient.

NDCG_q = sum_{j relevant} (2^level_j - 1) / log2(1 + rank_j), divided by the same sum of the ideal order.

Letters: Q queries, B items, L levels.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from pertinent.functional.rank_sums import Block
from pertinent.functional.relevance import level_counts
from pertinent.functional.rowwise import by_rows
from pertinent.functional.smooth_rank import check_levels, smooth_rank
from pertinent.functional.smooth_step import Sigmoid, SmoothStep


def smooth_ndcg(scores: Tensor, levels: Tensor, top: int, step: SmoothStep | Sigmoid) -> Tensor:
    """NDCG of each query on smooth ranks, differentiable in the scores (SupNDCG and SmoothNDCG of SupRank).

    Args:
        scores: `(Q, B)` floats, larger is nearer; narrower ones are widened to float32.
        levels: `(Q, B)` integers: 0 unrelated, 1..L better, -1 ignore. A query's own item is an item like any other.
        top: the highest level L.
        step: `SmoothStep` for ranks from above, `Sigmoid` for sigmoids throughout.

    Returns:
        `(Q,)` in float32 or wider, 1 without gradient for queries that have nothing relevant.

    Raises:
        InputError: shapes do not match, or a level is above L.
    """
    check_levels(scores, levels, top)
    return by_rows(partial(_ndcg, top=top, step=step), scores, levels)


def _ndcg(scores: Tensor, levels: Tensor, top: int, step: SmoothStep | Sigmoid) -> Tensor:
    block = Block(scores, levels, top)
    gain = 2.0 ** torch.arange(top + 1, dtype=scores.dtype, device=scores.device) - 1
    ideal = _ideal(level_counts(levels, top), gain)
    found = block.per_query(gain[block.own[:, 0]] / torch.log2(1 + smooth_rank(block, step)))
    return torch.where(ideal > 0, found / torch.where(ideal > 0, ideal, 1), 1)


def _ideal(counts: Tensor, gain: Tensor) -> Tensor:
    """Discounted gain `(Q,)` of items ordered by level, best first, from the levels' populations `(Q, L+1)`."""
    best_first = counts.flip(1)[:, :-1]
    depth = int(best_first.sum(1).max()) if counts.numel() else 0
    discount = 1 / torch.log2(torch.arange(2, depth + 2, dtype=gain.dtype, device=gain.device))
    summed = torch.nn.functional.pad(discount.cumsum(0), (1, 0))
    ends = best_first.cumsum(1)
    return ((summed[ends] - summed[ends - best_first]) * gain.flip(0)[:-1]).sum(1)
