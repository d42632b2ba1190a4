"""Pair losses: relevant pairs near, irrelevant ones apart by a margin.

Letters: any shape of pairs, usually Q queries by B items.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def contrastive(distances: Tensor, relevant: Tensor, margin: float = 0.7) -> Tensor:
    """Loss of each pair: d^2 / 2 if relevant, else max(0, margin - d)^2 / 2 (Hadsell, Chopra, LeCun, CVPR 2006).

    Args:
        distances: any shape.
        relevant: bool, same shape.
        margin: from this distance on irrelevant pairs cost nothing.
    """
    return torch.where(relevant, distances, F.relu(margin - distances)).square() / 2


def calibration(
    scores: Tensor, relevant: Tensor, irrelevant: Tensor, pos_margin: float = 0.9, neg_margin: float = 0.6
) -> Tensor:
    """Mean shortfall of relevant pairs below `pos_margin` plus mean excess of irrelevant ones above `neg_margin`.

    Each mean runs over the pairs that fall short or exceed; without any it is 0. ROADMAP (Ramzi et al., NeurIPS 2021),
    equation 8: scores mean the same for all queries, so that ranking by parts agrees with ranking the whole.

    Args:
        scores: cosines, any shape.
        relevant: bool, same shape.
        irrelevant: bool, same shape; pairs that are neither count nowhere.
        pos_margin: relevant pairs shall score at least this.
        neg_margin: irrelevant pairs shall score at most this.

    Returns:
        a scalar.
    """
    return _mean_above_zero((pos_margin - scores), relevant) + _mean_above_zero((scores - neg_margin), irrelevant)


def _mean_above_zero(values: Tensor, chosen: Tensor) -> Tensor:
    active = F.relu(values) * chosen
    return active.sum() / (active > 0).sum().clamp(min=1)
