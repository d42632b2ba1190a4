"""Calibration: scores that mean the same for every query."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pertinent.errors import InputError
from pertinent.functional.pairs import calibration
from pertinent.functional.scores import dot_scores, widen
from pertinent.losses._batch import pair_masks, refuse_pairs

__all__ = ["CalibrationLoss"]


class CalibrationLoss(nn.Module):
    """Cosines of relevant pairs above one margin, of irrelevant pairs below another (ROADMAP's decomposability loss).

    The mean of pos_margin - cos over relevant pairs that fall short, plus the mean of cos - neg_margin over irrelevant
    pairs that exceed; see `functional.pairs.calibration`. Added to a ranking loss (1 + 1 in ROADMAP, .9 + .1 in
    SupRank) it closes the gap between the AP of a batch and that of the whole set. Reference: Ramzi, Thome, Rambour,
    Audebert, Bitot, "Robust and Decomposable Average Precision for Image Retrieval", NeurIPS 2021.

    Shapes: embeddings `(B, D)`, normalised inside; labels `(B,)` or `(B, L)` int64 with column 0 finest; ref_emb
    `(R, D)` and ref_labels alike. Without references the batch is compared with itself, no item with itself.

    Rows labelled -1 in the used column are in no pair. Without any pair beyond its margin the loss is 0 with a zero
    gradient.

    Args:
        pos_margin: cosine that relevant pairs shall reach.
        neg_margin: cosine that irrelevant pairs shall not exceed.
        level: the label column, 0 finest; None takes the mean over all columns.

    Raises:
        InputError: a margin that is no cosine, a wrong shape, or an `indices_tuple`.
    """

    def __init__(self, pos_margin: float = 0.9, neg_margin: float = 0.6, level: int | None = 0) -> None:
        super().__init__()
        if not (-1 <= pos_margin <= 1 and -1 <= neg_margin <= 1):
            raise InputError(f"margins are cosines in -1..1, got pos_margin={pos_margin}, neg_margin={neg_margin}")
        self.pos_margin, self.neg_margin, self.level = pos_margin, neg_margin, level

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Any = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        *,
        ref_includes_query: bool = False,
    ) -> Tensor:
        """Loss of a batch, a scalar; with `ref_includes_query` the first B references are the batch itself."""
        refuse_pairs("CalibrationLoss", indices_tuple)
        levels = [self.level] if self.level is not None else range(labels[:1].numel() if labels.ndim > 1 else 1)
        masks = [
            pair_masks(embeddings, labels, ref_emb, ref_labels, level=level, ref_includes_query=ref_includes_query)
            for level in levels
        ]
        with torch.autocast(embeddings.device.type, enabled=False):
            queries, items = (nn.functional.normalize(widen(x)) for x in (embeddings, masks[0][0]))
            scores = dot_scores(queries, items)
            terms = [calibration(scores, near, far, self.pos_margin, self.neg_margin) for _, near, far in masks]
        return torch.stack(terms).mean()
