"""CSQ: every image to the hash centre of its classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pertinent.functional.hash_centres import CentreKind, hash_centres
from pertinent.functional.hashing import centre_likelihood, majority, mean_where
from pertinent.functional.scores import widen
from pertinent.losses._codes import at_least, class_tags, refuse_extras

__all__ = ["CSQLoss"]


class CSQLoss(nn.Module):
    """Binary cross entropy of tanh outputs to fixed hash centres, words far apart, one a class (CSQ).

    With h = tanh(u) and centre c, the mean of the cross entropy of (h + 1) / 2 to (c + 1) / 2 over rows and bits, plus
    quantisation times that of (|h| - 1)^2. The centre of several tags is the majority of theirs, bit by bit, ties as in
    one fixed word. See `functional.hash_centres` for the centres of any number of classes and bits. Reference: Yuan,
    Wang, Zhang, Tay, Jie, Liu, Feng, "Central Similarity Quantization for Efficient Image and Video Retrieval", CVPR
    2020.

    Shapes: embeddings `(B, bits)`, real outputs of which the code is the sign, not normalised; labels
    `(B, num_classes)` tags, bool or 0/1, or `(B,)` or `(B, L)` int64 classes, column 0 finest. Rows labelled -1 and
    rows without tags are left out; when none is left the loss is 0. An image with every tag has the majority of all
    centres. Above 2^bits classes some share a centre, and are not told apart.

    Args:
        num_classes: number of classes or tags.
        bits: length K of the codes.
        quantisation: weight of the quantisation.
        centres: `separated` words (rows of a Hadamard matrix, or a linear code) or `random` ones.
        seed: of the centres.

    Attributes:
        centres: `(num_classes, bits)` of -1 and 1, a buffer that is saved with the state; a class without images keeps
            its own.
        ties: `(bits,)` of -1 and 1, likewise.
        distance: bits in which any two centres differ at least; `reason` says where they come from.
        components: the last call's terms `centre` and `quantisation` (weighted), detached.

    Raises:
        InputError: a wrong option or shape, a class out of range (named, on the CPU), or arguments that the loss cannot
            use.
    """

    centres: Tensor
    ties: Tensor

    def __init__(
        self,
        num_classes: int,
        bits: int,
        quantisation: float = 1e-4,
        *,
        centres: CentreKind = "separated",
        seed: int = 0,
    ) -> None:
        super().__init__()
        at_least("CSQLoss", 0, quantisation=quantisation)
        self.quantisation = quantisation
        found = hash_centres(num_classes, bits, centres, seed)
        self.num_classes, self.bits, self.distance, self.reason = num_classes, bits, found.distance, found.reason
        self.register_buffer("centres", torch.from_numpy(found.codes).to(torch.get_default_dtype()))
        self.register_buffer("ties", self.centres.new_tensor(hash_centres(1, bits, "random", seed + 1).codes[0]))
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
        refuse_extras("CSQLoss", indices_tuple, ref_emb, ref_labels)
        tags = class_tags("CSQLoss", embeddings, labels, self.num_classes, self.bits)
        outputs, known = widen(embeddings), tags.any(1)
        targets = majority(tags, self.centres, self.ties)
        centre = mean_where(centre_likelihood(outputs, targets), known)
        gaps = (torch.tanh(outputs).abs() - 1).square().mean(1)
        quantisation = self.quantisation * mean_where(gaps, known)
        self.components = {"centre": centre.detach(), "quantisation": quantisation.detach()}
        return centre + quantisation

    def extra_repr(self) -> str:
        """Sizes, and where the centres come from."""
        return f"{self.num_classes} centres of {self.bits} bits, {self.distance} apart: {self.reason}"
