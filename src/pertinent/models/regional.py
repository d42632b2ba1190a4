"""Regional pooling as a part of an encoder."""

from __future__ import annotations

from torch import Tensor, nn

from pertinent.functional.regions import region_sum, regional_pool, unit


class RegionalPool(nn.Module):
    """Pool the regions of the R-MAC grid, add them up at unit length, and normalise; `(B, C, H, W)` to `(B, C)`.

    Around max pooling it is R-MAC (Tolias et al., ICLR 2016); with the linear layer, a whitening of the regions, it is
    the R-MAC of Gordo et al., IJCV 2017, and the regional pooling of cirtorch.

    Args:
        pool: the pooling of one region.
        channels: C of the map, for the linear layer; None does without it.
        levels: scales of the grid.
    """

    def __init__(self, pool: nn.Module, channels: int | None = None, levels: int = 3) -> None:
        super().__init__()
        self.pool, self.levels = pool, levels
        self.linear = nn.Linear(channels, channels) if channels is not None else None

    def forward(self, features: Tensor) -> Tensor:
        """Pool `(B, C, H, W)` into `(B, C)`, of length 1."""
        return unit(region_sum(regional_pool(features, self.pool, self.levels), self.linear))
