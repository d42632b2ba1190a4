"""Smooth hierarchical average precision: H-AP with sigmoids for steps."""

from __future__ import annotations

from torch import Tensor

from pertinent.functional.hierarchical_ap import smooth_hierarchical_ap
from pertinent.functional.relevance import level_counts, level_weights
from pertinent.functional.smooth_step import check_tau
from pertinent.losses._batch import Reduction
from pertinent.losses._listwise import Listwise

__all__ = ["SmoothHAPLoss"]


class SmoothHAPLoss(Listwise):
    """1 - H-AP with a sigmoid for every step of both ranks: no bound, but a gradient everywhere (SmoothHAP).

    See `functional.hierarchical_ap.smooth_hierarchical_ap`; relevance is `pop` with alpha 1. Reference: Ramzi,
    Audebert, Rambour, Araujo, Bitot, Thome, "Optimization of Rank Losses for Image Retrieval", TPAMI 2025 (SupRank).

    Shapes: embeddings `(B, D)`, used as given (normalise them before), labels `(B,)` or `(B, L)` int64 with column 0
    finest; ref_emb `(R, D)` and ref_labels alike. A query is an ordinary item of its own list.

    A row with -1 in a used column is neither query nor item. A query without any relevant item has loss 0 and no
    gradient and is left out of `mean`. One item or one class alone: loss 0.

    Args:
        tau: temperature of the sigmoid.
        level: use this one label column, as Smooth-AP; None uses all.
        reduction: `mean`, `sum`, `none` `(B,)`, or `avg_non_zero` (mean over losses above 0).

    Raises:
        InputError: a wrong option or shape, or an `indices_tuple`, which a listwise loss cannot use.
    """

    def __init__(self, tau: float = 0.01, level: int | None = None, reduction: Reduction = "mean") -> None:
        super().__init__(level, reduction)
        check_tau(tau)
        self.tau = tau

    def values(self, scores: Tensor, levels: Tensor, top: int) -> Tensor:
        """Smooth H-AP of each query, `(Q,)`."""
        return smooth_hierarchical_ap(scores, levels, level_weights(level_counts(levels, top)), self.tau)
