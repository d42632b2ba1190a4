"""Every registered loss on a small network in float64, for the tests of steps, processes and memory."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# How each loss is built, and on which labels, is said once, where all of them are tested.
sys.path.insert(0, str(Path(__file__).parents[1] / "common"))
from test_all_losses import NAMES, B, D, build, labels_of

from pertinent.engine.steps import Objective
from pertinent.losses import LOSSES

__all__ = [
    "NAMES",
    "RANKING",
    "B",
    "D",
    "Ranked",
    "build",
    "found",
    "labels_of",
    "make_loss",
    "make_network",
    "make_objective",
    "make_pixels",
]


def make_pixels(seed: int = 0, count: int = B) -> Tensor:
    """Small pictures `(B, 3, 4, 4)`."""
    return torch.randn(count, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def make_network(*, norm: bool = False, dropout: float = 0.0, seed: int = 3) -> nn.Sequential:
    """Pictures to embeddings `(B, D)`, near norm 1 but not on it, as binned losses would then sit on a bin's centre."""
    torch.manual_seed(seed)
    layers = [
        nn.Conv2d(3, 6, 3, padding=1),
        *([nn.BatchNorm2d(6)] if norm else []),
        nn.Tanh(),
        nn.Dropout(dropout),
        nn.Flatten(),
        nn.Linear(96, D),
        Scaled(),
    ]
    return nn.Sequential(*layers).double().train()


class Scaled(nn.Module):
    """To norm .9."""

    def forward(self, values: Tensor) -> Tensor:
        return 0.9 * nn.functional.normalize(values)


def make_objective(*names: str, memory: Any = None) -> Objective:
    """Losses with weights 1, 1/2, 1/3, ..."""
    losses = nn.ModuleDict({name: build(name).double() for name in names})
    return Objective(losses, {name: 1 / (place + 1) for place, name in enumerate(names)}, memory)


def found(parameters: Iterable[tuple[str, nn.Parameter]]) -> Iterator[tuple[str, Tensor]]:
    """Name and gradient of those that have one."""
    return ((name, parameter.grad.clone()) for name, parameter in parameters if parameter.grad is not None)


class Ranked(nn.Module):
    """A loss that keeps to the contract of references, written for its simplicity: 1 - mean of the positives' shares.

    References begin with the queries themselves when `ref_includes_query` says so; no query finds itself.
    """

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Any = None,  # noqa: ARG002
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        *,
        ref_includes_query: bool = False,
    ) -> Tensor:
        items = embeddings if ref_emb is None else ref_emb
        item_labels = labels if ref_labels is None else ref_labels
        shared = labels[:, None] == item_labels if labels.ndim == 1 else (labels.float() @ item_labels.float().T) > 0
        scores = embeddings @ items.T / 0.1
        if ref_emb is None or ref_includes_query:
            own = torch.eye(len(embeddings), len(items), dtype=torch.bool)
            scores, shared = scores.masked_fill(own, -torch.inf), shared & ~own
        return 1 - (scores.softmax(1) * shared).sum(1).mean()


# Losses that rank references which begin with the queries, as a memory needs.
RANKING = [
    "ranked",
    *(name for name in NAMES if "ref_includes_query" in inspect.signature(LOSSES.get(name).forward).parameters),
]


def make_loss(name: str) -> nn.Module:
    """A registered loss in float64, or `ranked`."""
    return Ranked() if name == "ranked" else build(name).double()
