from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from pertinent.errors import InputError
from pertinent.functional.code_statistics import code_statistics


def test_by_hand():
    outputs = torch.tensor([[1.0, 2.0, -1.0], [3.0, 0.5, -2.0], [1.0, 1.0, 4.0], [-1.0, -2.0, 0.0]])
    found = code_statistics(outputs)
    assert (found.count, found.bits, found.distinct, found.colliding, found.largest) == (4, 3, 3, 2, 2)
    assert found.balance.tolist() == [0.75, 0.75, 0.25]
    assert found.zeros == pytest.approx(1 / 12)
    # The first two bits are the same bit.
    assert found.correlation == pytest.approx(1.0)
    assert json.loads(json.dumps(found.to_json()))["balance"] == [0.75, 0.75, 0.25]


def test_random_codes_are_balanced_and_uncorrelated():
    found = code_statistics(np.random.default_rng(0).random((5000, 24)) < 0.5)
    assert (np.abs(found.balance - 0.5) < 0.03).all()
    assert found.correlation < 0.08
    assert 4980 < found.distinct <= 5000
    assert found.zeros == 0.0


def test_a_constant_bit_correlates_with_nothing_and_long_codes_work():
    outputs = np.random.default_rng(1).standard_normal((50, 130))
    outputs[:, 7] = 1.0
    found = code_statistics(outputs)
    assert np.isfinite(found.correlation)
    assert (found.distinct, found.colliding, found.largest) == (50, 0, 1)
    assert code_statistics(np.ones((3, 2))).correlation == 0.0


def test_nan_is_refused():
    with pytest.raises(InputError, match="outputs row 1 holds NaN"):
        code_statistics(np.array([[1.0], [np.nan]]))
