"""A quantisation term to add to any loss: outputs that are nearly their signs."""

from __future__ import annotations

from typing import Any, Literal, get_args

from torch import Tensor, nn

from pertinent.errors import InputError
from pertinent.functional.hashing import mean_where, sign_cosine
from pertinent.functional.scores import widen
from pertinent.losses._codes import known_rows, refuse_extras

__all__ = ["QuantisationLoss"]

Kind = Literal["square", "cosine"]


class QuantisationLoss(nn.Module):
    """Outputs near their own signs, so that little is lost when they become codes; a term beside another loss.

    The mean of (|u| - 1)^2 over rows and bits, or the mean of 1 - cos(u, sign u) over rows, which leaves lengths free.
    References: Gong, Lazebnik, Gordo, Perronnin, "Iterative Quantization", TPAMI 2013, for the first; Hoe et al., "One
    Loss for All", NeurIPS 2021, for the second.

    Shapes: embeddings `(B, K)`, real outputs of which the code is the sign, not normalised; labels `(B, C)` bool tags,
    or `(B,)` or `(B, L)` int64 classes, column 0 finest, which only tell rows labelled -1: these are left out. Without
    rows the loss is 0.

    Args:
        kind: `square` or `cosine`.

    Raises:
        InputError: another kind, a wrong shape or type, or arguments that the loss cannot use.
    """

    def __init__(self, kind: Kind = "square") -> None:
        super().__init__()
        if kind not in get_args(Kind):
            raise InputError(f"QuantisationLoss: kind must be one of {get_args(Kind)}, got {kind!r}")
        self.kind = kind

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Any = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Tensor:
        """Mean over the labelled rows, a scalar."""
        refuse_extras("QuantisationLoss", indices_tuple, ref_emb, ref_labels)
        known, outputs = known_rows("QuantisationLoss", embeddings, labels), widen(embeddings)
        return mean_where(
            sign_cosine(outputs) if self.kind == "cosine" else (outputs.abs() - 1).square().mean(1), known
        )
