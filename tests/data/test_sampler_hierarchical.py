"""HierarchicalSampler: pairs of super classes, fine classes inside them, short families."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pertinent.data.samplers import HierarchicalSampler
from pertinent.errors import InputError

GOLDEN = Path(__file__).parents[1] / "golden" / "happier" / "samplers_01.npz"


def tree(families: list[list[int]]) -> np.ndarray:
    """Labels (N, 2) of families given as lists of class sizes, shuffled."""
    rows, fine = [], 0
    for family, sizes in enumerate(families):
        for size in sizes:
            rows += [[fine, family]] * size
            fine += 1
    return np.random.default_rng(0).permutation(np.array(rows, dtype=np.int64))


def deep(levels: int) -> np.ndarray:
    """Labels (N, levels) of a full tree, 3 classes at the top and 3 below each, 2 images of every fine class."""
    fine = np.arange(2 * 3**levels) // 2
    return np.stack([fine // 3**level for level in range(levels)], axis=1)


def test_shares_the_properties_of_the_official_batches() -> None:
    with np.load(GOLDEN) as golden:
        labels, flat, lengths = golden["labels"], golden["hier_flat"], golden["hier_len"]
    official = np.split(flat, np.cumsum(lengths)[:-1])
    ours = list(HierarchicalSampler(labels, 16))
    assert len(ours) == len(official) == 30
    for batches in (official, ours):
        pairs = Counter()
        for batch in batches:
            family, shares = np.unique(labels[batch, 1], return_counts=True)
            assert shares.tolist() == [8, 8]
            assert set(np.unique(labels[batch, 0], return_counts=True)[1]) == {4}
            pairs[tuple(family)] += 1
        assert set(pairs.values()) == {5}
        assert len(pairs) == 6


def test_images_of_a_class_do_not_repeat_before_all_were_drawn() -> None:
    labels = tree([[8, 8], [8, 8]])
    batches = list(HierarchicalSampler(labels, 16, batches_per_pair=2))
    assert sorted(np.concatenate(batches).tolist()) == list(range(32))


def test_a_short_family_gives_other_images_of_its_classes() -> None:
    labels = tree([[9], [4, 4, 4]])
    for batch in HierarchicalSampler(labels, 16):
        small = [image for image in batch if labels[image, 1] == 0]
        assert len(batch) == 16
        assert len(set(small)) == len(small) == 8


def test_a_small_class_repeats_its_images_evenly() -> None:
    labels = tree([[1], [2]])
    (batch,) = HierarchicalSampler(labels, 8, batches_per_pair=1)
    counts = Counter(labels[image, 0] for image in batch)
    assert counts == {0: 4, 1: 4}
    assert sorted(Counter(batch).values()) == [2, 2, 4]


def test_any_depth_and_any_number_of_super_classes() -> None:
    fine = np.arange(160) // 2
    labels = np.stack([fine, fine // 5, fine // 20, fine // 40], axis=1)
    sampler = HierarchicalSampler(labels, 24, per_class=2, super_classes=3, batches_per_pair=2, level=2)
    assert len(list(sampler)) == len(sampler) == 8
    for batch in sampler:
        assert np.unique(labels[batch, 2], return_counts=True)[1].tolist() == [8, 8, 8]
        assert len(np.unique(labels[batch, 0])) == 12
    assert len(HierarchicalSampler(labels, 16)) == 5


@pytest.mark.parametrize("levels", range(2, 8))
def test_a_tree_of_any_depth_is_gone_down_in_steps(levels: int) -> None:
    """A full tree with 3 classes below each: 2 of them are taken, all the way down."""
    labels = deep(levels)
    steps = levels - 1
    sampler = HierarchicalSampler(labels, 2**steps * 2, per_class=2, super_classes=[2] * steps, batches=5)
    for batch in sampler:
        for column in range(1, levels):
            shares = np.unique(labels[batch, column], return_counts=True)[1]
            assert shares.tolist() == [2**column] * 2 ** (levels - column)
        assert set(np.unique(labels[batch, 0], return_counts=True)[1]) == {2}


def test_steps_may_begin_and_end_in_the_middle_of_the_tree() -> None:
    labels = deep(5)
    for batch in HierarchicalSampler(labels, 36, per_class=1, super_classes=[3, 2], level=3, batches=5):
        assert np.unique(labels[batch, 3], return_counts=True)[1].tolist() == [12] * 3
        assert np.unique(labels[batch, 2], return_counts=True)[1].tolist() == [6] * 6
        assert len(np.unique(labels[batch, 0])) == 36


@settings(max_examples=60, deadline=None)
@given(
    columns=st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=2, max_size=60),
    steps=st.tuples(st.integers(1, 2), st.integers(1, 3)),
    more=st.integers(1, 3),
    epoch=st.integers(0, 3),
)
def test_a_class_with_few_below_it_shares_its_part_among_them(
    columns: list[tuple[int, int, int]], steps: tuple[int, int], more: int, epoch: int
) -> None:
    """Classes are named by their whole path, so that any columns make a tree."""
    rows = np.array(columns)
    labels = np.stack([rows @ [100, 10, 1], rows[:, 0] * 10 + rows[:, 1], rows[:, 0]], axis=1)
    if len(np.unique(labels[:, 2])) < steps[0]:
        return
    size = steps[0] * steps[1] * more * 2
    sampler = HierarchicalSampler(labels, size, per_class=2, super_classes=steps, batches=4)
    sampler.set_epoch(epoch)
    for batch in sampler:
        drawn = labels[batch]
        assert np.unique(drawn[:, 2], return_counts=True)[1].tolist() == [size // steps[0]] * steps[0]
        for column, most in ((2, steps[1]), (1, size)):
            for parent in np.unique(drawn[:, column]):
                shares = np.unique(drawn[drawn[:, column] == parent, column - 1], return_counts=True)[1]
                there = len(np.unique(labels[labels[:, column] == parent, column - 1]))
                assert len(shares) == min(there, most, shares.sum() // 2)
                assert shares.max() - shares.min() in (0, 2)


def test_unlabelled_middle_columns_are_never_drawn() -> None:
    labels = deep(3)
    labels[0, 1] = -1
    for epoch in range(3):
        sampler = HierarchicalSampler(labels, 18, per_class=1, super_classes=[3, 3], batches=20)
        sampler.set_epoch(epoch)
        assert 0 not in {image for batch in sampler for image in batch}
    assert 0 in {image for batch in HierarchicalSampler(labels, 12, per_class=2, batches=60) for image in batch}


def test_labels_that_are_no_tree_keep_to_their_super_class() -> None:
    labels = np.array([[0, 0]] * 4 + [[0, 1]] * 4 + [[1, 1]] * 4)
    for batch in HierarchicalSampler(labels, 16):
        assert np.unique(labels[batch, 1], return_counts=True)[1].tolist() == [8, 8]


def test_unlabelled_images_are_never_drawn() -> None:
    labels = tree([[4, 4], [4, 4]])
    labels[3, 0] = -1
    labels[7, 1] = -1
    drawn = {image for batch in HierarchicalSampler(labels, 16) for image in batch}
    assert drawn == set(range(16)) - {3, 7}


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (tree([[4], [4]]), {"batch_size": 12}, r"batch_size=12 must be a positive multiple of super_classes \* per_c"),
        (tree([[4], [4]]), {"batch_size": 8, "super_classes": 0}, "super_classes=0 must be numbers from 1"),
        (tree([[4], [4]]), {"batch_size": 8, "super_classes": []}, "one for each of columns 1 to 1 at most"),
        (tree([[4], [4]]), {"batch_size": 16, "super_classes": [2, 2]}, r"super_classes=\[2, 2\] must be numbers"),
        (deep(3), {"batch_size": 8, "super_classes": [2, 2]}, r"batch_size=8 must be a positive multiple of super_c"),
        (tree([[4, 4]]), {"batch_size": 8}, "needs 2 super classes, column 1 has 1"),
        (np.zeros(8, np.int64), {"batch_size": 8}, "super class level above column 0"),
        (tree([[4], [4]]), {"batch_size": 8, "level": 2}, "level=2"),
        (tree([[4], [4]]), {"batch_size": 8, "batches_per_pair": 0}, "batches_per_pair"),
        (np.zeros((0, 2), np.int64), {"batch_size": 8}, "empty"),
        (np.stack([np.arange(5000)] * 2, axis=1), {"batch_size": 8}, "choose a coarser level"),
    ],
)
def test_wrong_input(labels: np.ndarray, options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        HierarchicalSampler(labels, **options)
