"""MPerClassSampler: what is in a batch, how long an epoch is, what small and large classes get."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pertinent.data.samplers import MPerClassSampler
from pertinent.errors import InputError

GOLDEN = Path(__file__).parents[1] / "golden" / "happier" / "samplers_01.npz"


def counts_of(labels: np.ndarray, batch: list[int]) -> np.ndarray:
    return np.unique(labels[batch], return_counts=True)[1]


def test_shares_the_properties_of_the_official_batches() -> None:
    """16 images, classes in fours, no image of a large class twice in an epoch; small classes are used as well."""
    with np.load(GOLDEN) as golden:
        labels, official = golden["labels"], golden["mperclass_epoch0"]
    fine = labels[:, 0]
    sizes = np.bincount(fine)
    ours = np.array(list(MPerClassSampler(labels, 16)))
    for batches in (official, ours):
        assert all((counts_of(fine, batch) % 4 == 0).all() for batch in batches)
        large = batches[sizes[fine[batches]] >= 4]
        assert len(np.unique(large)) == len(large)
    assert (sizes[fine[official]] >= 4).all()
    assert (sizes[fine[ours]] < 4).any()
    assert len(ours) >= len(official)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 20), min_size=3, max_size=8),
    per_class=st.integers(1, 5),
    groups=st.integers(1, 3),
    epoch=st.integers(0, 5),
)
def test_every_batch_holds_different_classes(sizes: list[int], per_class: int, groups: int, epoch: int) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)) * 3, sizes))
    sampler = MPerClassSampler(labels, groups * per_class, per_class=per_class)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler) >= 1
    for batch in batches:
        assert counts_of(labels, batch).tolist() == [per_class] * groups
        for label in np.unique(labels[batch]):
            images = [i for i in batch if labels[i] == label]
            assert len(set(images)) == min(per_class, int((labels == label).sum()))
    drawn = np.concatenate(batches)
    large = drawn[np.bincount(labels)[labels[drawn]] >= per_class]
    assert len(np.unique(large)) == len(large)

    def deal_possible(n: int) -> bool:
        return sum(min(max(size // per_class, 1), n) for size in sizes) >= n * groups

    assert deal_possible(len(sampler))
    assert not deal_possible(len(sampler) + 1)


def test_equal_classes_are_used_up() -> None:
    labels = np.repeat(np.arange(6), 8)
    drawn = np.concatenate(list(MPerClassSampler(labels, 8)))
    assert sorted(drawn.tolist()) == list(range(48))


def test_left_over_images_change_with_the_epoch() -> None:
    labels = np.repeat(np.arange(4), 7)
    sampler = MPerClassSampler(labels, 8)
    seen = set()
    for epoch in range(12):
        sampler.set_epoch(epoch)
        seen |= {image for batch in sampler for image in batch}
    assert seen == set(range(28))


def test_classes_meet_different_neighbours() -> None:
    labels = np.repeat(np.arange(10), 2)
    sampler = MPerClassSampler(labels, 4, per_class=2)
    met = set()
    for epoch in range(100):
        sampler.set_epoch(epoch)
        met |= {tuple(np.unique(labels[batch])) for batch in sampler}
    assert len(met) == 45


def test_one_column_of_a_tree_and_unlabelled_images() -> None:
    fine = np.arange(24) // 2
    labels = np.stack([fine, fine % 3], axis=1)
    labels[5] = -1
    for batch in MPerClassSampler(labels, 8, level=1):
        assert 5 not in batch
        assert counts_of(labels[:, 1], batch).tolist() == [4, 4]


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (np.arange(8), {"batch_size": 6}, r"batch_size=6 must be a positive multiple of per_class = 4"),
        (np.arange(8), {"batch_size": 0}, "positive multiple"),
        (np.arange(8), {"batch_size": 8, "per_class": 0}, "positive multiple"),
        (np.zeros(8, np.int64), {"batch_size": 8}, "needs 2 classes, the labels have 1"),
        (np.full(8, -1), {"batch_size": 4}, "needs 1 classes, the labels have 0"),
        (np.zeros(0, np.int64), {"batch_size": 4}, "empty"),
        (np.zeros((8, 3), bool), {"batch_size": 4}, "for tags use the random sampler"),
        (np.zeros((8, 2), np.int64), {"batch_size": 4, "level": 2}, r"level=2 but the labels have columns 0\.\.1"),
    ],
)
def test_wrong_input(labels: np.ndarray, options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MPerClassSampler(labels, **options)
