"""More weight for the middle of a feature map (B, C, H, W)."""

from __future__ import annotations

import torch
from torch import Tensor


def centre_bias(features: Tensor, bias: float) -> Tensor:
    """Multiply a map by 1 + `bias` in its middle, falling linearly to 1 at its border; `(B, C, H, W)` as given.

    The weight is a 4 x 4 grid with `bias` in its central four cells, stretched over the map with its corners on the
    map's corners. An option of the Deep Image Retrieval networks.
    """
    grid = torch.zeros(1, 1, 4, 4, dtype=features.dtype, device=features.device)
    grid[:, :, 1:3, 1:3] = bias
    size = (features.shape[2], features.shape[3])
    weight = torch.nn.functional.interpolate(grid, size=size, mode="bilinear", align_corners=True)
    return features * (1 + weight)
