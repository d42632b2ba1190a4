"""DCH: Cauchy cross entropy, which wants similar codes within few bits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pertinent.functional.hashing import balance_weights, cauchy_pairs, cauchy_quantisation, code_distances, mean_where
from pertinent.functional.hypersphere import cosines
from pertinent.losses._batch import refuse_pairs
from pertinent.losses._codes import at_least, pairs_of, positive

__all__ = ["DCHLoss"]


class DCHLoss(nn.Module):
    """Cauchy cross entropy of code distances, steep where similar codes are a few bits apart (DCH).

    With z = tanh(u) and d = (1 - cos(z, z')) K / 2, the mean over pairs of w (s log(d / gamma) + log(1 + gamma / d)),
    s = 1 for similar ones, plus quantisation times the mean over rows of log(1 + d(|z|, 1) / gamma). The weight w is
    all pairs over those of the same kind. Pairs that are not similar cost no more below d = .001, where the formula
    becomes infinite. Reference: Cao, Long, Liu, Wang, "Deep Cauchy Hashing for Hamming Space Retrieval", CVPR 2018.

    Shapes: embeddings `(B, K)`, real outputs of which the code is the sign, not normalised; labels `(B, C)` bool tags,
    or `(B,)` or `(B, L)` int64 classes, column 0 finest. ref_emb `(R, K)` and ref_labels alike: images are then paired
    with the references instead of each other. Images are similar when they share a tag; one without tags is similar to
    none. Rows labelled -1 are left out. A term without any pair or row is 0.

    Args:
        gamma: scale of the Cauchy distribution, in bits.
        quantisation: weight of the quantisation.
        tanh: put the embeddings through tanh, the paper's last layer; False where the network has it.

    Attributes:
        components: the last call's terms `pairs` and `quantisation` (weighted), detached.

    Raises:
        InputError: a wrong option, shape or type, or an `indices_tuple`.
    """

    def __init__(self, gamma: float = 20.0, quantisation: float = 0.1, *, tanh: bool = True) -> None:
        super().__init__()
        positive("DCHLoss", gamma=gamma)
        at_least("DCHLoss", 0, quantisation=quantisation)
        self.gamma, self.quantisation, self.tanh = gamma, quantisation, tanh
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
        refuse_pairs("DCHLoss", indices_tuple)
        given = pairs_of("DCHLoss", embeddings, labels, (ref_emb, ref_labels), ref_includes_query)
        outputs, items = (torch.tanh(x) if self.tanh else x for x in (given.outputs, given.items))
        losses = cauchy_pairs(code_distances(cosines(outputs, items), outputs.shape[1]), given.similar, self.gamma)
        pairs = mean_where(losses * balance_weights(given.similar, given.counted), given.counted)
        quantisation = self.quantisation * mean_where(cauchy_quantisation(outputs, self.gamma), given.known)
        self.components = {"pairs": pairs.detach(), "quantisation": quantisation.detach()}
        return pairs + quantisation
