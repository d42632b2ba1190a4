"""Contrastive loss on pairs."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from pertinent.errors import InputError
from pertinent.functional.distances import distances, paired_distances
from pertinent.functional.pairs import contrastive
from pertinent.losses._batch import check_reduction, pair_masks
from pertinent.losses._tuples import as_pairs

__all__ = ["ContrastiveLoss"]


class ContrastiveLoss(nn.Module):
    """Relevant pairs together, irrelevant pairs a margin apart: d^2 / 2 and max(0, margin - d)^2 / 2.

    d is the Euclidean distance. References: Hadsell, Chopra, LeCun, "Dimensionality Reduction by Learning an Invariant
    Mapping", CVPR 2006; Radenovic, Tolias, Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI
    2018, whose runs take the sum over pairs (query, positive) and (query, negative) and margins of .7 to .85.

    Shapes: embeddings `(B, D)`, used as given (normalise them before); labels `(B,)` or `(B, L)` int64; ref_emb
    `(R, D)` and ref_labels alike. Without references the batch is compared with itself, no item with itself.

    With `indices_tuple`, (anchor, positive, anchor, negative) or (anchor, positive, negative) as miners give, only
    those pairs count, and labels may be None. Rows labelled -1 are in no pair. Without pairs the loss is 0.

    Args:
        margin: from this distance on irrelevant pairs cost nothing.
        level: the label column, 0 finest.
        reduction: `mean` over all pairs, `sum`, or `avg_non_zero` (mean over pairs that cost something).

    Raises:
        InputError: a wrong option, shape or tuple.
    """

    takes_tuples = True
    """Whether mined pairs may be given as `indices_tuple`."""

    def __init__(
        self, margin: float = 0.7, level: int = 0, reduction: Literal["mean", "sum", "avg_non_zero"] = "mean"
    ) -> None:
        super().__init__()
        check_reduction(reduction, ("mean", "sum", "avg_non_zero"))
        if not margin > 0:
            raise InputError(f"margin must be positive, got {margin}")
        self.margin, self.level, self.reduction = margin, level, reduction

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor | None,
        indices_tuple: Any = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        *,
        ref_includes_query: bool = False,
    ) -> Tensor:
        """Loss of a batch, a scalar; with `ref_includes_query` the first B references are the batch itself."""
        if indices_tuple is not None:
            items = embeddings if ref_emb is None else ref_emb
            first, near, second, far = as_pairs("ContrastiveLoss", indices_tuple)
            apart = paired_distances(embeddings[torch.cat([first, second])], items[torch.cat([near, far])])
            relevant = torch.arange(len(apart), device=apart.device) < len(first)
            return self._reduce(contrastive(apart, relevant, self.margin), torch.ones_like(relevant))
        if labels is None:
            raise InputError("ContrastiveLoss needs labels, or pairs in indices_tuple")
        items, near, far = pair_masks(
            embeddings, labels, ref_emb, ref_labels, level=self.level, ref_includes_query=ref_includes_query
        )
        return self._reduce(contrastive(distances(embeddings, items), near, self.margin), near | far)

    def _reduce(self, losses: Tensor, counted: Tensor) -> Tensor:
        losses = losses * counted
        if self.reduction == "sum":
            return losses.sum()
        return losses.sum() / (counted if self.reduction == "mean" else losses > 0).sum().clamp(min=1)
