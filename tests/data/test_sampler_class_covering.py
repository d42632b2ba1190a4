"""ClassCoveringSampler: every class in every batch, and every image of a class before any again."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertinent.data.samplers import ClassCoveringSampler
from pertinent.errors import InputError


def labels_of(sizes: list[int]) -> np.ndarray:
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)) * 3, sizes))


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=9),
    size=st.integers(1, 30),
    batches=st.none() | st.integers(1, 7),
    epoch=st.integers(0, 3),
)
def test_classes_come_in_rounds(sizes: list[int], size: int, batches: int | None, epoch: int) -> None:
    labels = labels_of(sizes)
    sampler = ClassCoveringSampler(labels, size, batches)
    sampler.set_epoch(epoch)
    found = list(sampler)
    assert len(found) == len(sampler) == (batches or -(-len(labels) // size))
    # A batch that can hold every class begins with a round of its own, a smaller one goes on with the last round.
    hands = found if size >= len(sizes) else [[image for batch in found for image in batch]]
    for hand in hands:
        for start in range(0, len(hand), len(sizes)):
            part = labels[hand[start : start + len(sizes)]]
            assert len(np.unique(part)) == len(part)
            if len(part) == len(sizes):
                assert set(part.tolist()) == set(labels.tolist())


@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=9), size=st.integers(1, 30))
def test_no_image_comes_again_before_all_of_its_class_have_come(sizes: list[int], size: int) -> None:
    labels = labels_of(sizes)
    batches = list(ClassCoveringSampler(labels, size, batches=5))
    seen: Counter[int] = Counter()
    for image in (image for batch in batches for image in batch):
        mates = np.flatnonzero(labels == labels[image])
        assert seen[image] == min(seen[int(mate)] for mate in mates)
        seen[image] += 1
    for batch in batches:
        for label in set(labels[batch].tolist()):
            drawn = [image for image in batch if labels[image] == label]
            assert len(set(drawn)) == min(len(drawn), int((labels == label).sum()))


def test_the_rest_of_a_batch_is_of_random_classes() -> None:
    labels = labels_of([9] * 5)
    extra = set()
    for batch in ClassCoveringSampler(labels, 7, batches=60):
        assert set(labels[batch].tolist()) == set(labels.tolist())
        extra |= {tuple(sorted(labels[batch[5:]].tolist()))}
    assert len(extra) == 10, "every pair of classes comes as the rest"


def test_large_classes_give_other_images_in_other_epochs() -> None:
    labels = labels_of([40, 4])
    sampler, seen = ClassCoveringSampler(labels, 8, batches=1), set()
    for epoch in range(60):
        sampler.set_epoch(epoch)
        seen |= {image for batch in sampler for image in batch}
    assert seen == set(range(44))


def test_one_column_of_a_tree_and_unlabelled_images() -> None:
    fine = np.arange(24) // 2
    labels = np.stack([fine, fine % 3], axis=1)
    labels[5] = -1
    sampler = ClassCoveringSampler(labels, 6, level=1)
    assert len(sampler) == 4, "23 labelled images"
    for batch in sampler:
        assert 5 not in batch
        assert np.bincount(labels[batch, 1]).tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (np.arange(8), {"batch_size": 0}, "batch_size must be at least 1, got 0"),
        (np.arange(8), {"batch_size": 4, "batches": 0}, "batches must be at least 1, got 0"),
        (np.full(8, -1), {"batch_size": 4}, "no image is labelled in column 0"),
        (np.zeros(0, np.int64), {"batch_size": 4}, "empty"),
        (np.zeros((8, 3), bool), {"batch_size": 4}, "for tags use the random sampler"),
        (np.zeros((8, 2), np.int64), {"batch_size": 4, "level": 2}, r"level=2 but the labels have columns 0\.\.1"),
    ],
)
def test_wrong_input(labels: np.ndarray, options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ClassCoveringSampler(labels, **options)
