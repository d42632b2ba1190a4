"""DPSH: the likelihood of pairwise labels given dot products of outputs."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from pertinent.functional.hashing import mean_where, pair_likelihood, signs
from pertinent.functional.scores import dot_scores
from pertinent.losses._batch import refuse_pairs
from pertinent.losses._codes import at_least, pairs_of

__all__ = ["DPSHLoss"]


class DPSHLoss(nn.Module):
    """Likelihood of which pairs are similar, given half the dot product of their outputs (DPSH).

    With logit t = u . v / 2, the mean of log(1 + e^t) - s t over pairs, s = 1 for similar ones, plus eta times the mean
    over rows and bits of (u - sign u)^2; an output of 0 counts as positive. Reference: Li, Wang, Kang, "Feature
    Learning based Deep Supervised Hashing with Pairwise Labels", IJCAI 2016, which sums where this takes means; it
    pairs a batch with the latest outputs of all training images: give those as references.

    Shapes: embeddings `(B, K)`, real outputs of which the code is the sign, not normalised; labels `(B, C)` bool tags,
    or `(B,)` or `(B, L)` int64 classes, column 0 finest. ref_emb `(R, K)` and ref_labels alike: images are then paired
    with the references instead of each other. Images are similar when they share a tag; one without tags is similar to
    none. Rows labelled -1 are left out. A term without any pair or row is 0.

    Args:
        eta: weight of the quantisation; the paper's 10 to 100 belong to its sums over all training images.

    Attributes:
        components: the last call's terms `pairs` and `quantisation` (weighted), detached.

    Raises:
        InputError: a wrong option, shape or type, or an `indices_tuple`.
    """

    def __init__(self, eta: float = 0.1) -> None:
        super().__init__()
        at_least("DPSHLoss", 0, eta=eta)
        self.eta = eta
        self.components: dict[str, Tensor] = {}

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
        """Loss of a batch, a scalar; with `ref_includes_query` the first B references are the batch itself."""
        refuse_pairs("DPSHLoss", indices_tuple)
        given = pairs_of("DPSHLoss", embeddings, labels, (ref_emb, ref_labels), ref_includes_query)
        logits = dot_scores(given.outputs, given.items) / 2
        pairs = mean_where(pair_likelihood(logits, given.similar), given.counted)
        gaps = (given.outputs - signs(given.outputs)).square().mean(1)
        quantisation = self.eta * mean_where(gaps, given.known)
        self.components = {"pairs": pairs.detach(), "quantisation": quantisation.detach()}
        return pairs + quantisation
