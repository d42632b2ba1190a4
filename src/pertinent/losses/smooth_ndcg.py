"""Smooth loss for normalised discounted cumulative gain (NDCG)."""

from __future__ import annotations

from torch import Tensor

from pertinent.functional.smooth_ndcg import smooth_ndcg
from pertinent.functional.smooth_step import Sigmoid
from pertinent.losses._batch import Reduction
from pertinent.losses._listwise import Listwise

__all__ = ["SmoothNDCGLoss"]


class SmoothNDCGLoss(Listwise):
    """1 - NDCG with a sigmoid for every step of the rank (SmoothNDCG).

    Gain 2^level - 1, discount 1 / log2(1 + rank); see `functional.smooth_ndcg`. Reference: Ramzi, Audebert, Rambour,
    Araujo, Bitot, Thome, "Optimization of Rank Losses for Image Retrieval", TPAMI 2025 (SupRank).

    Shapes: embeddings `(B, D)`, used as given (normalise them before), labels `(B,)` or `(B, L)` int64 with column 0
    finest; ref_emb `(R, D)` and ref_labels alike. A query is an ordinary item of its own list.

    A row with -1 in a used column is neither query nor item. A query without any relevant item has loss 0 and no
    gradient and is left out of `mean`. One item alone: loss 0. One class alone: a small loss of either sign, since
    smooth ranks of near items are not whole numbers.

    Args:
        tau: temperature of the sigmoid.
        level: use this one label column, as binary NDCG; None uses all.
        reduction: `mean`, `sum`, `none` `(B,)`, or `avg_non_zero` (mean over losses above 0).

    Raises:
        InputError: a wrong option or shape, or an `indices_tuple`, which a listwise loss cannot use.
    """

    def __init__(self, tau: float = 0.01, level: int | None = None, reduction: Reduction = "mean") -> None:
        super().__init__(level, reduction)
        self.step = Sigmoid(tau)

    def values(self, scores: Tensor, levels: Tensor, top: int) -> Tensor:
        """Smooth NDCG of each query, `(Q,)`."""
        return smooth_ndcg(scores, levels, top, self.step)
