"""The terms of losses for binary codes: pairs of images, images and their hash centres, and how binary outputs are.

The outputs are real; a code is their sign. All of this runs in the precision of its arguments.

Letters: B batch, R references, C classes, K bits.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from pertinent.functional.scores import dot_scores

MarginKind = Literal["cos", "arc"]

NEAREST = 1e-3
"""Bits below which the Cauchy loss takes two unrelated codes for equally near: at 0 it would be infinite."""


def signs(outputs: Tensor) -> Tensor:
    """1 where an output is 0 or above, else -1; a constant, without gradient."""
    return torch.where(outputs.detach() >= 0, 1.0, -1.0).to(outputs.dtype)


def mean_where(values: Tensor, counted: Tensor) -> Tensor:
    """Mean of the values that count, 0 where none does."""
    return torch.where(counted, values, 0).sum() / counted.sum().clamp(min=1)


def squared_distances(left: Tensor, right: Tensor) -> Tensor:
    """Squared Euclidean distances of all rows of one to all rows of the other, `(B, R)`, at least 0."""
    products = dot_scores(left, right)
    left, right = left.to(products.dtype), right.to(products.dtype)
    return F.relu(left.square().sum(1)[:, None] + right.square().sum(1)[None, :] - 2 * products)


def contrastive_codes(squares: Tensor, similar: Tensor, margin: float) -> Tensor:
    """DSH's pairs: d^2 / 2 of similar ones, max(0, margin - d^2) / 2 of others.

    Args:
        squares: `(B, R)` squared distances.
        similar: `(B, R)` bool.
        margin: squared distance from which others cost nothing.
    """
    return torch.where(similar, squares, F.relu(margin - squares)) / 2


def pair_likelihood(logits: Tensor, similar: Tensor) -> Tensor:
    """Cross entropy of pairs, log(1 + e^logit) - similar * logit, elementwise and without overflow."""
    return F.softplus(torch.where(similar, -logits, logits))


def balance_weights(similar: Tensor, counted: Tensor) -> Tensor:
    """|S| / |S1| for similar pairs and |S| / |S0| for others, as HashNet and DCH even them out; `(B, R)`."""
    near, far = (similar & counted).sum(), (~similar & counted).sum()
    return (near + far) / torch.where(similar, near, far).clamp(min=1)


def jaccard(shared: Tensor, sizes: Tensor, ref_sizes: Tensor) -> Tensor:
    """Common tags over all tags of two images, `(B, R)`; 0 where neither has any.

    Args:
        shared: `(B, R)` number of common tags.
        sizes: `(B,)` number of tags.
        ref_sizes: `(R,)` number of tags.
    """
    return shared / (sizes[:, None] + ref_sizes[None, :] - shared).clamp(min=1)


def label_cosine(shared: Tensor, sizes: Tensor, ref_sizes: Tensor) -> Tensor:
    """Cosine of the tag vectors of two images, `(B, R)`; 0 where one has none. Arguments as for `jaccard`."""
    return shared / (sizes[:, None] * ref_sizes[None, :]).clamp(min=1).sqrt()


def soft_pairs(products: Tensor, similarity: Tensor, bits: int, alpha: float, gamma: float) -> Tensor:
    """IDHN's pairs: the likelihood of hard ones (all tags or none in common), squares for the soft ones between.

    With d = (u . v + K) / (2 K), from 0 to 1, a soft pair costs gamma K (d - s)^2.

    Args:
        products: `(B, R)` dot products u . v of outputs in -1..1.
        similarity: `(B, R)` in 0..1; above .99 and below .01 a pair is hard.
        bits: K.
        alpha: times the product is the logit of a hard pair.
        gamma: weight of soft pairs.
    """
    hard = (similarity > 0.99) | (similarity < 0.01)
    soft = gamma * bits * ((products + bits) / (2 * bits) - similarity).square()
    return torch.where(hard, pair_likelihood(alpha * products, similarity > 0.5), soft)


def code_distances(cosines: Tensor, bits: int) -> Tensor:
    """Hamming distance that a cosine stands for, (1 - s) K / 2, at least 0."""
    return F.relu(1 - cosines) * bits / 2


def cauchy_pairs(distances: Tensor, similar: Tensor, gamma: float) -> Tensor:
    """DCH's pairs: s log(d / gamma) + log(1 + gamma / d), that is log(1 + d / gamma) or log(1 + gamma / d)."""
    near = torch.log1p(distances / gamma)
    far = torch.log1p(gamma / distances.clamp(min=NEAREST))
    return torch.where(similar, near, far)


def cauchy_quantisation(outputs: Tensor, gamma: float) -> Tensor:
    """DCH's log(1 + d(|u|, 1) / gamma) of each row, d being the distance between |u| and a row of ones; `(B,)`."""
    absolute = outputs.abs()
    cosine = F.normalize(absolute).sum(1) / math.sqrt(outputs.shape[1])
    return torch.log1p(code_distances(cosine, outputs.shape[1]) / gamma)


def log_cosh(values: Tensor) -> Tensor:
    """log cosh, without overflow."""
    return values.abs() + F.softplus(-2 * values.abs()) - math.log(2)


def majority(tags: Tensor, centres: Tensor, ties: Tensor) -> Tensor:
    """Centre of each image: the bits that most of its tags' centres have; `(B, K)` of -1 and 1.

    Args:
        tags: `(B, C)` bool.
        centres: `(C, K)` of -1 and 1.
        ties: `(K,)` of -1 and 1, taken where as many are for as against.
    """
    votes = dot_scores(tags.to(centres.dtype), centres.T)
    return torch.where(votes == 0, ties, votes.sign()).to(centres.dtype)


def centre_likelihood(outputs: Tensor, targets: Tensor) -> Tensor:
    """CSQ's binary cross entropy of (tanh x + 1) / 2 to (c + 1) / 2, which is log(1 + e^(-2 c x)); mean over bits."""
    return F.softplus(-2 * targets * outputs).mean(1)


def polarisation(outputs: Tensor, targets: Tensor, margin: float) -> Tensor:
    """DPN's mean over bits of max(0, margin - x c); `(B,)`."""
    return F.relu(margin - outputs * targets).mean(1)


def margin_likelihood(cosines: Tensor, tags: Tensor, scale: float, margin: float, kind: MarginKind) -> Tensor:
    """OrthoHash's cross entropy of scaled cosines, own classes a margin lower, to y / sum y; `(B,)`, 0 without a tag.

    Args:
        cosines: `(B, C)` to the centres.
        tags: `(B, C)` bool.
        scale: times the cosine is the logit.
        margin: taken off an own class's cosine (`cos`) or added to its angle (`arc`).
        kind: which of the two.
    """
    own = tags.to(cosines.dtype)
    if kind == "arc":
        lowered = torch.cos(torch.acos(cosines.clamp(-0.99999, 0.99999)) + margin * own)
    else:
        lowered = cosines - margin * own
    share = own / own.sum(1, keepdim=True).clamp(min=1)
    return -(share * F.log_softmax(scale * lowered, dim=1)).sum(1)


def sign_cosine(outputs: Tensor) -> Tensor:
    """1 - cosine of each row with its signs; `(B,)`."""
    return 1 - F.normalize(outputs.abs()).sum(1) / math.sqrt(outputs.shape[1])


def balance(bits: Tensor, known: Tensor) -> Tensor:
    """Mean over the bits of the square of a bit's mean: 0 where each is 1 for half of the rows that are known."""
    means = torch.where(known[:, None], bits, 0).sum(0) / known.sum().clamp(min=1)
    return means.square().mean()


def decorrelation(bits: Tensor, known: Tensor) -> Tensor:
    """Mean over pairs of different bits of the square of their mean product; 0 for a single bit."""
    rows = torch.where(known[:, None], bits, 0)
    products = dot_scores(rows.T, rows.T) / known.sum().clamp(min=1)
    width = bits.shape[1]
    off = products.square().sum() - products.diagonal().square().sum()
    return off / max(width * (width - 1), 1)
