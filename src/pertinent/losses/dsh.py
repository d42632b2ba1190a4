"""DSH: contrastive pairs of outputs that are drawn towards -1 and 1."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from pertinent.functional.hashing import contrastive_codes, mean_where, squared_distances
from pertinent.losses._batch import refuse_pairs
from pertinent.losses._codes import at_least, pairs_of, positive

__all__ = ["DSHLoss"]


class DSHLoss(nn.Module):
    """Similar codes together, others a margin apart in squared distance, outputs near -1 and 1 (DSH).

    With d^2 the squared distance of two outputs, the mean of d^2 / 2 over similar pairs and max(0, margin - d^2) / 2
    over others, plus alpha times the mean over pairs of the L1 norms of |u| - 1 of both, which is twice that of a row.
    Reference: Liu, Wang, Shan, Chen, "Deep Supervised Hashing for Fast Image Retrieval", CVPR 2016.

    Shapes: embeddings `(B, K)`, real outputs of which the code is the sign, not normalised; labels `(B, C)` bool tags,
    or `(B,)` or `(B, L)` int64 classes, column 0 finest. ref_emb `(R, K)` and ref_labels alike: images are then paired
    with the references instead of each other. Images are similar when they share a tag; one without tags is similar to
    none. Rows labelled -1 are left out. A term without any pair or row is 0.

    Args:
        alpha: weight of the regulariser; .01 in the paper.
        margin: squared distance from which pairs that are not similar cost nothing; None is 2 K, as in the paper, the
            distance of codes that differ in half of their bits.

    Attributes:
        components: the last call's terms `pairs` and `quantisation` (weighted), detached.

    Raises:
        InputError: a wrong option, shape or type, or an `indices_tuple`.
    """

    def __init__(self, alpha: float = 0.01, margin: float | None = None) -> None:
        super().__init__()
        at_least("DSHLoss", 0, alpha=alpha)
        if margin is not None:
            positive("DSHLoss", margin=margin)
        self.alpha, self.margin = alpha, margin
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
        refuse_pairs("DSHLoss", indices_tuple)
        given = pairs_of("DSHLoss", embeddings, labels, (ref_emb, ref_labels), ref_includes_query)
        margin = 2.0 * given.outputs.shape[1] if self.margin is None else self.margin
        squares = squared_distances(given.outputs, given.items)
        pairs = mean_where(contrastive_codes(squares, given.similar, margin), given.counted)
        quantisation = 2 * self.alpha * mean_where((given.outputs.abs() - 1).abs().sum(1), given.known)
        self.components = {"pairs": pairs.detach(), "quantisation": quantisation.detach()}
        return pairs + quantisation
