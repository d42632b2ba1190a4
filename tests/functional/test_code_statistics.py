from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from pertinent.errors import InputError
from pertinent.functional.code_statistics import code_statistics, quantisation_error


def test_by_hand():
    outputs = torch.tensor([[1.0, 2.0, -1.0], [3.0, 0.5, -2.0], [1.0, 1.0, 4.0], [-1.0, -2.0, 0.0]])
    found = code_statistics(outputs)
    assert (found.count, found.bits, found.distinct, found.colliding, found.largest) == (4, 3, 3, 2, 2)
    assert found.balance.tolist() == [0.75, 0.75, 0.25]
    assert found.zeros == pytest.approx(1 / 12)
    # The first two bits are the same bit.
    assert found.correlation == pytest.approx(1.0)
    share = np.array([0.75, 0.25])
    assert found.bit_entropy == pytest.approx(-(share * np.log2(share)).sum())
    # One code twice, two codes once.
    assert found.entropy == pytest.approx(1.5)
    assert json.loads(json.dumps(found.to_json()))["balance"] == [0.75, 0.75, 0.25]


def test_random_codes_are_balanced_and_uncorrelated():
    found = code_statistics(np.random.default_rng(0).random((5000, 24)) < 0.5)
    assert (np.abs(found.balance - 0.5) < 0.03).all()
    assert found.correlation < 0.08
    assert 4980 < found.distinct <= 5000
    assert found.zeros == 0.0
    assert found.bit_entropy == pytest.approx(1, abs=1e-3)
    assert found.entropy == pytest.approx(np.log2(5000), abs=0.01)


def test_a_constant_bit_correlates_with_nothing_and_long_codes_work():
    outputs = np.random.default_rng(1).standard_normal((50, 130))
    outputs[:, 7] = 1.0
    found = code_statistics(outputs)
    assert np.isfinite(found.correlation)
    assert (found.distinct, found.colliding, found.largest) == (50, 0, 1)
    same = code_statistics(np.ones((3, 2)))
    assert (same.correlation, same.bit_entropy, same.entropy, same.distinct) == (0.0, 0.0, 0.0, 1)


@pytest.mark.parametrize("bits", [1, 64, 65, 1000])
@pytest.mark.parametrize("count", [1, 130])
def test_blocks_change_nothing(bits: int, count: int, monkeypatch: pytest.MonkeyPatch):
    outputs = np.random.default_rng(bits).standard_normal((count, bits)) + 0.3
    outputs[::7, ::3] = 0
    whole, lost = code_statistics(outputs), quantisation_error(outputs)
    monkeypatch.setattr("pertinent.functional.code_statistics.PACKED_ROWS", 9)
    parts = code_statistics(outputs)
    assert whole.to_json() == parts.to_json()
    assert quantisation_error(outputs) == pytest.approx(lost)
    signs = np.sign(outputs)
    np.testing.assert_allclose(whole.balance, (signs > 0).mean(0))
    assert whole.zeros == pytest.approx((signs == 0).mean())
    assert whole.distinct == len(np.unique(signs, axis=0))
    varied = signs.std(0) > 0
    between = np.corrcoef(signs[:, varied].T) - np.eye(varied.sum()) if varied.sum() > 1 else np.zeros((1, 1))
    assert whole.correlation == pytest.approx(np.abs(between).max())


def test_nan_is_refused():
    with pytest.raises(InputError, match="outputs row 1 holds NaN"):
        code_statistics(np.array([[1.0], [np.nan]]))


def test_quantisation_error_is_the_angle_to_the_signs() -> None:
    x = np.array([[1.0, -1.0], [3.0, 0.0], [0.0, 0.0], [5.0, 5.0]])
    want = [0.0, 1 - 1 / np.sqrt(2), 1.0, 0.0]
    assert quantisation_error(x) == pytest.approx(np.mean(want))
    assert quantisation_error(7 * x) == pytest.approx(quantisation_error(x))


def test_signs_themselves_lose_nothing_and_not_less() -> None:
    signs = np.where(np.random.default_rng(0).random((500, 13)) < 0.5, -0.1, 0.1).astype(np.float32)
    assert f"{quantisation_error(signs):.3f}" == "0.000"
