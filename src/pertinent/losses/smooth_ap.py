"""Smooth-AP: average precision with sigmoids for steps."""

from __future__ import annotations

from pertinent.losses._batch import Reduction
from pertinent.losses.smooth_hap import SmoothHAPLoss

__all__ = ["SmoothAPLoss"]


class SmoothAPLoss(SmoothHAPLoss):
    """1 - AP with a sigmoid for every step of both ranks (Smooth-AP).

    Reference: Brown, Xie, Kalogeiton, Zisserman, "Smooth-AP: Smoothing the Path Towards Large-Scale Image Retrieval",
    ECCV 2020. Classes need not be of equal size.

    Shapes: embeddings `(B, D)`, used as given, labels `(B,)` or `(B, L)` int64; ref_emb `(R, D)` and ref_labels alike.
    A query is an ordinary item of its own list.

    A row labelled -1 is neither query nor item. A query without any relevant item has loss 0 and no gradient and is
    left out of `mean`. One item or one class alone: loss 0.

    Args:
        tau: temperature of the sigmoid.
        level: the label column, 0 finest.
        reduction: `mean`, `sum`, `none` `(B,)`, or `avg_non_zero` (mean over losses above 0).

    Raises:
        InputError: a wrong option or shape, or an `indices_tuple`, which a listwise loss cannot use.
    """

    def __init__(self, tau: float = 0.01, level: int = 0, reduction: Reduction = "mean") -> None:
        super().__init__(tau, level, reduction)
