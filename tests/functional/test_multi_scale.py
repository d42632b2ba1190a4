"""Pooling of several descriptors of one image (`functional/multi_scale.py`)."""

from __future__ import annotations

import re

import pytest
import torch

from pertinent.errors import InputError, UnknownNameError
from pertinent.functional.multi_scale import pool_descriptors

X = torch.randn(3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, 2.5])
def test_signed_mean_of_powers_one_number_at_a_time(p):
    pooled = pool_descriptors(X, "gem", p)
    for image in range(4):
        for dim in range(5):
            values = X[:, image, dim].tolist()
            mean = sum(abs(value) ** p * (1 if value > 0 else -1) for value in values) / 3
            want = max(abs(mean), 1e-6) ** (1 / p) * (1 if mean > 0 else -1)
            assert pooled[image, dim].item() == pytest.approx(want, rel=1e-12)


def test_mean():
    torch.testing.assert_close(pool_descriptors(X, "mean"), (X[0] + X[1] + X[2]) / 3)


@pytest.mark.parametrize("p", [1.0, 2.92])
def test_power_is_the_generalised_mean_without_a_floor(p):
    descriptors = torch.nn.functional.normalize(X.abs(), dim=2) * torch.tensor([1.0, 1e-4, 1.0, 1e-9, 0.0]).double()
    torch.testing.assert_close(
        pool_descriptors(descriptors, "power", p), descriptors.pow(p).mean(0).pow(1 / p), rtol=1e-12, atol=1e-300
    )
    assert pool_descriptors(-X, "power", p).equal(-pool_descriptors(X, "power", p))


def test_one_transform_is_returned_as_it_is():
    assert pool_descriptors(X[:1]).equal(X[0])


def test_order_of_transforms_has_no_say_and_signs_are_kept():
    torch.testing.assert_close(pool_descriptors(X), pool_descriptors(X.flip(0)))
    torch.testing.assert_close(pool_descriptors(-X), -pool_descriptors(X))


def test_zeros_are_finite_and_half_precision_is_widened():
    assert pool_descriptors(torch.zeros(2, 1, 3)).tolist() == [[0.0] * 3]
    half = torch.full((2, 1, 3), 0.1, dtype=torch.bfloat16)
    with torch.autocast("cpu"):
        pooled = pool_descriptors(half)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, half[0].float())


@pytest.mark.parametrize(
    ("shape", "p", "said"),
    [
        ((4, 5), 3, "descriptors must be (transforms, N, D), got shape (4, 5)"),
        ((0, 4, 5), 3, "got shape (0, 4, 5)"),
        ((2, 4, 5), 0, "p must be above 0, got 0"),
    ],
)
def test_what_cannot_be_pooled(shape, p, said):
    with pytest.raises(InputError, match=re.escape(said)):
        pool_descriptors(torch.zeros(shape), p=p)


def test_unknown_kind():
    with pytest.raises(UnknownNameError, match="unknown pooling of descriptors 'gemm'; did you mean 'gem'"):
        pool_descriptors(X, "gemm")
