"""Triplet loss with mining inside the batch."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from pertinent.errors import InputError
from pertinent.functional.distances import distances, paired_distances
from pertinent.functional.scores import widen
from pertinent.functional.triplets import Kind, all_triplets, hard_triplets, semi_hard_triplets, triplet_losses
from pertinent.losses._batch import check_reduction, pair_masks
from pertinent.losses._tuples import as_pairs

__all__ = ["TripletLoss"]

Mining = Literal["all", "hard", "semihard"]
Triplets = tuple[Tensor, Tensor, Tensor]


class TripletLoss(nn.Module):
    """An anchor nearer to its positive than to its negative: max(0, dp - dn + margin), or log(1 + exp(dp - dn)).

    d is the distance in the p-norm, not squared. References: Schroff, Kalenichenko, Philbin, "FaceNet", CVPR 2015
    (semi-hard); Hermans, Beyer, Leibe, "In Defense of the Triplet Loss for Person Re-Identification", 2017 (batch-all,
    batch-hard); Gordo, Almazan, Revaud, Larlus, "End-to-End Learning of Deep Visual Representations", IJCV 2017.

    Shapes: embeddings `(B, D)`, used as given (normalise them before); labels `(B,)` or `(B, L)` int64; ref_emb
    `(R, D)` and ref_labels alike, of which positives and negatives are then taken. No item is its own positive.

    With `indices_tuple` the labels may be None: triplets (anchor, positive, negative) are taken as they are; pairs
    (anchor, positive, anchor, negative) make all triplets with a common anchor, or are mined among. Rows labelled -1
    are in no triplet. Without triplets the loss is 0 with a zero gradient.

    Args:
        margin: by how much the negative must be farther; `logexp` has none.
        p: norm.
        swap: take the distance of positive and negative instead of dn where it is smaller.
        kind: `margin` or `logexp`.
        mining: `all` triplets; `hard`: of each anchor the farthest positive and the nearest negative; `semihard`: of
            each positive pair the nearest negative that is farther than the positive.
        level: the label column, 0 finest.
        reduction: `mean` over the triplets, `sum`, or `avg_non_zero` (mean over triplets that cost something).

    Raises:
        InputError: a wrong option, shape or tuple, or a margin for `logexp`.
    """

    takes_tuples = True
    """Whether mined pairs may be given as `indices_tuple`."""

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        swap: bool = False,
        kind: Kind = "margin",
        *,
        mining: Mining = "all",
        level: int = 0,
        reduction: Literal["mean", "sum", "avg_non_zero"] = "mean",
    ) -> None:
        super().__init__()
        check_reduction(reduction, ("mean", "sum", "avg_non_zero"))
        if kind not in get_args(Kind) or mining not in get_args(Mining):
            raise InputError(
                f"kind must be one of {get_args(Kind)} and mining one of {get_args(Mining)}, got {kind!r}, {mining!r}"
            )
        if kind == "logexp" and margin != 1:
            raise InputError(f"log(1 + exp(dp - dn)) has no margin; leave margin={margin} out or use kind='margin'")
        if not p > 0:
            raise InputError(f"p must be positive, got {p}")
        self.margin, self.p, self.swap, self.kind = margin, p, swap, kind
        self.mining, self.level, self.reduction = mining, level, reduction

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
        items = embeddings if ref_emb is None else ref_emb
        if indices_tuple is not None:
            first, near, second, far = as_pairs("TripletLoss", indices_tuple)
            if len(indices_tuple) == 3:
                return self._of_triplets(embeddings, items, (first, near, far))
            shape = (len(embeddings), len(items))
            positive, negative = _mask(first, near, shape), _mask(second, far, shape)
        elif labels is None:
            raise InputError("TripletLoss needs labels, or pairs or triplets in indices_tuple")
        else:
            _, positive, negative = pair_masks(
                embeddings, labels, ref_emb, ref_labels, level=self.level, ref_includes_query=ref_includes_query
            )
        if self.mining == "all":
            return self._of_all(embeddings, items, positive, negative)
        mine = hard_triplets if self.mining == "hard" else semi_hard_triplets
        with torch.no_grad():
            triplets = mine(distances(embeddings, items, self.p), positive, negative)
        return self._of_triplets(embeddings, items, triplets)

    def _of_all(self, embeddings: Tensor, items: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        apart = distances(embeddings, items, self.p)
        between = None
        if self.swap:
            between = apart if items is embeddings else distances(items, items, self.p)
        total, active, count = all_triplets(apart, between, positive, negative, margin=self.margin, kind=self.kind)
        return self._reduce(total, active, count)

    def _of_triplets(self, embeddings: Tensor, items: Tensor, triplets: Triplets) -> Tensor:
        anchor, near, far = widen(embeddings)[triplets[0]], widen(items)[triplets[1]], widen(items)[triplets[2]]
        own, other = paired_distances(anchor, near, self.p), paired_distances(anchor, far, self.p)
        if self.swap:
            other = torch.minimum(other, paired_distances(near, far, self.p))
        losses = triplet_losses(own, other, self.margin, self.kind)
        return self._reduce(losses.sum(), (losses > 0).sum(), losses.new_tensor(len(losses)))

    def _reduce(self, total: Tensor, active: Tensor, count: Tensor) -> Tensor:
        if self.reduction == "sum":
            return total
        return total / (count if self.reduction == "mean" else active).clamp(min=1)


def _mask(rows: Tensor, columns: Tensor, shape: tuple[int, int]) -> Tensor:
    mask = torch.zeros(shape, dtype=torch.bool, device=rows.device)
    mask[rows, columns] = True
    return mask
