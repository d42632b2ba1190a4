"""SupAP: the upper-bounding smooth average precision."""

from __future__ import annotations

from pertinent.losses._batch import Reduction
from pertinent.losses.hap import HAPLoss

__all__ = ["SupAPLoss"]


class SupAPLoss(HAPLoss):
    """1 - AP with a smooth rank that is never too small, so the loss bounds 1 - AP from above (ROADMAP's SupAP).

    It is HAPLoss on one label column. Reference: Ramzi, Thome, Rambour, Audebert, Bitot, "Robust and Decomposable
    Average Precision for Image Retrieval", NeurIPS 2021.

    Shapes: embeddings `(B, D)`, labels `(B,)` or `(B, L)` int64, as for HAPLoss, whose words on references, unlabelled
    rows (-1) and degenerate batches hold here too.

    Args:
        tau, rho, offset, delta, start: the smooth step, see `functional.smooth_step.SmoothStep`.
        level: the label column, 0 finest.
        reduction: `mean`, `sum`, `none` or `avg_non_zero`.
    """

    def __init__(
        self,
        tau: float = 0.01,
        rho: float = 100.0,
        offset: float | None = 1.44,
        delta: float | None = 0.05,
        start: float = 0.5,
        *,
        level: int = 0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(tau, rho, offset, delta, start, level=level, reduction=reduction)
