"""Recall at K with a sigmoid for every step."""

from __future__ import annotations

from collections.abc import Sequence

from pertinent.functional.smooth_step import Sigmoid
from pertinent.losses._batch import Reduction
from pertinent.losses.sup_recall import SupRecallLoss

__all__ = ["SmoothRecallLoss"]


class SmoothRecallLoss(SupRecallLoss):
    """1 - Recall@K, averaged over several K, with a sigmoid for every step of the rank (SmoothRecall).

    It is SupRecallLoss on another rank, whose words on the query itself, unlabelled rows (-1) and degenerate batches
    hold here too. Reference: Patel, Tolias, Matas, "Recall@k Surrogate Loss with Large Batches and Similarity Mixup",
    CVPR 2022.

    Shapes: embeddings `(B, D)`, labels `(B,)` or `(B, L)` int64; ref_emb `(R, D)` and ref_labels alike.

    Args:
        at: the K.
        temperature: of the sigmoid around rank K, in ranks.
        tau: temperature of the sigmoid of scores.
        level: the label column, 0 finest; None averages over all levels.
        reduction: `mean`, `sum`, `none` or `avg_non_zero`.
    """

    def __init__(
        self,
        at: Sequence[int] = (1, 2, 4, 8, 16),
        temperature: float = 1.0,
        *,
        tau: float = 0.01,
        level: int | None = 0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(at, temperature, level=level, reduction=reduction)
        self.step = Sigmoid(tau)
