"""From a feature map to an embedding: pooling and head modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from pertinent.functional.pooling import average_max_pool, average_pool, gem_pool, max_pool

PoolName = Literal["average", "max", "gem", "gem-per-channel", "average+max", "own"]
HeadStart = Literal["torch", "kaiming"]

_PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "average": average_pool,
    "max": max_pool,
    "average+max": average_max_pool,
}


class Pool(nn.Module):
    """Global pooling by name, `(B, C, H, W)` to `(B, C)`; `gem` learns its power `p`, which starts at 3.

    `gem-per-channel` learns one power a channel, and so needs to know how many `channels` there are.
    `own` leaves the pooling to the backbone, which then gives `(B, C)`.
    """

    def __init__(self, name: PoolName, channels: int = 1) -> None:
        super().__init__()
        self.name = name
        if name.startswith("gem"):
            self.p = nn.Parameter(torch.full((channels if name == "gem-per-channel" else 1,), 3.0))

    def forward(self, features: Tensor) -> Tensor:
        """Pool `(B, C, H, W)` into `(B, C)`."""
        if self.name == "own":
            return features
        if self.name.startswith("gem"):
            return gem_pool(features, self.p)
        return _PLAIN[self.name](features)


class Head(nn.Module):
    """Linear layer with a LayerNorm without weights before it (HAPPIER), after it (HIST), or none.

    Args:
        channels: length of the pooled vector.
        dim: length of the embedding; None keeps the pooled vector.
        layer_norm: where the LayerNorm stands.
        start: first weights of the linear layer: those of torch, or from N(0, 2 / dim) with a bias of 0 (HIST).
        dropout: share of the numbers before the linear layer that training sets to 0 (Inception-v3 in HyP²).
    """

    def __init__(
        self,
        channels: int,
        dim: int | None,
        layer_norm: Literal["none", "before", "after"],
        start: HeadStart = "torch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(channels, dim) if dim is not None else nn.Identity()
        if start == "kaiming" and isinstance(self.linear, nn.Linear):
            nn.init.kaiming_normal_(self.linear.weight, mode="fan_out")
            nn.init.zeros_(self.linear.bias)
        self.dim = dim if dim is not None else channels
        self.before = nn.LayerNorm(channels, elementwise_affine=False) if layer_norm == "before" else nn.Identity()
        self.after = nn.LayerNorm(self.dim, elementwise_affine=False) if layer_norm == "after" else nn.Identity()

    def forward(self, pooled: Tensor) -> Tensor:
        """`(B, C)` to `(B, D)`."""
        result: Tensor = self.after(self.linear(self.dropout(self.before(pooled))))
        return result
