"""HIST's mathematics: distances to class distributions, soft hyperedges, and how features spread over a hypergraph.

Every class is a distribution with a mean and variances; a hyperedge joins the items of a class and, softly, all others
by their distance to it.

Reference: Lim, Yun, Park, Choi, "Hypergraph-Induced Semantic Tuplet Loss for Deep Metric Learning", CVPR 2022.

Letters: N nodes (batch), C classes, E hyperedges, D dim.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from pertinent.functional.scores import dot_scores

Variance = Literal["relu6", "softplus", "unit"]


def variances(log_vars: Tensor, kind: Variance = "relu6") -> Tensor:
    """Variances of 1 or more, same shape, from learned values.

    Args:
        log_vars: any shape.
        kind: `relu6`: exp(min(max(v, 0), 6)), where values outside 0..6 have no gradient; `softplus`: 1 + log(1 + e^v),
            which always has one; `unit`: 1.
    """
    if kind == "unit":
        return torch.ones_like(log_vars)
    return F.relu6(log_vars).exp() if kind == "relu6" else 1 + F.softplus(log_vars)


def class_distances(embeddings: Tensor, means: Tensor, spread: Tensor) -> Tensor:
    """Squared Mahalanobis distance of unit-length embeddings to unit-length means, `(N, C)`, at least 0.

    sum_f (u_f - q_f)^2 / s_f, as three matrix products: no `(N, C, D)` tensor is made.

    Args:
        embeddings: `(N, D)` float32 or wider, normalised inside.
        means: `(C, D)`, normalised inside.
        spread: `(C, D)` variances s.
    """
    u, q = F.normalize(embeddings), F.normalize(means)
    weight = 1 / spread
    own = (q.square() * weight).sum(1)
    return (dot_scores(u.square(), weight) - 2 * dot_scores(u, q * weight) + own).clamp(min=0)


def distribution_losses(distances: Tensor, targets: Tensor, tau: float, drop_underflow: bool = False) -> Tensor:
    """Cross entropy of nodes and their classes over softmax(-tau d): mean over the nodes, a scalar.

    Args:
        distances: `(N, C)`.
        targets: `(N, C)` bool, the classes of each node; several are averaged. Nodes without any are left out.
        tau: sharpness.
        drop_underflow: leave out pairs whose probability is exactly 0 in this precision, as the original does; these
            are the hardest ones.
    """
    log_p = F.log_softmax(-tau * distances, dim=1)
    if drop_underflow:
        targets = targets & (log_p.detach().exp() > 0)
    counts = targets.sum(1)
    each = -torch.where(targets, log_p, 0).sum(1) / counts.clamp(min=1)
    return each.sum() / (counts > 0).sum().clamp(min=1)


def incidence(distances: Tensor, members: Tensor, alpha: float) -> Tensor:
    """Membership of every node in every hyperedge, `(N, E)`: 1 for its members, exp(-alpha d) for others.

    Args:
        distances: `(N, E)` to the hyperedge's class.
        members: `(N, E)` bool.
        alpha: hardness; the larger, the less strangers belong.
    """
    return torch.where(members, 1, torch.exp(-alpha * distances))


def propagation(membership: Tensor) -> Tensor:
    """How much each node takes from each other over common hyperedges, `(N, N)`: Dv^-1/2 H De^-1 H^T Dv^-1/2.

    Args:
        membership: `(N, E)` H, with at least one member a hyperedge; Dv and De are its row and column sums.
    """
    nodes = membership / membership.sum(1, keepdim=True).sqrt()
    return (nodes / membership.sum(0)) @ nodes.T
