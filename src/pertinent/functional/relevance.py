"""Levels and graded relevance from labels: who is how relevant to whom.

Letters: Q queries, G gallery items, L levels, C classes. A level is an integer: 0 unrelated, 1..L better, -1 ignore.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from pertinent.errors import InputError

Weighting = Literal["pop", "map"]


def tree_levels(query_labels: Tensor, item_labels: Tensor) -> Tensor:
    """Number of equal label columns of every pair; a label of -1 (unlabelled) equals nothing.

    Args:
        query_labels: `(Q, L)` or `(Q,)` integers, column 0 finest.
        item_labels: `(G, L)` or `(G,)` integers.

    Returns:
        `(Q, G)` int64 in 0..L.
    """
    query_labels, item_labels = _columns(query_labels), _columns(item_labels)
    if query_labels.shape[1] != item_labels.shape[1]:
        raise InputError(
            f"queries have {query_labels.shape[1]} label columns and items {item_labels.shape[1]}; give both the same"
        )
    levels = torch.zeros(len(query_labels), len(item_labels), dtype=torch.int64, device=item_labels.device)
    for column in range(query_labels.shape[1]):
        ours, theirs = query_labels[:, column, None], item_labels[None, :, column]
        levels += (ours == theirs) & (ours >= 0)
    return levels


def tag_levels(query_tags: Tensor, item_tags: Tensor, graded: bool = False) -> Tensor:
    """1 where two items share a tag, or the number of shared tags when `graded`.

    Args:
        query_tags: `(Q, C)` bool or 0/1.
        item_tags: `(G, C)` bool or 0/1.
        graded: count the shared tags.

    Returns:
        `(Q, G)` int64.
    """
    shared = (query_tags.to(torch.float32) @ item_tags.to(torch.float32).T).round().to(torch.int64)
    return shared if graded else shared.clamp(max=1)


def level_counts(levels: Tensor, top: int) -> Tensor:
    """How many items of each level a query has.

    Args:
        levels: `(Q, G)` integers; negative ones are not counted.
        top: the highest level L.

    Returns:
        `(Q, L+1)` int64.
    """
    return torch.stack([(levels == level).sum(1) for level in range(top + 1)], dim=1)


def pop_weights(counts: Tensor, alpha: float = 1.0) -> Tensor:
    """Relevance of each level under `pop`: every level has mass (l/L)^alpha, shared by its population.

    HAPPIER (Ramzi et al., ECCV 2022), section 3; unrelated items weigh 0 for every alpha, empty levels 0.

    Args:
        counts: `(Q, L+1)` population of each level.
        alpha: decay of the coarser levels; larger favours the fine level.

    Returns:
        `(Q, L+1)` float64.
    """
    top = counts.shape[1] - 1
    level = torch.arange(top + 1, dtype=torch.float64, device=counts.device)
    mass = (level / max(top, 1)) ** alpha
    mass[0] = 0.0
    return torch.where(counts > 0, mass / counts.clamp(min=1), torch.zeros((), dtype=mass.dtype, device=mass.device))


def map_weights(counts: Tensor, weights: Sequence[float]) -> Tensor:
    """Relevance of each level under `map`: H-AP becomes the weighted mean of the levels' average precisions.

    relevance(l) = sum over p <= l of w_p / #{items of level >= p}.

    Args:
        counts: `(Q, L+1)` population of each level.
        weights: w_1..w_L.

    Returns:
        `(Q, L+1)` float64.
    """
    top = counts.shape[1] - 1
    if len(weights) != top:
        raise InputError(f"map relevance needs one weight for each of {top} levels, got {len(weights)}")
    at_least = counts.flip(1).cumsum(1).flip(1)[:, 1:]
    mass = torch.tensor(list(weights), dtype=torch.float64, device=counts.device)
    share = torch.where(at_least > 0, mass / at_least.clamp(min=1), torch.zeros_like(mass))
    return torch.cat([share.new_zeros(len(counts), 1), share.cumsum(1)], dim=1)


def level_weights(counts: Tensor, weighting: Weighting = "pop", alpha: float | Sequence[float] = 1.0) -> Tensor:
    """Relevance of each level, `(Q, L+1)` float64, by `pop` (alpha a number) or `map` (alpha = w_1..w_L)."""
    if weighting == "pop":
        if not isinstance(alpha, int | float):
            raise InputError("pop relevance takes one number as alpha; a list of level weights belongs to 'map'")
        return pop_weights(counts, float(alpha))
    if weighting == "map":
        if isinstance(alpha, int | float):
            raise InputError("map relevance takes a list of level weights as alpha, one for each level")
        return map_weights(counts, alpha)
    raise InputError(f"relevance weighting must be 'pop' or 'map', got {weighting!r}")


def _columns(labels: Tensor) -> Tensor:
    if labels.ndim not in (1, 2):
        raise InputError(f"labels must be (N,) or (N, L), got shape {tuple(labels.shape)}")
    return labels[:, None] if labels.ndim == 1 else labels
