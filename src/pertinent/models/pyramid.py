"""The last two feature maps of a network used together, as in the FPN networks of Deep Image Retrieval."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

PyramidName = Literal["none", "concat", "fused"]


class Pyramid(nn.Module):
    """Pool the last two maps of a network, each with a pooling of its own, one behind the other; `(B, Cf + Cc)`.

    Args:
        fine, coarse: the poolings of the last map but one, of Cf channels, and of the last one, of Cc channels.
        channels: (Cf, Cc), for `fused`: the coarse map, brought to Cf channels and to the size of the fine map, is
            added to it, and a 3 x 3 convolution follows. None leaves the maps alone.
    """

    def __init__(self, fine: nn.Module, coarse: nn.Module, channels: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.fine, self.coarse = fine, coarse
        self.lateral = self.smooth = None
        if channels is not None:
            self.lateral = nn.Conv2d(channels[1], channels[0], kernel_size=1, bias=False)
            self.smooth = nn.Conv2d(channels[0], channels[0], kernel_size=3, padding=1, bias=False)

    def forward(self, fine: Tensor, coarse: Tensor, prepare: nn.Module) -> Tensor:
        """Maps `(B, Cf, Hf, Wf)` and `(B, Cc, Hc, Wc)`; `prepare` is done to both before their pooling."""
        if self.lateral is not None and self.smooth is not None:
            upper = nn.functional.interpolate(coarse, size=fine.shape[-2:], mode="nearest")
            fine = torch.relu(self.smooth(fine + torch.relu(self.lateral(upper))))
        return torch.cat([self.fine(prepare(fine)), self.coarse(prepare(coarse))], dim=1)
