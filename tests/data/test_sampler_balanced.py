"""BalancedSampler: how many images of each class an epoch holds, and which."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertinent.data.samplers import BalancedSampler
from pertinent.errors import InputError


def percentile(values: list[int], percent: float) -> float:
    """Between the two nearest of the sorted values, in a straight line."""
    place = percent / 100 * (len(values) - 1)
    low, ordered = math.floor(place), sorted(values)
    high = min(low + 1, len(values) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def target(count: int, common: float, balanced: float, use_all: bool) -> float:
    """Not rounded."""
    wanted = 2 ** (balanced * math.log2(common) + (1 - balanced) * math.log2(count))
    return max(wanted, count) if use_all else wanted


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    size=st.floats(0, 2),
    balanced=st.floats(0, 1),
    use_all=st.booleans(),
    epoch=st.integers(0, 3),
)
def test_an_epoch_holds_the_target_of_every_class(
    sizes: list[int], size: float, balanced: float, use_all: bool, epoch: int
) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    sampler = BalancedSampler(labels, 5, size, balanced, use_all, drop_last=False)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert [len(batch) for batch in batches[:-1]] == [5] * (len(sampler) - 1)
    drawn = Counter(image for batch in batches for image in batch)
    common = percentile(sizes, 50 * size)
    for label, count in enumerate(sizes):
        each = [drawn[int(image)] for image in np.flatnonzero(labels == label)]
        assert abs(sum(each) - target(count, common, balanced, use_all)) <= 0.5 + 1e-9
        assert max(each) - min(each) <= 1, "no image comes twice more than another of its class"


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        ({}, [8, 8, 8]),
        ({"size": 0}, [2, 2, 2]),
        ({"size": 2}, [32, 32, 32]),
        ({"balanced": 0}, [2, 8, 32]),
        ({"balanced": 0.5}, [4, 8, 16]),
        ({"balanced": 0.5, "use_all": True}, [4, 8, 32]),
        ({"size": 1.5}, [20, 20, 20]),
    ],
)
def test_worked_examples(options: dict[str, Any], counts: list[int]) -> None:
    labels = np.repeat([5, 6, 7], [2, 8, 32])
    drawn = [image for batch in BalancedSampler(labels, 1, **options) for image in batch]
    assert [int((labels[drawn] == label).sum()) for label in (5, 6, 7)] == counts


def test_what_is_left_out_changes_with_the_epoch_and_classes_are_mixed() -> None:
    labels = np.repeat([0, 1], [4, 30])
    sampler, seen = BalancedSampler(labels, 6, size=0), set()
    for epoch in range(60):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        seen |= {image for batch in batches for image in batch}
    assert seen == set(range(34))
    assert 0 < np.mean(labels[batches[0]]) < 1


def test_the_last_batch() -> None:
    labels = np.repeat([0, 1], 10)
    assert [len(batch) for batch in BalancedSampler(labels, 8)] == [8, 8]
    assert [len(batch) for batch in BalancedSampler(labels, 8, drop_last=False)] == [8, 8, 4]


def test_one_column_of_a_tree_and_unlabelled_images() -> None:
    labels = np.stack([np.arange(12), np.repeat([0, 1], [8, 4])], axis=1)
    labels[3, 1] = -1
    drawn = [image for batch in BalancedSampler(labels, 2, size=2, level=1) for image in batch]
    assert 3 not in drawn
    assert np.bincount(labels[drawn, 1]).tolist() == [7, 7]


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (np.arange(8), {"batch_size": 0}, "batch_size must be at least 1, got 0"),
        (np.arange(8), {"batch_size": 9}, "8 images an epoch make no batch of 9; lower batch_size"),
        (np.arange(8), {"batch_size": 2, "size": 2.5}, r"size must be in 0\.\.2 and balanced in 0\.\.1, got 2\.5 and"),
        (np.arange(8), {"batch_size": 2, "size": math.nan}, "got nan"),
        (np.arange(8), {"batch_size": 2, "balanced": -0.5}, r"got 1\.0 and -0\.5"),
        (np.full(8, -1), {"batch_size": 4}, "no image is labelled in column 0"),
        (np.zeros(0, np.int64), {"batch_size": 4}, "empty"),
        (np.zeros((8, 3), bool), {"batch_size": 4}, "for tags use the random sampler"),
        (np.zeros((8, 2), np.int64), {"batch_size": 4, "level": 2}, r"level=2 but the labels have columns 0\.\.1"),
    ],
)
def test_wrong_input(labels: np.ndarray, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        BalancedSampler(labels, **options)
