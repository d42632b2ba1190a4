"""HashNet: weighted pairwise likelihood of tanh(beta u), with beta growing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pertinent.functional.hashing import balance_weights, jaccard, mean_where, pair_likelihood
from pertinent.functional.scores import dot_scores
from pertinent.losses._batch import refuse_pairs
from pertinent.losses._codes import pairs_of, positive

__all__ = ["HashNetLoss"]


class HashNetLoss(nn.Module):
    """Weighted likelihood of which pairs are similar, of outputs tanh(beta u) that turn into signs (HashNet).

    With h = tanh(beta u) and logit t = alpha h . h', the mean of w (log(1 + e^t) - s t) over pairs, s = 1 for similar
    ones. The weight w is all pairs over those of the same kind, times, for similar ones, common tags over all tags of
    the two images. There is no quantisation term: beta = sqrt(1 + floor(calls / every)) grows instead, counted in calls
    in training mode, so that the outputs become signs. Reference: Cao, Long, Wang, Yu, "HashNet: Deep Learning to Hash
    by Continuation", ICCV 2017; growth and alpha as in the official code.

    Shapes: embeddings `(B, K)`, real outputs of which the code is the sign, not normalised; labels `(B, C)` bool tags,
    or `(B,)` or `(B, L)` int64 classes, column 0 finest. ref_emb `(R, K)` and ref_labels alike: images are then paired
    with the references instead of each other. Images are similar when they share a tag; one without tags is similar to
    none. Rows labelled -1 are left out. A term without any pair or row is 0.

    Args:
        alpha: times the dot product is the logit; None is 10 / K, as in the official code.
        every: calls in training mode after which beta grows.

    Attributes:
        calls: number of calls in training mode, a buffer that is saved with the state; set it to choose a beta.

    Raises:
        InputError: a wrong option, shape or type, or an `indices_tuple`.
    """

    calls: Tensor

    def __init__(self, alpha: float | None = None, every: int = 200) -> None:
        super().__init__()
        if alpha is not None:
            positive("HashNetLoss", alpha=alpha)
        positive("HashNetLoss", every=every)
        self.alpha, self.every = alpha, every
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    @property
    def beta(self) -> Tensor:
        """The present slope of tanh, a scalar of float64."""
        return (1 + self.calls // self.every).to(torch.float64).sqrt()

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
        refuse_pairs("HashNetLoss", indices_tuple)
        given = pairs_of("HashNetLoss", embeddings, labels, (ref_emb, ref_labels), ref_includes_query)
        if self.training:
            self.calls.add_(1)
        outputs, items = (torch.tanh(self.beta.to(x.dtype) * x) for x in (given.outputs, given.items))
        alpha = 10 / max(outputs.shape[1], 1) if self.alpha is None else self.alpha
        losses = pair_likelihood(alpha * dot_scores(outputs, items), given.similar)
        degree = jaccard(given.shared, given.sizes, given.item_sizes)
        weights = balance_weights(given.similar, given.counted) * torch.where(given.similar, degree, 1)
        return mean_where(losses * weights, given.counted)
