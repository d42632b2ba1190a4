from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pertinent.functional.pooling import average_max_pool, average_pool, gem_pool, max_pool

GOLDEN = Path(__file__).parents[1] / "golden" / "happier" / "head_01.npz"
MAPS = torch.from_numpy(np.random.default_rng(0).uniform(0.1, 2.0, (3, 5, 4, 2)))


def literal(pool):
    """Pool by a function of the values at all places of one channel."""
    values = [[pool(channel.flatten().tolist()) for channel in picture] for picture in MAPS]
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("pool", "of_places"),
    [
        (average_pool, lambda values: sum(values) / len(values)),
        (max_pool, max),
        (average_max_pool, lambda values: sum(values) / len(values) + max(values)),
        (gem_pool, lambda values: (sum(v**3 for v in values) / len(values)) ** (1 / 3)),
        (lambda maps: gem_pool(maps, p=1.7), lambda values: (sum(v**1.7 for v in values) / len(values)) ** (1 / 1.7)),
    ],
    ids=["average", "max", "average+max", "gem", "gem 1.7"],
)
def test_each_pooling_is_its_definition(pool, of_places):
    torch.testing.assert_close(pool(MAPS), literal(of_places), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "pool"), [("avg", average_pool), ("max", max_pool)])
def test_pooling_agrees_with_happier(name, pool):
    with np.load(GOLDEN) as golden:
        want = torch.from_numpy(golden[f"{name}_pooled"])
        torch.testing.assert_close(pool(torch.from_numpy(golden["feature_map"])), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("pool", [average_pool, max_pool, average_max_pool, gem_pool])
def test_places_have_no_order_and_one_place_is_itself(pool):
    shuffled = MAPS.flatten(2)[:, :, torch.randperm(8, generator=torch.Generator().manual_seed(0))].unsqueeze(2)
    torch.testing.assert_close(pool(shuffled), pool(MAPS))
    one = MAPS[:, :, :1, :1]
    torch.testing.assert_close(pool(one), one[:, :, 0, 0] * (2 if pool is average_max_pool else 1))


def test_gem_lies_between_average_and_maximum():
    torch.testing.assert_close(gem_pool(MAPS, p=1.0), average_pool(MAPS))
    torch.testing.assert_close(gem_pool(MAPS, p=300.0), max_pool(MAPS), rtol=1e-2, atol=0)
    powers = [gem_pool(MAPS, p=p) for p in (1.0, 2.0, 4.0, 8.0)]
    assert all((low <= high).all() for low, high in itertools.pairwise(powers))


def test_gem_raises_what_is_not_positive_to_its_floor():
    dead = torch.tensor([[-1.0, 0.0, -3.0]]).reshape(1, 1, 1, 3)
    assert gem_pool(dead).item() == pytest.approx(1e-6)
    assert gem_pool(dead, eps=0.5).item() == pytest.approx(0.5)
    assert math.isfinite(gem_pool(torch.zeros(1, 1, 2, 2)).item())


def test_gem_is_computed_in_float32_whatever_autocast_says():
    half = MAPS.to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = gem_pool(half)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, gem_pool(half.float()), rtol=0, atol=0)


def test_gradients():
    maps = MAPS[:2, :2].clone().requires_grad_()
    p = torch.tensor([2.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gem_pool, (maps, p))
    for pool in (average_pool, max_pool, average_max_pool):
        assert torch.autograd.gradcheck(pool, (maps,))
