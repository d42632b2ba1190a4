"""Hierarchical average precision (H-AP) with a gradient: the surrogates that HAPPIER and SupRank train on.

rank_j  = 1     + sum_{k != j} f(s_k - s_j)                    f smooth for less relevant k, else the step H, H(0) = 1
hrank_j = rel_j + sum_{k != j} g(s_k - s_j) min(rel_j, rel_k)  g = H, or a ramp for more relevant k
H-AP_q  = sum_{j relevant} (hrank_j / rank_j) / sum_k rel_k    H carries no gradient

Letters: Q queries, B items, P positives of all queries, L levels.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from pertinent.functional.rank_sums import Block
from pertinent.functional.rowwise import by_rows
from pertinent.functional.smooth_rank import bounded_rank, check_levels
from pertinent.functional.smooth_step import Ramp, Sigmoid, SmoothStep


def hierarchical_ap(
    scores: Tensor, levels: Tensor, table: Tensor, step: SmoothStep | None = None, ramp: Ramp | None = None
) -> Tensor:
    """Smooth H-AP of each query, differentiable in the scores (HAPPIER, Ramzi et al., ECCV 2022).

    With one level it is SupAP of ROADMAP. Memory is O(Q B).

    Args:
        scores: `(Q, B)` floats, larger is nearer; narrower ones are widened to float32.
        levels: `(Q, B)` integers: 0 unrelated, 1..L better, -1 ignore. A query's own item is an item like any other.
        table: `(Q, L+1)` relevance of each level, as made by `relevance.level_weights`.
        step: smooth step for items less relevant than j; HAPPIER's by default.
        ramp: smooth H-rank for items more relevant than j; None counts them by the plain step.

    Returns:
        `(Q,)` in float32 or wider, 1 without gradient for queries that have nothing relevant.

    Raises:
        InputError: shapes do not match, or a level is above L.
    """
    check_levels(scores, levels, table.shape[-1] - 1)
    return by_rows(partial(_bounded, step=step or SmoothStep(), ramp=ramp), scores, levels, table)


def smooth_hierarchical_ap(scores: Tensor, levels: Tensor, table: Tensor, tau: float = 0.01) -> Tensor:
    """H-AP with a sigmoid for every step, in rank and in H-rank; Smooth-AP (Brown et al., ECCV 2020) when L = 1.

    Args:
        scores: `(Q, B)` floats, larger is nearer.
        levels: `(Q, B)` integers: 0 unrelated, 1..L better, -1 ignore.
        table: `(Q, L+1)` relevance of each level.
        tau: temperature of the sigmoid.

    Returns:
        `(Q,)`, 1 without gradient for queries that have nothing relevant.

    Raises:
        InputError: shapes do not match, a level is above L, or tau is not positive.
    """
    check_levels(scores, levels, table.shape[-1] - 1)
    return by_rows(partial(_all_sigmoid, step=Sigmoid(tau)), scores, levels, table)


def _bounded(scores: Tensor, levels: Tensor, table: Tensor, step: SmoothStep, ramp: Ramp | None) -> Tensor:
    block = Block(scores, levels, table.shape[1] - 1)
    own_relevance, shared = _relevance(block, table)
    above = block.at_least
    if ramp is not None:
        above = torch.where(block.level > block.own, block.sums(ramp.pieces(), "higher"), above)
    return _mean_ratio(block, own_relevance + (shared * above).sum(1), bounded_rank(block, step), own_relevance)


def _all_sigmoid(scores: Tensor, levels: Tensor, table: Tensor, step: Sigmoid) -> Tensor:
    """The pair (j, j) adds 1/2 to the sums and no gradient, so both ranks begin at 1 - 1/2."""
    block = Block(scores, levels, table.shape[1] - 1)
    own_relevance, shared = _relevance(block, table)
    sums = block.sums(step.pieces(), "any")
    return _mean_ratio(block, own_relevance / 2 + (shared * sums).sum(1), 0.5 + sums.sum(1), own_relevance)


def _relevance(block: Block, table: Tensor) -> tuple[Tensor, Tensor]:
    """rel_j of each positive, `(P,)`, and min(rel_j, rel_k) for k of each level, `(P, L+1)`."""
    relevance = table.to(block.scores.dtype)[block.places[0]]
    own = relevance.gather(1, block.own)
    return own[:, 0], torch.minimum(relevance, own)


def _mean_ratio(block: Block, h_rank: Tensor, rank: Tensor, own_relevance: Tensor) -> Tensor:
    """H-AP of each query; a level may be worth nothing, and then its positives count for nothing."""
    total = block.per_query(own_relevance)
    value = block.per_query(torch.where(own_relevance > 0, h_rank / rank, 0))
    return torch.where(total > 0, value / torch.where(total > 0, total, 1), 1)
