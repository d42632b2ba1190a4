"""Cross-level concept distinction: margins against proxies at every level of a hierarchy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pertinent.errors import InputError
from pertinent.functional.proxies import csl
from pertinent.losses._batch import check_reduction, label_columns, labelled, refuse_pairs, refuse_references

__all__ = ["CSLLoss"]


class CSLLoss(nn.Module):
    """Softplus margins between an item's own fine proxies and the proxies of other classes, at every level (CSL).

    See `functional.proxies.csl` for the formula. Reference: Sun, Zhu, Zhang, Zheng, Qiu, Zhang, Wei, "Dynamic Metric
    Learning: Towards a Scalable Metric Space to Accommodate Multiple Semantic Scales", CVPR 2021.

    Shapes: embeddings `(B, D)`, used as given; labels `(B, L)` int64, column 0 finest. Rows with a -1 are left out;
    when none is left the loss is 0 with a zero gradient. A level at which all proxies are of one class adds nothing.

    Args:
        proxy_labels: `(C, L)` int64, one row a proxy: the sorted unique label rows of the training set.
        dim: width D of the embeddings.
        margins: one for each level, fine first; .25 .45 for two levels, .25 .35 .45 for three in the papers.
        scale: multiplies the cosines and the margins.
        reduction: over the levels, `sum` or `mean`; the batch is always averaged.

    Attributes:
        weight: `(C, dim)` proxies before normalisation, from U(-1/sqrt(dim), 1/sqrt(dim)).
        proxy_labels: buffer, saved with the weights.

    Raises:
        InputError: a fine label without a proxy (named), a wrong number of columns or margins, or arguments that the
            loss cannot use.
    """

    proxy_labels: Tensor

    def __init__(
        self,
        proxy_labels: Tensor | NDArray[np.int64] | Sequence[Sequence[int]],
        dim: int,
        margins: Sequence[float],
        scale: float = 32.0,
        reduction: Literal["sum", "mean"] = "sum",
    ) -> None:
        super().__init__()
        check_reduction(reduction, ("sum", "mean"))
        rows = torch.as_tensor(proxy_labels)
        if rows.ndim != 2 or len(rows) == 0 or rows.is_floating_point() or dim < 1:
            raise InputError(f"proxy_labels must be (C, L) integers and dim at least 1, got {tuple(rows.shape)}, {dim}")
        if len(margins) != rows.shape[1]:
            raise InputError(f"CSLLoss needs one margin for each of {rows.shape[1]} label columns, got {len(margins)}")
        self.margins, self.scale, self.reduction = tuple(margins), scale, reduction
        self.register_buffer("proxy_labels", rows.to(torch.int64))
        bound = 1 / math.sqrt(dim)
        self.weight = nn.Parameter(torch.empty(len(rows), dim).uniform_(-bound, bound))

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Any = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Tensor:
        """Loss of the labelled rows, a scalar."""
        refuse_pairs("CSLLoss", indices_tuple)
        refuse_references("CSLLoss", ref_emb, ref_labels)
        columns = label_columns(embeddings, labels, None, len(self.margins))
        known = labelled(columns)
        self._require_proxies(columns[:, 0], known)
        losses = csl(embeddings, self.weight, columns, self.proxy_labels, self.margins, scale=self.scale)
        # Not a product with 0: a row without a proxy may well be infinite.
        by_level = losses.where(known[:, None], 0).sum(0) / known.sum().clamp(min=1)
        return by_level.sum() if self.reduction == "sum" else by_level.mean()

    def _require_proxies(self, fine: Tensor, known: Tensor) -> None:
        # On the CPU alone: on a GPU the host would have to wait for the answer.
        if fine.device.type != "cpu":
            return
        unknown = fine[known & ~torch.isin(fine, self.proxy_labels[:, 0])]
        if len(unknown):
            raise InputError(f"fine label {int(unknown[0])} has no proxy; proxy_labels must hold all training labels")
