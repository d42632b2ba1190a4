"""Outputs, tags and classes that the tests of losses for codes have in common."""

from __future__ import annotations

import torch
from torch import Tensor

TAGS = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]]).bool()
REF_TAGS = torch.tensor([[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 1, 0]]).bool()
CENTRE_TAGS = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 1]]).bool()
CLASSES = torch.tensor([0, 1, 0, -1, 2, 1])


def batch(count: int = 6, bits: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, bits, dtype=torch.float64, generator=generator).requires_grad_()
