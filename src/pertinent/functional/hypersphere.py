"""The terms of HyP2: images near the proxies of their tags, away from other proxies and from unrelated images.

Masks do all the choosing, so nothing here waits for an accelerator. A term without any pair is 0.

Reference: Xu, Zhou, Qian, Zhong, "HyP2 Loss: Beyond Hypersphere Metric Space for Multi-label Image Retrieval", ACM
Multimedia 2022.

Letters: B batch, R references, C classes, K bits.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from pertinent.functional.scores import dot_scores, widen

PairScope = Literal["multi", "all"]


def cosines(left: Tensor, right: Tensor) -> Tensor:
    """Cosine of every row of one with every row of the other, in float32 or wider; a row of zeros has cosine 0."""
    with torch.autocast(left.device.type, enabled=False):
        return dot_scores(F.normalize(widen(left)), F.normalize(widen(right)))


def proxy_terms(similarity: Tensor, tags: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Mean of 1 - s over an image's own proxies, and of max(0, s - threshold) over the others.

    Args:
        similarity: `(B, C)` cosines of images and proxies.
        tags: `(B, C)` 1 where the image has the tag, 0 where not.
        threshold: cosine up to which another proxy is far enough.

    Returns:
        two scalars, each the mean over its own pairs in the whole batch.
    """
    absent = tags == 0
    near = ((1 - similarity) * (tags == 1)).sum() / (~absent).sum().clamp(min=1)
    far = (F.relu(similarity - threshold) * absent).sum() / absent.sum().clamp(min=1)
    return near, far


def pair_term(similarity: Tensor, tags: Tensor, ref_tags: Tensor, threshold: float, scope: PairScope) -> Tensor:
    """Mean of max(0, s - threshold) over pairs of images that share no tag.

    Args:
        similarity: `(B, R)` cosines of images and references.
        tags: `(B, C)` of 0 and 1.
        ref_tags: `(R, C)` of 0 and 1.
        threshold: cosine up to which unrelated images are far enough.
        scope: `multi` takes images with two tags or more, as the paper does; `all` those with one or more.

    Returns:
        a scalar.
    """
    least = 1 if scope == "multi" else 0
    values, ref_values = tags.to(similarity.dtype), ref_tags.to(similarity.dtype)
    chosen = (values.sum(1) > least)[:, None] & (ref_values.sum(1) > least)[None, :]
    unrelated = chosen & (dot_scores(values, ref_values) == 0)
    return (F.relu(similarity - threshold) * unrelated).sum() / unrelated.sum().clamp(min=1)
