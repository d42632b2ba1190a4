"""DPN: every output beyond a margin on the side of its target bit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pertinent.functional.hash_centres import CentreKind, hash_centres
from pertinent.functional.hashing import majority, mean_where, polarisation
from pertinent.functional.scores import widen
from pertinent.losses._codes import class_tags, positive, refuse_extras

__all__ = ["DPNLoss"]


class DPNLoss(nn.Module):
    """Every output beyond a margin on the side that its class's target word says: polarisation (DPN).

    The mean of max(0, margin - u t) over rows and bits, with targets t of -1 and 1 drawn at random, one word a class.
    The target of several tags is the majority of theirs, bit by bit, ties as in one fixed word. Reference: Fan, Ng, Ju,
    Zhang, Chan, "Deep Polarized Network for Supervised Learning of Accurate Binary Hashing Codes", IJCAI 2020; the
    paper's adaptive targets, learned from outputs between epochs, are left out.

    Shapes: embeddings `(B, bits)`, real outputs of which the code is the sign, not normalised; labels
    `(B, num_classes)` tags, bool or 0/1, or `(B,)` or `(B, L)` int64 classes, column 0 finest. Rows labelled -1 and
    rows without tags are left out; when none is left the loss is 0. An image with every tag has the majority of all
    targets. Above 2^bits classes some share a target, and are not told apart.

    Args:
        num_classes: number of classes or tags.
        bits: length K of the codes.
        margin: from this size on an output on the right side costs nothing; 1 or more in the paper.
        centres: `random` targets, as in the paper, or `separated` ones, see `functional.hash_centres`.
        seed: of the targets.

    Attributes:
        centres: `(num_classes, bits)` of -1 and 1, a buffer that is saved with the state; a class without images keeps
            its own.
        ties: `(bits,)` of -1 and 1, likewise.
        distance: bits in which any two targets differ at least; `reason` says where they come from.

    Raises:
        InputError: a wrong option or shape, a class out of range (named, on the CPU), or arguments that the loss cannot
            use.
    """

    centres: Tensor
    ties: Tensor

    def __init__(
        self, num_classes: int, bits: int, margin: float = 1.0, *, centres: CentreKind = "random", seed: int = 0
    ) -> None:
        super().__init__()
        positive("DPNLoss", margin=margin)
        self.margin = margin
        found = hash_centres(num_classes, bits, centres, seed)
        self.num_classes, self.bits, self.distance, self.reason = num_classes, bits, found.distance, found.reason
        self.register_buffer("centres", torch.from_numpy(found.codes).to(torch.get_default_dtype()))
        self.register_buffer("ties", self.centres.new_tensor(hash_centres(1, bits, "random", seed + 1).codes[0]))

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Any = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Tensor:
        """Mean loss of the rows that have a class, a scalar."""
        refuse_extras("DPNLoss", indices_tuple, ref_emb, ref_labels)
        tags = class_tags("DPNLoss", embeddings, labels, self.num_classes, self.bits)
        targets = majority(tags, self.centres, self.ties)
        return mean_where(polarisation(widen(embeddings), targets, self.margin), tags.any(1))

    def extra_repr(self) -> str:
        """Sizes, and where the centres come from."""
        return f"{self.num_classes} centres of {self.bits} bits, {self.distance} apart: {self.reason}"
