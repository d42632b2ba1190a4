from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from pertinent.errors import InputError
from pertinent.functional.centre_bias import centre_bias
from pertinent.functional.pooling import average_pool, max_pool
from pertinent.functional.regions import region_sum, regional_pool, rmac_regions, unit
from pertinent.models.heads import Pool
from pertinent.models.prepare import Prepare
from pertinent.models.pyramid import Pyramid
from pertinent.models.regional import RegionalPool


def maps(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


SIZES = list(itertools.product([1, 2, 3, 5, 8, 13], [1, 2, 4, 7, 9, 30]))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_regions_lie_in_the_map_are_square_and_turn_with_it(height: int, width: int):
    whole, *squares = rmac_regions(height, width)
    assert whole == (0, 0, height, width)
    for top, left, bottom, right in squares:
        assert 0 <= top < bottom <= height
        assert 0 <= left < right <= width
        assert bottom - top == right - left
    turned = {(left, top, right, bottom) for top, left, bottom, right in rmac_regions(width, height)}
    assert turned == {whole, *squares}


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_number_and_overlap_of_regions(height: int, width: int):
    short, long = sorted((height, width))
    # Of two to seven positions along the long side, those whose neighbours overlap nearest to 40 %; two may tie.
    misses = {n: abs(1 - (long - short) / (n - 1) / short - 0.4) for n in range(2, 8)}
    best = [n for n in misses if misses[n] < min(misses.values()) + 1e-6]
    levels = [level for level in (1, 2, 3) if 2 * short // (level + 1) > 0]
    counts = [1 + sum(level * (level + n - 1) for level in levels) for n in best]
    square = 1 + sum(level * level for level in levels)
    assert len(rmac_regions(height, width)) in (counts if long > short else [square])


def test_levels_and_edges():
    assert rmac_regions(4, 4, 1) == ((0, 0, 4, 4), (0, 0, 4, 4))
    with pytest.raises(InputError, match="at least 1 x 1 and one level, got 0 x 3, 3 levels"):
        rmac_regions(0, 3)
    with pytest.raises(InputError, match="0 levels"):
        rmac_regions(3, 3, 0)


def test_regional_pooling_is_its_definition():
    features = maps(2, 5, 6, 9)
    pooled = regional_pool(features, max_pool)
    boxes = rmac_regions(6, 9)
    assert pooled.shape == (2, len(boxes), 5)
    want = torch.zeros(2, 5, dtype=torch.float64)
    for picture in range(2):
        for top, left, bottom, right in boxes:
            region = torch.stack([features[picture, c, top:bottom, left:right].max() for c in range(5)])
            want[picture] += region / (math.sqrt(sum(v * v for v in region.tolist())) + 1e-6)
    torch.testing.assert_close(region_sum(pooled), want, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(RegionalPool(Pool("max"))(features), unit(want), rtol=1e-12, atol=1e-12)


def test_regions_of_zeros_stay_zero_and_finite():
    nothing = torch.zeros(1, 3, 4, 4, requires_grad=True)
    out = RegionalPool(Pool("max"))(nothing)
    assert torch.equal(out, torch.zeros(1, 3))
    out.sum().backward()
    assert nothing.grad is not None
    assert bool(nothing.grad.isfinite().all())


def test_gradients_of_regional_pooling():
    pool = RegionalPool(Pool("gem"), channels=3).double()
    assert torch.autograd.gradcheck(pool, maps(2, 3, 4, 6).requires_grad_())


def test_centre_bias_weighs_the_middle_and_leaves_the_border():
    ones = torch.ones(1, 2, 7, 7, dtype=torch.float64)
    weighed = centre_bias(ones, 0.5)
    assert weighed[0, 0, 3, 3].item() == pytest.approx(1.5)
    assert weighed[0, 1, 2, 4].item() == pytest.approx(1.5)
    assert weighed[0, 0, 0].tolist() == [1.0] * 7
    assert weighed[0, 0, 1, 3].item() == pytest.approx(1.25)
    torch.testing.assert_close(weighed, weighed.flip(2, 3))
    assert torch.equal(centre_bias(ones, 0.0), ones)


def test_prepare_is_its_parts_in_order():
    features = maps(2, 3, 5, 4)
    assert torch.equal(Prepare()(features), features)
    prepare = Prepare(bias=0.3, channels=3).double()
    weighed = centre_bias(features, 0.3)
    local = prepare.local
    assert local is not None
    want = torch.einsum("bchw,dc->bdhw", weighed, local.weight) + local.bias[None, :, None, None]
    torch.testing.assert_close(prepare(features), want)


def test_dropout_is_for_training():
    features = torch.ones(1, 1, 50, 50)
    prepare = Prepare(dropout=0.4)
    torch.manual_seed(0)
    assert (prepare(features) == 0).double().mean().item() == pytest.approx(0.4, abs=0.05)
    assert torch.equal(prepare.eval()(features), features)


def test_pyramid_pools_two_maps():
    fine, coarse = maps(2, 4, 6, 5), maps(2, 3, 3, 3)
    plain = Pyramid(Pool("average"), Pool("max"))
    want = torch.cat([average_pool(fine), max_pool(coarse)], dim=1)
    assert torch.equal(plain(fine, coarse, Prepare()), want)
    fused = Pyramid(Pool("average"), Pool("max"), (4, 3)).double()
    out = fused(fine, coarse, Prepare())
    # The coarse map is left as it is, the fine one takes what the coarse one knows.
    torch.testing.assert_close(out[:, 4:], max_pool(coarse))
    assert not torch.allclose(out[:, :4], fused(fine, coarse.flip(1), Prepare())[:, :4])
    assert torch.autograd.gradcheck(
        lambda a, b: fused(a, b, Prepare()), (fine.requires_grad_(), coarse.requires_grad_())
    )
