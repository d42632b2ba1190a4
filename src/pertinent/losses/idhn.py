"""IDHN: pairs of images that share some of their tags are neither similar nor dissimilar."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from pertinent.functional.hashing import label_cosine, mean_where, soft_pairs
from pertinent.functional.scores import dot_scores
from pertinent.losses._batch import refuse_pairs
from pertinent.losses._codes import at_least, pairs_of, positive

__all__ = ["IDHNLoss"]


class IDHNLoss(nn.Module):
    """Similarity of multi-label images in degrees: likelihood of hard pairs, squares for soft ones (IDHN).

    With z = u / (1 + |u|) and s the cosine of two images' tag vectors, the mean over pairs of log(1 + e^t) - s t,
    t = alpha z . z', where s is 0 or 1, and gamma K ((z . z' + K) / (2 K) - s)^2 between; plus quantisation times the
    mean over rows and bits of ||z| - 1|; see `functional.hashing.soft_pairs`. Reference: Zhang, Zou, Lin, Chen, Wang,
    "Improved Deep Hashing with Soft Pairwise Similarity for Multi-label Image Retrieval", TMM 2020 (online 2019).

    Shapes: embeddings `(B, K)`, real outputs of which the code is the sign, not normalised; labels `(B, C)` bool tags,
    or `(B,)` or `(B, L)` int64 classes, column 0 finest. ref_emb `(R, K)` and ref_labels alike: images are then paired
    with the references instead of each other. Images are similar when they share a tag; one without tags is similar to
    none. Rows labelled -1 are left out. A term without any pair or row is 0.

    Args:
        alpha: times the dot product is the logit of hard pairs; None is 5 / K, as in the paper.
        gamma: weight of soft pairs.
        quantisation: weight of the quantisation.
        softsign: put the embeddings through u / (1 + |u|), the paper's last layer; False where the network has it.

    Attributes:
        components: the last call's terms `pairs` and `quantisation` (weighted), detached.

    Raises:
        InputError: a wrong option, shape or type, or an `indices_tuple`.
    """

    def __init__(
        self, alpha: float | None = None, gamma: float = 0.1, quantisation: float = 0.1, *, softsign: bool = True
    ) -> None:
        super().__init__()
        if alpha is not None:
            positive("IDHNLoss", alpha=alpha)
        at_least("IDHNLoss", 0, gamma=gamma, quantisation=quantisation)
        self.alpha, self.gamma, self.quantisation, self.softsign = alpha, gamma, quantisation, softsign
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
        refuse_pairs("IDHNLoss", indices_tuple)
        given = pairs_of("IDHNLoss", embeddings, labels, (ref_emb, ref_labels), ref_includes_query)
        outputs, items = (F.softsign(x) if self.softsign else x for x in (given.outputs, given.items))
        bits = outputs.shape[1]
        similarity = label_cosine(given.shared, given.sizes, given.item_sizes)
        alpha = 5 / max(bits, 1) if self.alpha is None else self.alpha
        losses = soft_pairs(dot_scores(outputs, items), similarity, bits, alpha, self.gamma)
        pairs = mean_where(losses, given.counted)
        quantisation = self.quantisation * mean_where((outputs.abs() - 1).abs().mean(1), given.known)
        self.components = {"pairs": pairs.detach(), "quantisation": quantisation.detach()}
        return pairs + quantisation
