"""Pooling of feature maps (B, C, H, W) into vectors (B, C)."""

from __future__ import annotations

import torch
from torch import Tensor


def average_pool(features: Tensor) -> Tensor:
    """Mean over all places (SPoC); `(B, C, H, W)` to `(B, C)`."""
    return features.mean(dim=(2, 3))


def max_pool(features: Tensor) -> Tensor:
    """Maximum over all places (MAC); `(B, C, H, W)` to `(B, C)`."""
    return features.amax(dim=(2, 3))


def average_max_pool(features: Tensor) -> Tensor:
    """Mean plus maximum over all places (HIST); `(B, C, H, W)` to `(B, C)`."""
    return average_pool(features) + max_pool(features)


def gem_pool(features: Tensor, p: Tensor | float = 3.0, eps: float = 1e-6) -> Tensor:
    """Generalised mean (mean of x^p)^(1/p) over all places, in float32 or wider whatever autocast says.

    Radenovic et al., TPAMI 2018, equation 3.

    Args:
        features: `(B, C, H, W)`; values below `eps` are raised to it.
        p: the power; 1 is the mean, infinity the maximum. May be a parameter, of shape `(1,)` or `(C,)`.
        eps: floor of the features.

    Returns:
        `(B, C)`, float32 or float64.
    """
    with torch.autocast(features.device.type, enabled=False):
        wide = features if features.dtype == torch.float64 else features.float()
        powers = p.reshape(-1, 1, 1) if isinstance(p, Tensor) else p
        return wide.clamp(min=eps).pow(powers).mean(dim=(2, 3)).pow(1.0 / p)
