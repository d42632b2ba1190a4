"""What the losses that rank a batch share: labels and scores in, one loss a query, the reduction."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from pertinent.losses._batch import Reduction, check_own, check_reduction, rank_batch, reduce_queries, refuse_pairs


class Listwise(nn.Module):
    """A loss that asks how well each item of the batch, as a query, ranks the batch or the references.

    A subclass says in `values` how good the ranking of each query is. Rows labelled -1 in a used column are neither
    query nor item. A query without any relevant item is left out of `mean`.
    """

    finds_itself = True
    """Whether a query is an item of its own list when the batch is ranked against itself."""

    def __init__(self, level: int | None, reduction: Reduction, levels: int | None = None) -> None:
        super().__init__()
        check_reduction(reduction)
        self.level, self.levels, self.reduction = level, levels, reduction

    @abstractmethod
    def values(self, scores: Tensor, levels: Tensor, top: int) -> Tensor:
        """Quality `(Q,)` of the rankings by `(Q, B)` scores, given the pairs' levels up to `top`; 1 where undefined."""

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
        """Loss of a batch: a scalar, or `(B,)` when the reduction is `none`.

        Args:
            embeddings, labels, indices_tuple, ref_emb, ref_labels: see the class.
            ref_includes_query: the first B references are the batch itself, as with a memory of past batches; then no
                query that may not find itself does.
        """
        values, defined = self.judge(
            embeddings, labels, indices_tuple, ref_emb, ref_labels, ref_includes_query=ref_includes_query
        )
        return reduce_queries(1 - values, defined, self.reduction)

    def judge(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Any,
        ref_emb: Tensor | None,
        ref_labels: Tensor | None,
        *,
        ref_includes_query: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Quality of each query's ranking, `(B,)`, and whether the query has anything relevant, `(B,)` bool."""
        refuse_pairs(type(self).__name__, indices_tuple)
        scores, levels, top = rank_batch(embeddings, labels, ref_emb, ref_labels, level=self.level, levels=self.levels)
        check_own(embeddings, ref_emb, ref_includes_query)
        if (ref_emb is None or ref_includes_query) and not self.finds_itself:
            levels.fill_diagonal_(-1)
        with torch.autocast(scores.device.type, enabled=False):
            return self.values(scores, levels, top), (levels > 0).any(1)
