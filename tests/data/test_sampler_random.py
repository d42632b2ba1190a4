"""RandomSampler: every image once, the short batch kept or dropped."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pertinent.data.samplers import RandomSampler
from pertinent.errors import InputError


def test_every_image_once() -> None:
    batches = list(RandomSampler(np.zeros(10), 4, drop_last=False))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert sorted(itertools.chain(*batches)) == list(range(10))


def test_short_batch_is_dropped() -> None:
    batches = list(RandomSampler(np.zeros((10, 3), bool), 4))
    assert [len(batch) for batch in batches] == [4, 4]
    assert len(set(itertools.chain(*batches))) == 8


@pytest.mark.parametrize(
    ("count", "batch_size", "message"), [(3, 4, "3 images"), (0, 1, "0 images"), (3, 0, "least 1")]
)
def test_wrong_input(count: int, batch_size: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        RandomSampler(np.zeros(count), batch_size)
