"""Recall at K on ranks that are never too small."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pertinent.functional.smooth_recall import check_depths, smooth_recall
from pertinent.functional.smooth_step import Sigmoid, SmoothStep
from pertinent.losses._batch import Reduction
from pertinent.losses._listwise import Listwise

__all__ = ["SupRecallLoss"]


class SupRecallLoss(Listwise):
    """1 - Recall@K, averaged over several K, with a smooth rank that is never too small (SupRecall).

    Recall@K is sum_j sigma((K - rank_j) / temperature) / min(K, R) over the R relevant items j; see
    `functional.smooth_recall`. References: Patel, Tolias, Matas, "Recall@k Surrogate Loss with Large Batches and
    Similarity Mixup", CVPR 2022; Ramzi et al., "Optimization of Rank Losses for Image Retrieval", TPAMI 2025 (SupRank).

    Shapes: embeddings `(B, D)`, used as given (normalise them before), labels `(B,)` or `(B, L)` int64; ref_emb
    `(R, D)` and ref_labels alike. Without references a query is left out of its own list: found at once, it would hide
    what the first ranks hold. Classes need not be of equal size.

    A row with -1 in a used column is neither query nor item. A query without any relevant item has loss 0 and no
    gradient and is left out of `mean`. A perfect ranking still costs something, since sigma(0) = .5 at rank K.

    Args:
        at: the K.
        temperature: of the sigmoid around rank K, in ranks.
        tau, rho, offset, delta, start: the smooth step, see `functional.smooth_step.SmoothStep`.
        level: the label column, 0 finest; None averages over all levels, an item being relevant at a level when it
            shares at least that many columns.
        reduction: `mean`, `sum`, `none` `(B,)`, or `avg_non_zero` (mean over losses above 0).

    Raises:
        InputError: a wrong option or shape, or an `indices_tuple`, which a listwise loss cannot use.
    """

    finds_itself = False

    def __init__(
        self,
        at: Sequence[int] = (1, 2, 4, 8, 16),
        temperature: float = 1.0,
        *,
        tau: float = 0.01,
        rho: float = 100.0,
        offset: float | None = 1.44,
        delta: float | None = 0.05,
        start: float = 0.5,
        level: int | None = 0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(level, reduction)
        check_depths(at, temperature)
        self.at, self.temperature = tuple(at), temperature
        self.step: SmoothStep | Sigmoid = SmoothStep(tau, rho, offset, delta, start)

    def values(self, scores: Tensor, levels: Tensor, top: int) -> Tensor:
        """Smooth recall of each query, `(Q,)`."""
        total = scores.new_zeros(len(scores))
        for threshold in range(1, top + 1):
            relevant = (levels >= threshold).to(levels.dtype).masked_fill_(levels < 0, -1)
            total = total + smooth_recall(scores, relevant, self.at, self.temperature, self.step)
        return total / top
