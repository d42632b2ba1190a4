"""Losses against proxies: normalised softmax (HAPPIER's clustering term) and CSL.

Letters: B batch, C proxies, D dim, L levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pertinent.functional.scores import dot_scores, widen


def proxy_scores(embeddings: Tensor, proxies: Tensor) -> Tensor:
    """Dot product of embeddings `(B, D)`, as given, with unit-length proxies `(C, D)`: `(B, C)` float32 or wider."""
    with torch.autocast(embeddings.device.type, enabled=False):
        return dot_scores(embeddings, F.normalize(widen(proxies)))


def normalised_softmax(embeddings: Tensor, proxies: Tensor, labels: Tensor, temperature: float = 0.05) -> Tensor:
    """Cross entropy of each item over unit-length proxies (Zhai and Wu, BMVC 2019).

    Args:
        embeddings: `(B, D)`, used as given.
        proxies: `(C, D)`, normalised inside.
        labels: `(B,)` int64 in 0..C-1.
        temperature: divides the scores.

    Returns:
        `(B,)`.
    """
    return F.cross_entropy(proxy_scores(embeddings, proxies) / temperature, labels, reduction="none")


def csl(
    embeddings: Tensor,
    proxies: Tensor,
    labels: Tensor,
    proxy_labels: Tensor,
    margins: Sequence[float],
    *,
    scale: float = 32.0,
) -> Tensor:
    """Cross-level concept distinction loss of each item and level (Sun et al., Dynamic Metric Learning, CVPR 2021).

    softplus(N + P + margin_l * scale) with P the log-sum-exp of -s over the proxies of the item's fine class and N that
    of s over the proxies of another class at level l; s = scale * score. Without such proxies the term is 0.

    Args:
        embeddings: `(B, D)`, used as given.
        proxies: `(C, D)`, normalised inside.
        labels: `(B, L)` int64, column 0 finest.
        proxy_labels: `(C, L)` int64.
        margins: one for each level, fine first.
        scale: multiplies the scores.

    Returns:
        `(B, L)`.
    """
    scores = scale * proxy_scores(embeddings, proxies)
    # A finite floor, not -inf: the gradient of a log-sum-exp over nothing would be NaN.
    floor = torch.finfo(scores.dtype).min / 4
    same = labels[:, None, 0] == proxy_labels[None, :, 0]
    positive = torch.logsumexp((-scores).masked_fill(~same, floor), dim=1)
    terms = []
    for level, margin in enumerate(margins):
        alike = labels[:, None, level] == proxy_labels[None, :, level]
        negative = torch.logsumexp(scores.masked_fill(alike, floor), dim=1)
        terms.append(F.softplus(negative + positive + margin * scale))
    return torch.stack(terms, dim=1)
