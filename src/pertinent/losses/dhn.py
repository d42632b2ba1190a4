"""DHN: pairwise cross entropy with a smooth quantisation term."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pertinent.functional.hashing import balance_weights, log_cosh, mean_where, pair_likelihood
from pertinent.functional.scores import dot_scores
from pertinent.losses._batch import refuse_pairs
from pertinent.losses._codes import at_least, pairs_of, positive

__all__ = ["DHNLoss"]


class DHNLoss(nn.Module):
    """Pairwise cross entropy of the dot products of tanh outputs, and log cosh quantisation (DHN).

    With z = tanh(u) and logit t = alpha z . z', the mean of log(1 + e^t) - s t over pairs, s = 1 for similar ones, plus
    quantisation times the mean over rows and bits of log cosh(|z| - 1). Reference: Zhu, Long, Wang, Cao, "Deep Hashing
    Network for Efficient Similarity Retrieval", AAAI 2016; alpha and the weights as in the authors' later code.

    Shapes: embeddings `(B, K)`, real outputs of which the code is the sign, not normalised; labels `(B, C)` bool tags,
    or `(B,)` or `(B, L)` int64 classes, column 0 finest. ref_emb `(R, K)` and ref_labels alike: images are then paired
    with the references instead of each other. Images are similar when they share a tag; one without tags is similar to
    none. Rows labelled -1 are left out. A term without any pair or row is 0.

    Args:
        alpha: times the dot product is the logit.
        quantisation: weight of the quantisation.
        weighted: even out similar and other pairs: each kind counts times all pairs over its own, as in HashNet. Off in
            the paper.
        tanh: put the embeddings through tanh, the paper's last layer; False where the network has it.

    Attributes:
        components: the last call's terms `pairs` and `quantisation` (weighted), detached.

    Raises:
        InputError: a wrong option, shape or type, or an `indices_tuple`.
    """

    def __init__(
        self, alpha: float = 0.5, quantisation: float = 0.1, *, weighted: bool = False, tanh: bool = True
    ) -> None:
        super().__init__()
        positive("DHNLoss", alpha=alpha)
        at_least("DHNLoss", 0, quantisation=quantisation)
        self.alpha, self.quantisation, self.weighted, self.tanh = alpha, quantisation, weighted, tanh
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
        refuse_pairs("DHNLoss", indices_tuple)
        given = pairs_of("DHNLoss", embeddings, labels, (ref_emb, ref_labels), ref_includes_query)
        outputs, items = (torch.tanh(x) if self.tanh else x for x in (given.outputs, given.items))
        losses = pair_likelihood(self.alpha * dot_scores(outputs, items), given.similar)
        if self.weighted:
            losses = losses * balance_weights(given.similar, given.counted)
        pairs = mean_where(losses, given.counted)
        quantisation = self.quantisation * mean_where(log_cosh(outputs.abs() - 1).mean(1), given.known)
        self.components = {"pairs": pairs.detach(), "quantisation": quantisation.detach()}
        return pairs + quantisation
