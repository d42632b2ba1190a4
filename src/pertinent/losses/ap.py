"""Average precision on a histogram as a loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pertinent.errors import InputError
from pertinent.functional.binned_ap import Bins, Ties, binned_ap
from pertinent.losses._batch import Reduction, label_columns, reduce_queries
from pertinent.losses._listwise import Listwise

__all__ = ["APLoss"]


class APLoss(Listwise):
    """1 - AP of every item of the batch as a query, with scores in soft bins (AP-GeM's listwise loss).

    See `functional.binned_ap` for the formula. Reference: Revaud, Almazan, Rezende, de Souza, "Learning with Average
    Precision: Training Image Retrieval with a Listwise Loss", ICCV 2019 (batches of 4096, 20 bins).

    Shapes: embeddings `(B, D)`, used as given (normalise them before), labels `(B,)` or `(B, L)` int64; ref_emb
    `(R, D)` and ref_labels alike. A query is an ordinary item of its own list.

    A row labelled -1 is neither query nor item. A query without any relevant item has loss 0 and no gradient and is
    left out of `mean`. One item or one class alone: loss 0. A score exactly on a bin's centre has a gradient of one
    side.

    Args:
        bins: number of bins, 2 or more.
        min, max: scores at the centres of the last and the first bin; beyond them there is no gradient.
        distance: first map scores to 1 - sqrt(2.001 - 2 s), linear in the distance of unit vectors. With min=0 all
            cosines below .5 then fall into the last bin.
        balanced: weigh queries so that every class counts the same, whatever its share in the batch.
        level: the label column, 0 finest.
        reduction: `mean`, `sum`, `none` `(B,)`, or `avg_non_zero` (mean over losses above 0).

    Raises:
        InputError: a wrong option or shape, `query_weights` beside `balanced`, or an `indices_tuple`, which a listwise
            loss cannot use.
    """

    ties: Ties = "ordered"

    def __init__(
        self,
        bins: int = 25,
        min: float = 0.0,  # noqa: A002 - the option's name in the field
        max: float = 1.0,  # noqa: A002
        *,
        distance: bool = False,
        balanced: bool = False,
        level: int = 0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(level, reduction)
        self.bins, self.distance, self.balanced = Bins(bins, min, max), distance, balanced

    def values(self, scores: Tensor, levels: Tensor, top: int) -> Tensor:  # noqa: ARG002 - relevance here is binary
        """Binned AP of each query, `(Q,)`."""
        return binned_ap(scores, levels, self.bins, self.ties, distance=self.distance)

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Any = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        *,
        ref_includes_query: bool = False,
        query_weights: Tensor | None = None,
    ) -> Tensor:
        """Loss of a batch: a scalar, or `(B,)` when the reduction is `none`.

        Args:
            embeddings, labels, indices_tuple, ref_emb, ref_labels: see the class.
            ref_includes_query: the first B references are the batch itself; here a query finds itself anyway.
            query_weights: `(B,)`; a query's loss becomes 1 - weight AP, so weights should have mean 1.
        """
        values, defined = self.judge(
            embeddings, labels, indices_tuple, ref_emb, ref_labels, ref_includes_query=ref_includes_query
        )
        if self.balanced and query_weights is not None:
            raise InputError("APLoss was built with balanced=True, which makes its own query_weights; give only one")
        weights = self._class_weights(embeddings, labels, defined) if self.balanced else query_weights
        if weights is not None:
            if weights.shape != values.shape:
                raise InputError(f"query_weights must be ({len(values)},), one a query, got {tuple(weights.shape)}")
            values = values * torch.where(defined, weights.to(values), 1)
        return reduce_queries(1 - values, defined, self.reduction)

    def _class_weights(self, embeddings: Tensor, labels: Tensor, defined: Tensor) -> Tensor:
        """1 / size of the query's class in the batch, scaled to mean 1."""
        column = label_columns(embeddings, labels, self.level).flatten().contiguous()
        ordered, _ = column.sort()
        sizes = torch.searchsorted(ordered, column, right=True) - torch.searchsorted(ordered, column)
        weights = defined / sizes
        return weights * (defined.sum() / weights.sum().clamp(min=1e-12))
