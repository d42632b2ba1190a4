"""HIST: class distributions and a hypergraph network over the batch."""

from __future__ import annotations

import math
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pertinent.errors import InputError
from pertinent.functional.hypergraph import (
    Variance,
    class_distances,
    distribution_losses,
    incidence,
    propagation,
    variances,
)
from pertinent.functional.scores import widen
from pertinent.losses._batch import check_range, label_columns, labelled, refuse_pairs, refuse_references

__all__ = ["HISTLoss", "ClassDistributions", "HypergraphNetwork"]  # noqa: RUF022 - the registry takes the first


class ClassDistributions(nn.Module):
    """A mean and variances for every class, learned.

    Args:
        num_classes: C.
        dim: width D of the embeddings.
        variance: how `log_vars` become variances, see `functional.hypergraph.variances`.

    Attributes:
        means, log_vars: `(C, D)`, from N(0, 2 / C).
    """

    def __init__(self, num_classes: int, dim: int, variance: Variance = "relu6") -> None:
        super().__init__()
        deviation = math.sqrt(2 / num_classes)
        self.variance: Variance = variance
        self.means = nn.Parameter(torch.randn(num_classes, dim) * deviation)
        self.log_vars = nn.Parameter(torch.randn(num_classes, dim) * deviation, requires_grad=variance != "unit")

    def forward(self, embeddings: Tensor) -> Tensor:
        """Distance `(N, C)` of embeddings `(N, D)` to every class."""
        return class_distances(embeddings, widen(self.means), variances(widen(self.log_vars), self.variance))


class HypergraphNetwork(nn.Module):
    """Two layers that spread features over a hypergraph and classify its nodes.

    Args:
        dim: width D of the embeddings.
        hidden: width between the layers.
        num_classes: C.
    """

    def __init__(self, dim: int, hidden: int, num_classes: int) -> None:
        super().__init__()
        self.theta1 = nn.Linear(dim, hidden)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.theta2 = nn.Linear(hidden, num_classes)

    def forward(self, embeddings: Tensor, spread: Tensor) -> Tensor:
        """Logits `(N, C)` of nodes with embeddings `(N, D)`, given `(N, N)` of `functional.hypergraph.propagation`."""
        features = spread @ self.theta1(embeddings)
        # One node has no variance: it is normalised by the running statistics.
        normalised = self.bn1(features) if len(features) > 1 else _by_running_statistics(self.bn1, features)
        logits: Tensor = spread @ self.theta2(F.leaky_relu(normalised, 0.1))
        return logits


class HISTLoss(nn.Module):
    """Items near the distribution of their class, and told apart after spreading over a hypergraph (HIST).

    The sum of L_D, the cross entropy over softmax(-tau d) with d the squared Mahalanobis distances to the classes'
    distributions, and lambda_s L_CE, the cross entropy of a two-layer network whose hyperedges are the classes of the
    batch; see `functional.hypergraph`. Reference: Lim, Yun, Park, Choi, "Hypergraph-Induced Semantic Tuplet Loss for
    Deep Metric Learning", CVPR 2022.

    Shapes: embeddings `(B, D)`, normalised inside for the distances and used as given by the network; labels `(B,)` or
    `(B, L)` int64, classes 0..num_classes-1 in column `level`. Rows labelled -1 there are left out; when none is left
    the loss is 0 with a zero gradient. With one row the network's batch norm uses its running statistics.

    Extensions beyond the paper: `tree=True` adds a hyperedge for every class of the coarser columns, to which a
    stranger belongs as much as to the nearest of its fine classes in the batch (-1 there: in none). Labels
    `(B, num_classes)` bool are tags: an item is a member of each of its tags' hyperedges, L_D is averaged over its tags
    and L_CE is a binary cross entropy for each tag; items without tags are left out.

    Args:
        num_classes: number of classes or tags.
        dim: width D of the embeddings.
        hidden: width between the network's layers.
        tau: sharpness of L_D (32 for CUB and Cars, 16 for SOP).
        alpha: hardness of the hyperedges (1.1, .9 and 2).
        lambda_s: weight of L_CE; 0 leaves the network out.
        lambda_d: weight of L_D; at 0 the distributions learn through the hyperedges alone.
        drop_underflow: leave rows whose probability is exactly 0 out of L_D, as the original does.
        variance: `relu6` as in the paper, `softplus` which has a gradient everywhere, or `unit`.
        tree: hyperedges for the coarser label columns too.
        level: the label column, 0 finest.

    Attributes:
        distributions: `ClassDistributions` with `means` and `log_vars`.
        hgnn: `HypergraphNetwork` with `theta1`, `bn1` and `theta2`.
        components: the last call's terms `distribution` and `hypergraph`, each times its weight, detached.

    Raises:
        InputError: a label out of range (named), a wrong option or shape, or arguments that the loss cannot use.
    """

    def __init__(  # noqa: PLR0917 - the order is public
        self,
        num_classes: int,
        dim: int,
        hidden: int = 512,
        tau: float = 32.0,
        alpha: float = 0.9,
        lambda_s: float = 1.0,
        drop_underflow: bool = False,
        *,
        lambda_d: float = 1.0,
        variance: Variance = "relu6",
        tree: bool = False,
        level: int = 0,
    ) -> None:
        super().__init__()
        if min(num_classes, dim, hidden) < 1:
            raise InputError(f"num_classes, dim and hidden must be at least 1, got {num_classes}, {dim}, {hidden}")
        if tau <= 0 or alpha < 0 or min(lambda_s, lambda_d) < 0:
            got = f"{tau}, {alpha}, {lambda_s}, {lambda_d}"
            raise InputError(f"tau must be positive, alpha, lambda_s and lambda_d at least 0, got {got}")
        if variance not in get_args(Variance):
            raise InputError(f"variance must be one of {get_args(Variance)}, got {variance!r}")
        self.num_classes, self.tau, self.alpha = num_classes, tau, alpha
        self.lambda_s, self.lambda_d = lambda_s, lambda_d
        self.drop_underflow, self.tree, self.level = drop_underflow, tree, level
        self.distributions = ClassDistributions(num_classes, dim, variance)
        self.hgnn = HypergraphNetwork(dim, hidden, num_classes)
        self.components: dict[str, Tensor] = {}

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Any = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
    ) -> Tensor:
        """Loss of the labelled rows, a scalar."""
        refuse_pairs("HISTLoss", indices_tuple)
        refuse_references("HISTLoss", ref_emb, ref_labels)
        targets, coarser = self._targets(embeddings, labels)
        rows = targets.any(1)
        targets, coarser = targets[rows], coarser[rows]
        with torch.autocast(embeddings.device.type, enabled=False):
            nodes = widen(embeddings)[rows]
            distances = self.distributions(nodes)
            first = self.lambda_d * distribution_losses(distances, targets, self.tau, self.drop_underflow)
            second = first.new_zeros(())
            if self.lambda_s > 0:
                spread = propagation(self.hyperedges(distances, targets, coarser))
                second = self.lambda_s * self._classify(self.hgnn(nodes, spread), targets, labels.dtype == torch.bool)
        self.components = {"distribution": first.detach(), "hypergraph": second.detach()}
        return first + second

    def hyperedges(self, distances: Tensor, targets: Tensor, coarser: Tensor) -> Tensor:
        """Membership `(N, E)`: a hyperedge for each class of the batch, ascending, then for each coarser class.

        Args:
            distances: `(N, C)` to all classes.
            targets: `(N, C)` bool, the classes of each node.
            coarser: `(N, L-1)` the coarser labels, or `(N, 0)`.
        """
        present = targets.any(0).nonzero()[:, 0]
        members, fine = targets[:, present], incidence(distances[:, present], targets[:, present], self.alpha)
        edges = [fine]
        for column in coarser.T:
            for label in column[column >= 0].unique():
                inside = column == label
                below = members[inside].any(0)
                edges.append(torch.where(inside, 1, fine[:, below].amax(1))[:, None])
        return torch.cat(edges, dim=1)

    def _classify(self, logits: Tensor, targets: Tensor, tags: bool) -> Tensor:
        if tags:
            losses = F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none").mean(1)
        else:
            losses = F.cross_entropy(logits, targets.to(torch.uint8).argmax(1), reduction="none")
        return losses.sum() / max(len(losses), 1)

    def _targets(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Classes of each row, `(B, C)` bool, none for an unlabelled one, and its coarser labels, `(B, L-1)`."""
        if labels.dtype == torch.bool:
            if self.tree or embeddings.ndim != 2 or labels.shape != (len(embeddings), self.num_classes):
                raise InputError(
                    f"bool labels are tags and must be ({len(embeddings)}, {self.num_classes}) without tree=True, "
                    f"got {tuple(labels.shape)}, tree={self.tree}"
                )
            return labels.to(embeddings.device), labels.new_zeros(len(labels), 0, dtype=torch.int64)
        column = label_columns(embeddings, labels, self.level)
        check_range(column, self.num_classes, "HISTLoss", self.level)
        coarser = label_columns(embeddings, labels, None)[:, self.level + 1 :] if self.tree else column[:, :0]
        targets = (column == torch.arange(self.num_classes, device=column.device)) & labelled(column)[:, None]
        return targets, coarser


def _by_running_statistics(norm: nn.BatchNorm1d, features: Tensor) -> Tensor:
    return F.batch_norm(features, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
