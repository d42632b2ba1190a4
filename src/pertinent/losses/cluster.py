"""Normalised softmax over one proxy a class."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from pertinent.errors import InputError
from pertinent.functional.proxies import normalised_softmax
from pertinent.losses._batch import check_range, label_columns, refuse_pairs, refuse_references

__all__ = ["ClusterLoss"]


class ClusterLoss(nn.Module):
    """Cross entropy of the classes by cosine to one learned proxy each: HAPPIER's clustering term.

    The loss is the mean over the batch of -log softmax(e . w_c / temperature) at the item's class, w_c of unit length.
    Reference: Zhai and Wu, "Classification is a Strong Baseline for Deep Metric Learning", BMVC 2019, as used by
    HAPPIER (ECCV 2022).

    Shapes: embeddings `(B, D)`, used as given; labels `(B,)` or `(B, L)` int64, classes 0..num_classes-1 in column
    `level`. Rows labelled -1 there are left out; when none is left the loss is 0 with a zero gradient.

    Args:
        num_classes: number of classes in column `level`.
        dim: width D of the embeddings.
        temperature: divides the cosines.
        level: the label column, 0 finest.

    Attributes:
        weight: `(num_classes, dim)` proxies before normalisation, from U(-1/sqrt(dim), 1/sqrt(dim)).

    Raises:
        InputError: a label out of range (named, on the CPU), a wrong shape, or arguments that the loss cannot use.
    """

    def __init__(self, num_classes: int, dim: int, temperature: float = 0.05, level: int = 0) -> None:
        super().__init__()
        if num_classes < 1 or dim < 1:
            raise InputError(f"num_classes and dim must be at least 1, got {num_classes} and {dim}")
        if not temperature > 0:
            raise InputError(f"temperature must be positive, got {temperature}")
        self.num_classes, self.temperature, self.level = num_classes, temperature, level
        bound = 1 / math.sqrt(dim)
        self.weight = nn.Parameter(torch.empty(num_classes, dim).uniform_(-bound, bound))

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Any = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Tensor:
        """Mean loss of the labelled rows, a scalar."""
        refuse_pairs("ClusterLoss", indices_tuple)
        refuse_references("ClusterLoss", ref_emb, ref_labels)
        classes = label_columns(embeddings, labels, self.level)[:, 0]
        check_range(classes, self.num_classes, "ClusterLoss", self.level)
        known = classes >= 0
        losses = normalised_softmax(embeddings, self.weight, classes.clamp(min=0), self.temperature)
        return (losses * known).sum() / known.sum().clamp(min=1)
