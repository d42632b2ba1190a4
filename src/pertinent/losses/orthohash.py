"""OrthoHash: one loss, the cosine to fixed orthogonal codes with a margin."""

from __future__ import annotations

from typing import Any, get_args

import torch
from torch import Tensor, nn

from pertinent.errors import InputError
from pertinent.functional.hash_centres import CentreKind, hash_centres
from pertinent.functional.hashing import MarginKind, margin_likelihood, mean_where, sign_cosine
from pertinent.functional.hypersphere import cosines
from pertinent.functional.scores import widen
from pertinent.losses._codes import at_least, class_tags, positive, refuse_extras

__all__ = ["OrthoHashLoss"]


class OrthoHashLoss(nn.Module):
    """Cross entropy of cosines to fixed orthogonal codes, one a class, with a margin for an image's own (OrthoHash).

    The mean over rows of the cross entropy of scale (s_c - margin [c is a tag]) to y / sum y, s_c being the cosine of
    output and code, plus quantisation times the mean of 1 - cos(u, sign u). Reference: Hoe, Ng, Zhang, Chan, Song,
    Xiang, "One Loss for All: Deep Hashing with a Single Cosine Similarity based Learning Objective", NeurIPS 2021;
    several tags as in the official code. The paper's network ends in a linear layer without bias and a BatchNorm.

    Shapes: embeddings `(B, bits)`, real outputs of which the code is the sign, not normalised; labels
    `(B, num_classes)` tags, bool or 0/1, or `(B,)` or `(B, L)` int64 classes, column 0 finest. Rows labelled -1 and
    rows without tags are left out; when none is left the loss is 0. Up to `bits` classes the codes are orthogonal where
    there is a Hadamard matrix of that order, beyond as far apart as `functional.hash_centres` finds; above 2^bits
    classes some share a code.

    Args:
        num_classes: number of classes or tags.
        bits: length K of the codes.
        scale: multiplies the cosines.
        margin: taken off an own cosine, or added to its angle in radians.
        kind: `cos` or `arc`, which of these.
        quantisation: weight of the quantisation; 0 in the paper.
        centres: `separated` codes or `random` ones.
        seed: of the codes.

    Attributes:
        centres: `(num_classes, bits)` of -1 and 1, a buffer that is saved with the state; a class without images keeps
            its own.
        distance: bits in which any two codes differ at least; `reason` says where they come from.
        components: the last call's terms `classes` and `quantisation` (weighted), detached.

    Raises:
        InputError: a wrong option or shape, a class out of range (named, on the CPU), or arguments that the loss cannot
            use.
    """

    centres: Tensor

    def __init__(
        self,
        num_classes: int,
        bits: int,
        scale: float = 8.0,
        margin: float = 0.2,
        *,
        kind: MarginKind = "cos",
        quantisation: float = 0.0,
        centres: CentreKind = "separated",
        seed: int = 0,
    ) -> None:
        super().__init__()
        positive("OrthoHashLoss", scale=scale)
        at_least("OrthoHashLoss", 0, margin=margin, quantisation=quantisation)
        if kind not in get_args(MarginKind):
            raise InputError(f"OrthoHashLoss: kind must be one of {get_args(MarginKind)}, got {kind!r}")
        self.scale, self.margin, self.kind, self.quantisation = scale, margin, kind, quantisation
        found = hash_centres(num_classes, bits, centres, seed)
        self.num_classes, self.bits, self.distance, self.reason = num_classes, bits, found.distance, found.reason
        self.register_buffer("centres", torch.from_numpy(found.codes).to(torch.get_default_dtype()))
        self.components: dict[str, Tensor] = {}

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Any = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Tensor:
        """Mean loss of the rows that have a class, a scalar."""
        refuse_extras("OrthoHashLoss", indices_tuple, ref_emb, ref_labels)
        tags = class_tags("OrthoHashLoss", embeddings, labels, self.num_classes, self.bits)
        known, similarity = tags.any(1), cosines(embeddings, self.centres)
        classes = mean_where(margin_likelihood(similarity, tags, self.scale, self.margin, self.kind), known)
        quantisation = self.quantisation * mean_where(sign_cosine(widen(embeddings)), known)
        self.components = {"classes": classes.detach(), "quantisation": quantisation.detach()}
        return classes + quantisation

    def extra_repr(self) -> str:
        """Sizes, and where the centres come from."""
        return f"{self.num_classes} centres of {self.bits} bits, {self.distance} apart: {self.reason}"
