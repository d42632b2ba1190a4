"""Whitening that travels with an encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pertinent.errors import InputError
from pertinent.functional.whitening import Whitening


class WhiteningLayer(nn.Module):
    """Centre, project and normalise descriptors: `(B, D)` to `(B, K)`; its numbers are fixed, not learned.

    Args:
        length: D of what comes in.
        dim: K, length of a whitened descriptor.
    """

    mean: Tensor
    projection: Tensor

    def __init__(self, length: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(length))
        self.register_buffer("projection", torch.eye(dim, length))

    @classmethod
    def of(cls, whitening: Whitening) -> WhiteningLayer:
        """The layer that does what a learned whitening says, in float32.

        Raises:
            InputError: mean and projection of different lengths.
        """
        dim, length = whitening.projection.shape
        if whitening.mean.shape != (length,):
            raise InputError(
                f"a whitening's projection is {dim} x {length}, its mean has {whitening.mean.size} numbers"
            )
        layer = cls(length, dim)
        layer.mean.copy_(torch.from_numpy(whitening.mean))
        layer.projection.copy_(torch.from_numpy(whitening.projection))
        return layer

    @property
    def dim(self) -> int:
        """Length K of a whitened descriptor."""
        return self.projection.shape[0]

    @property
    def shape(self) -> dict[str, int]:
        """The arguments that make a layer for the same numbers."""
        return {"length": self.projection.shape[1], "dim": self.dim}

    def forward(self, descriptors: Tensor) -> Tensor:
        """`(B, D)` to `(B, K)`, of length 1, in float32 or wider whatever autocast says."""
        with torch.autocast(descriptors.device.type, enabled=False):
            centred = descriptors.to(self.mean.dtype) - self.mean
            return nn.functional.normalize(centred @ self.projection.T, dim=1)
