"""A balance term to add to any loss: bits that are 1 for half of the images, and differ from each other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pertinent.functional.hashing import balance, decorrelation
from pertinent.functional.scores import widen
from pertinent.losses._codes import at_least, known_rows, refuse_extras

__all__ = ["BitBalanceLoss"]


class BitBalanceLoss(nn.Module):
    """Bits that are 1 for half of the batch, and that say different things where asked; a term beside another loss.

    With h = tanh(u), the mean of the squares of the bits' means over the batch, plus decorrelation times the mean, over
    pairs of different bits, of the square of their mean product. Reference: the conditions of Weiss, Torralba, Fergus,
    "Spectral Hashing", NeurIPS 2008, as penalties. The batch must be large and mixed: a batch of one class has good
    reason to be out of balance.

    Shapes: embeddings `(B, K)`, real outputs of which the code is the sign, not normalised; labels `(B, C)` bool tags,
    or `(B,)` or `(B, L)` int64 classes, column 0 finest, which only tell rows labelled -1: these are left out. Without
    rows the loss is 0.

    Args:
        decorrelation: weight of the products of different bits; 0 leaves them out.
        tanh: put the embeddings through tanh first; False where the network has it.

    Raises:
        InputError: a negative weight, a wrong shape or type, or arguments that the loss cannot use.
    """

    def __init__(self, decorrelation: float = 0.0, *, tanh: bool = True) -> None:
        super().__init__()
        at_least("BitBalanceLoss", 0, decorrelation=decorrelation)
        self.decorrelation, self.tanh = decorrelation, tanh

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Any = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Tensor:
        """The penalty of the labelled rows together, a scalar."""
        refuse_extras("BitBalanceLoss", indices_tuple, ref_emb, ref_labels)
        known, outputs = known_rows("BitBalanceLoss", embeddings, labels), widen(embeddings)
        bits = torch.tanh(outputs) if self.tanh else outputs
        penalty = balance(bits, known)
        return penalty + self.decorrelation * decorrelation(bits, known) if self.decorrelation else penalty
