"""Tie-aware average precision on a histogram as a loss."""

from __future__ import annotations

from pertinent.functional.binned_ap import Ties
from pertinent.losses._batch import Reduction
from pertinent.losses.ap import APLoss

__all__ = ["TAPLoss"]


class TAPLoss(APLoss):
    """1 - AP in soft bins, averaged over all orders of the items inside a bin (tie-aware AP).

    It is APLoss with another precision inside a bin; what is said there of shapes, references, unlabelled rows (-1),
    weights and degenerate batches holds here. Reference: He, Cakir, Bargal, Sclaroff, "Hashing as Tie-Aware Learning to
    Rank", CVPR 2018, as used by Revaud et al., ICCV 2019.

    Shapes: embeddings `(B, D)`, labels `(B,)` or `(B, L)` int64; ref_emb `(R, D)` and ref_labels alike. One class
    alone has a small loss of either sign, since bins hold parts of items.

    Args:
        bins: number of bins, 2 or more.
        min, max: scores at the centres of the last and the first bin.
        simplified: take the mean of the precisions before and after a bin instead.
        distance: first map scores to 1 - sqrt(2.001 - 2 s).
        balanced: weigh queries so that every class counts the same.
        level: the label column, 0 finest.
        reduction: `mean`, `sum`, `none` or `avg_non_zero`.
    """

    def __init__(
        self,
        bins: int = 25,
        min: float = 0.0,  # noqa: A002 - the option's name in the field
        max: float = 1.0,  # noqa: A002
        simplified: bool = False,
        *,
        distance: bool = False,
        balanced: bool = False,
        level: int = 0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(bins, min, max, distance=distance, balanced=balanced, level=level, reduction=reduction)
        self.ties: Ties = "mean" if simplified else "expected"
