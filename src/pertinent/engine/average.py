"""An average of the weights over the steps of training."""

from __future__ import annotations

import copy

import torch

from pertinent.models.encoder import Encoder


class WeightAverage:
    """Exponential moving average of an encoder's weights: mean = decay * mean + (1 - decay) * weights.

    Running statistics are taken as they are. Early on the decay is (1 + n) / (10 + n) after n steps where that is less,
    so that the random first weights do not linger.

    Attributes:
        encoder: a copy of the encoder that holds the averages.
    """

    def __init__(self, encoder: Encoder, decay: float) -> None:
        self.encoder = copy.deepcopy(encoder).eval().requires_grad_(False)
        self.decay, self.steps = decay, 0

    @torch.no_grad()
    def update(self, encoder: Encoder) -> None:
        """Take in the weights after a step."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for mean, weight in zip(self.encoder.parameters(), encoder.parameters(), strict=True):
            mean.lerp_(weight, 1 - decay)
        for own, buffer in zip(self.encoder.buffers(), encoder.buffers(), strict=True):
            own.copy_(buffer)
