"""Triplet losses: an anchor nearer to its positive than to its negative, over all or the telling triplets of a batch.

Triplets are never listed. Masks say which pairs are positive and which negative; all triplets are visited in runs of
positive pairs, each against a whole row of items, and their gradient is collected on the way.

Letters: A anchors, B items, P positive pairs, N triplets.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

Kind = Literal["margin", "logexp"]

TRIPLETS_AT_ONCE = {"cpu": 1 << 19, "cuda": 1 << 24}
"""Triplets visited at once: what they need fits a processor's cache; an accelerator wants more work."""


def triplet_losses(positive: Tensor, negative: Tensor, margin: float = 1.0, kind: Kind = "margin") -> Tensor:
    """Loss of each triplet from its two distances: max(0, dp - dn + margin), or log(1 + exp(dp - dn)) for `logexp`.

    Args:
        positive: distances anchor to positive, any shape.
        negative: distances anchor to negative, of a shape that broadcasts.
        margin: for `margin`.
        kind: which of the two.
    """
    gaps = positive - negative
    return F.softplus(gaps) if kind == "logexp" else F.relu(gaps + margin)


def hard_triplets(distances: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each anchor the farthest positive and the nearest negative (batch-hard; Hermans et al., 2017).

    Args:
        distances: `(A, B)`.
        positive, negative: `(A, B)` bool, which pairs are.

    Returns:
        anchor, positive and negative of each triplet, `(N,)` each; anchors that lack one of them have none.
    """
    anchors = (positive.any(1) & negative.any(1)).nonzero()[:, 0]
    farthest = distances.detach().masked_fill(~positive, -torch.inf)[anchors].argmax(1)
    nearest = distances.detach().masked_fill(~negative, torch.inf)[anchors].argmin(1)
    return anchors, farthest, nearest


def semi_hard_triplets(distances: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each positive pair the nearest negative that is farther than the positive (FaceNet, Schroff et al., 2015).

    Args:
        distances: `(A, B)`.
        positive, negative: `(A, B)` bool, which pairs are.

    Returns:
        anchor, positive and negative of each triplet, `(N,)` each; pairs without such a negative have none.
    """
    known = distances.detach()
    anchors, positives = positive.nonzero(as_tuple=True)
    nearest = torch.empty_like(anchors)
    found = torch.empty_like(anchors, dtype=torch.bool)
    for part in _parts(len(anchors), distances):
        rows = anchors[part]
        own = known[rows, positives[part]][:, None]
        least, nearest[part] = known[rows].masked_fill(~negative[rows] | (known[rows] <= own), torch.inf).min(1)
        found[part] = least.isfinite()
    return anchors[found], positives[found], nearest[found]


def all_triplets(
    distances: Tensor,
    between: Tensor | None,
    positive: Tensor,
    negative: Tensor,
    *,
    margin: float = 1.0,
    kind: Kind = "margin",
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum of the losses of all triplets of a batch (batch-all), differentiable in the distances.

    Memory is O(A B); time O(P B).

    Args:
        distances: `(A, B)` of anchors to items.
        between: `(B, B)` of the items to each other, to swap anchor and positive where the positive is nearer to the
            negative; None does not swap.
        positive, negative: `(A, B)` bool, which pairs are.
        margin, kind: see `triplet_losses`.

    Returns:
        three scalars: the sum, how many losses are above 0, how many triplets there are.
    """
    total, active = _AllTriplets.apply(distances, between, (positive, negative), (margin, kind))
    return total, active, (positive.sum(1) * negative.sum(1)).sum()


class _AllTriplets(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, distances: Tensor, between: Tensor | None, masks: tuple[Tensor, Tensor], rule: tuple[float, Kind]
    ) -> tuple[Tensor, Tensor]:
        positive, negative = masks
        margin, kind = rule
        total = distances.new_zeros(())
        active = torch.zeros((), dtype=torch.int64, device=distances.device)
        gradient = torch.zeros_like(distances)
        swapped = None if between is None else torch.zeros_like(between)
        anchors, positives = positive.nonzero(as_tuple=True)
        for part in _parts(len(anchors), distances):
            row, column = anchors[part], positives[part]
            own, others = distances[row, column][:, None], distances[row]
            if between is not None:
                nearer = between[column] < others
                others = torch.where(nearer, between[column], others)
            valid = negative[row]
            losses = triplet_losses(own, others, margin, kind) * valid
            slopes = valid * (torch.sigmoid(own - others) if kind == "logexp" else losses > 0)
            total += losses.sum()
            active += (losses > 0).sum()
            gradient.index_put_((row, column), slopes.sum(1, dtype=gradient.dtype), accumulate=True)
            if between is not None and swapped is not None:
                swapped.index_add_(0, column, (slopes * nearer).to(gradient.dtype), alpha=-1)
                slopes = slopes * ~nearer
            gradient.index_add_(0, row, slopes.to(gradient.dtype), alpha=-1)
        ctx.save_for_backward(gradient, swapped)
        ctx.mark_non_differentiable(active)
        return total, active

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        gradient, swapped = ctx.saved_tensors
        return gradient * outer[0], None if swapped is None else swapped * outer[0], None, None


def _parts(pairs: int, distances: Tensor) -> list[slice]:
    limit = TRIPLETS_AT_ONCE.get(distances.device.type, TRIPLETS_AT_ONCE["cuda"])
    size = max(1, limit // max(distances.shape[1], 1))
    return [slice(start, start + size) for start in range(0, pairs, size)]
