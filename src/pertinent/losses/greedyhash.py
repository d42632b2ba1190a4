"""GreedyHash: classes from the signs themselves, with the gradient passed straight through."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pertinent.functional.hashing import mean_where, signs
from pertinent.functional.scores import dot_scores, widen
from pertinent.losses._codes import at_least, class_tags, refuse_extras, tags_or_classes

__all__ = ["GreedyHashLoss"]


class GreedyHashLoss(nn.Module):
    """Classes told from the signs by a linear layer whose gradient passes straight through the sign (GreedyHash).

    With b = sign(u), 0 counting as positive, the mean over rows of the cross entropy of weight b + bias, plus alpha
    times the mean over rows and bits of ||u| - 1|^3. The gradient in u is that in b, as if the sign were not there.
    Reference: Su, Zhang, Han, Tian, "Greedy Hash: Towards Fast Optimization for Accurate Hash Coding in CNN", NeurIPS
    2018, which knows single labels; tags are told one by one here, with the mean over tags of their binary cross
    entropy.

    Shapes: embeddings `(B, bits)`, real outputs of which the code is the sign, not normalised; labels
    `(B, num_classes)` tags, bool or 0/1, or `(B,)` or `(B, L)` int64 classes, column 0 finest. Rows labelled -1 are
    left out; when none is left the loss is 0. An image without tags has none of them to be told.

    Args:
        num_classes: number of classes or tags.
        bits: length K of the codes.
        alpha: weight of the cubic penalty; .1 in the paper, 1 for ImageNet.

    Attributes:
        classifier: the linear layer, `weight` `(num_classes, bits)` and `bias` `(num_classes,)`.
        components: the last call's terms `classes` and `quantisation` (weighted), detached.

    Raises:
        InputError: a wrong option or shape, a class out of range (named, on the CPU), or arguments that the loss cannot
            use.
    """

    def __init__(self, num_classes: int, bits: int, alpha: float = 0.1) -> None:
        super().__init__()
        at_least("GreedyHashLoss", 1, num_classes=num_classes, bits=bits)
        at_least("GreedyHashLoss", 0, alpha=alpha)
        self.num_classes, self.bits, self.alpha = num_classes, bits, alpha
        self.classifier = nn.Linear(bits, num_classes)
        self.components: dict[str, Tensor] = {}

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Any = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Tensor:
        """Mean loss of the labelled rows, a scalar."""
        refuse_extras("GreedyHashLoss", indices_tuple, ref_emb, ref_labels)
        labels = tags_or_classes(labels, self.num_classes)
        tags = class_tags("GreedyHashLoss", embeddings, labels, self.num_classes, self.bits)
        outputs = widen(embeddings)
        several = labels.dtype == torch.bool
        known = torch.ones_like(tags[:, 0]) if several else tags.any(1)
        codes = signs(outputs) + (outputs - outputs.detach())
        logits = dot_scores(codes, self.classifier.weight) + self.classifier.bias
        if several:
            losses = F.binary_cross_entropy_with_logits(logits, tags.to(logits.dtype), reduction="none").mean(1)
        else:
            losses = F.cross_entropy(logits, tags.to(torch.uint8).argmax(1), reduction="none")
        classes = mean_where(losses, known)
        quantisation = self.alpha * mean_where((outputs.abs() - 1).abs().pow(3).mean(1), known)
        self.components = {"classes": classes.detach(), "quantisation": quantisation.detach()}
        return classes + quantisation
