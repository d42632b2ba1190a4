"""HyP2: multi-label images around learned proxies, for binary codes."""

from __future__ import annotations

import math
from itertools import combinations_with_replacement
from typing import Any, get_args

import torch
from torch import Tensor, nn

from pertinent.errors import InputError
from pertinent.functional.code_distance import code_threshold
from pertinent.functional.hypersphere import PairScope, cosines, pair_term, proxy_terms
from pertinent.losses._batch import check_own, check_references, refuse_pairs
from pertinent.losses._codes import finest_column, is_integer

__all__ = ["HyP2Loss"]


class HyP2Loss(nn.Module):
    """Images near the proxies of their tags, away from other proxies and from images that share no tag (HyP2).

    With cosines s: mean of 1 - s to own proxies + mean of max(0, s - threshold) to others + beta times the mean of
    max(0, s - threshold) over pairs of images that share no tag; see `functional.hypersphere`. The code of an image is
    the sign of its embedding. Reference: Xu, Zhou, Qian, Zhong, "HyP2 Loss: Beyond Hypersphere Metric Space for
    Multi-label Image Retrieval", ACM Multimedia 2022.

    Shapes: embeddings `(B, bits)`, real outputs, normalised inside; labels `(B, num_classes)` bool or 0/1 with one
    column a tag, or `(B,)` or `(B, L)` int64 classes, column 0 finest, with -1 for unlabelled. An image without tags is
    only repelled. ref_emb `(R, bits)` and ref_labels alike: images are then paired with the references instead of each
    other. A term without any pair is 0. Give bool tags: of other numbers nothing is checked, and a 2 counts as present
    but attracts nothing, as in the original.

    Args:
        num_classes: number of tags.
        bits: length K of the codes.
        beta: weight of the pairs of images; 0 or less leaves them out.
        threshold: cosine from which proxies and images repel; None chooses that of the best known binary code with a
            word for each class, see `functional.code_distance`, and says so in `threshold_reason` and `repr`.
        pair_scope: `multi` pairs images of two tags or more, as the paper does; `all` those of one or more.

    Attributes:
        proxies: `(num_classes, bits)` before normalisation, from N(0, 2 / num_classes).
        components: the last call's terms `positive`, `negative` and `pair` (times beta), detached.

    Raises:
        InputError: a wrong option or shape, a class out of range, or an `indices_tuple`.
    """

    def __init__(
        self,
        num_classes: int,
        bits: int,
        beta: float = 0.5,
        threshold: float | None = None,
        *,
        pair_scope: PairScope = "multi",
    ) -> None:
        super().__init__()
        if pair_scope not in get_args(PairScope):
            raise InputError(f"pair_scope must be one of {get_args(PairScope)}, got {pair_scope!r}")
        if threshold is not None and not -1 <= threshold <= 1:
            raise InputError(f"threshold is a cosine in -1..1, got {threshold}")
        chosen = code_threshold(num_classes, bits)
        self.threshold = chosen.cosine if threshold is None else float(threshold)
        self.threshold_reason = chosen.reason if threshold is None else "given"
        self.num_classes, self.bits, self.beta, self.pair_scope = num_classes, bits, beta, pair_scope
        self.proxies = nn.Parameter(torch.randn(num_classes, bits) * math.sqrt(2 / num_classes))
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
        """Loss of a batch, a scalar; with `ref_includes_query` the first B references are the batch itself.

        Only pairs without a common tag count, and so none of an item with itself.
        """
        refuse_pairs("HyP2Loss", indices_tuple)
        check_references(ref_emb, ref_labels)
        check_own(embeddings, ref_emb, ref_includes_query)
        tags = self._tags(embeddings, labels)
        if ref_emb is None or ref_labels is None:
            items, item_tags = embeddings, tags
        else:
            items, item_tags = ref_emb, self._tags(ref_emb, ref_labels)
        near, far = proxy_terms(cosines(embeddings, self.proxies), tags, self.threshold)
        return self._sum(near, far, self._pairs(embeddings, items, tags, item_tags))

    def cross_modal(self, first: Tensor, second: Tensor, labels: Tensor) -> Tensor:
        """Loss of the same things in two modalities, say images and texts, around one set of proxies (DSPH).

        The proxy terms of both add up, and so do the pair terms within each and between them.

        Args:
            first: `(B, bits)` embeddings of one modality.
            second: `(B, bits)` embeddings of the other, row by row of the same things.
            labels: their tags, as for a call.
        """
        tags = self._tags(first, labels)
        self._tags(second, labels)
        terms = [proxy_terms(cosines(one, self.proxies), tags, self.threshold) for one in (first, second)]
        pairs = [self._pairs(a, b, tags, tags) for a, b in combinations_with_replacement((first, second), 2)]
        return self._sum(terms[0][0] + terms[1][0], terms[0][1] + terms[1][1], torch.stack(pairs).sum())

    def extra_repr(self) -> str:
        """Options, with the threshold and why it is so."""
        return (
            f"num_classes={self.num_classes}, bits={self.bits}, beta={self.beta}, pair_scope={self.pair_scope}, "
            f"threshold={self.threshold:.4g} ({self.threshold_reason})"
        )

    def _pairs(self, left: Tensor, right: Tensor, left_tags: Tensor, right_tags: Tensor) -> Tensor:
        if self.beta <= 0:
            return self.proxies.new_zeros(())
        similarity = cosines(left, right)
        return self.beta * pair_term(similarity, left_tags, right_tags, self.threshold, self.pair_scope)

    def _sum(self, near: Tensor, far: Tensor, pair: Tensor) -> Tensor:
        self.components = {"positive": near.detach(), "negative": far.detach(), "pair": pair.detach()}
        return near + far + pair

    def _tags(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        if embeddings.ndim != 2 or embeddings.shape[1] != self.bits:
            raise InputError(f"embeddings must be (B, {self.bits}), one column a bit, got {tuple(embeddings.shape)}")
        if is_integer(labels) and labels.ndim == 2 and 0 < labels.shape[1] != self.num_classes:
            labels = finest_column("HyP2Loss", labels)
        if is_integer(labels) and labels.ndim == 1:
            if labels.numel() and int(labels.max()) >= self.num_classes:
                raise InputError(f"label {int(labels.max())} is outside 0..{self.num_classes - 1}; -1 means unlabelled")
            labels = labels[:, None] == torch.arange(self.num_classes, device=labels.device)
        if labels.shape != (len(embeddings), self.num_classes):
            raise InputError(
                f"labels must be ({len(embeddings)}, {self.num_classes}), one column a tag, or whole numbers "
                f"({len(embeddings)},) or ({len(embeddings)}, L), got {tuple(labels.shape)} {labels.dtype}"
            )
        return labels.to(embeddings.device)
