"""Batches of a few images from each of several classes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pertinent.data.samplers._classes import (
    ClassImages,
    Integers,
    as_lists,
    check_batch,
    check_column,
    group_images,
    label_columns,
)
from pertinent.errors import InputError

__all__ = ["MPerClassSampler"]


class MPerClassSampler:
    """`per_class` images of each of `batch_size / per_class` different classes.

    A class of n images gives n // per_class groups an epoch, each image in at most one; which images are left over
    changes with the epoch. A class smaller than per_class gives one group: all its images, filled up by repeating some
    at random. Groups are dealt so that a batch never holds two of one class, and the epoch is the longest for which
    that is possible; what does not fit is left out at random.

    Args:
        labels: `(N,)` or `(N, L)` int64; images labelled -1 in column `level` are never drawn.
        batch_size: images a batch, a multiple of per_class.
        per_class: images of a class in a batch.
        level: label column that holds the classes, 0 finest.
        seed: with the epoch, decides everything.

    Raises:
        InputError: no labels, batch_size no multiple of per_class, no such column, or fewer classes than a batch needs.
    """

    def __init__(
        self, labels: NDArray[np.int64], batch_size: int, per_class: int = 4, level: int = 0, seed: int = 0
    ) -> None:
        columns = label_columns(labels, "MPerClassSampler")
        check_column(level, columns, "MPerClassSampler")
        self.groups_per_batch = check_batch(batch_size, per_class, "per_class")
        self.per_class, self.seed, self.epoch = per_class, seed, 0
        images = np.flatnonzero(columns[:, level] >= 0)
        self.classes = group_images(images, columns[images, level])
        if len(self.classes.sizes) < self.groups_per_batch:
            raise InputError(
                f"a batch of {batch_size} with {per_class} per class needs {self.groups_per_batch} classes, "
                f"the labels have {len(self.classes.sizes)}; lower batch_size or raise per_class"
            )
        self.batches = _longest_epoch(np.maximum(self.classes.sizes // per_class, 1), self.groups_per_batch)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches an epoch."""
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        groups, owner = _groups(self.classes, self.per_class, rng)
        chosen = _deal(owner, self.batches, self.groups_per_batch, rng)
        batches = groups[chosen].reshape(self.batches, -1)
        return as_lists(rng.permuted(batches, axis=1))


def _longest_epoch(groups: Integers, wanted: int) -> int:
    """Most batches of `wanted` groups of different classes: the largest n with sum_c min(groups_c, n) >= n * wanted."""
    low, high = 1, int(groups.sum()) // wanted
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(groups, middle).sum() >= middle * wanted else (low, middle - 1)
    return low


def _groups(classes: ClassImages, per_class: int, rng: np.random.Generator) -> tuple[Integers, Integers]:
    """This epoch's groups of images `(T, per_class)` and the class of each `(T,)`."""
    images, sizes = classes.shuffled(rng), classes.sizes
    counts = np.maximum(sizes // per_class, 1)
    owner = np.repeat(np.arange(len(sizes)), counts)
    nth = np.arange(len(owner)) - np.repeat(counts.cumsum() - counts, counts)
    position = nth[:, None] * per_class + np.arange(per_class)
    size = sizes[owner][:, None]
    position = np.where(position < size, position, rng.integers(0, size, position.shape))
    return images[classes.starts[owner][:, None] + position], owner


def _deal(owner: Integers, batches: int, groups_per_batch: int, rng: np.random.Generator) -> Integers:
    """Group numbers in the order of the batches `(batches * groups_per_batch,)`, no class twice in a batch.

    A class may keep at most `batches` groups. Then the groups, class after class, go round the batches like cards, so
    that those of one class land in different batches.
    """
    order = np.lexsort((rng.random(len(owner)), owner))
    first = np.searchsorted(owner, owner)
    order = order[np.arange(len(owner)) - first < batches]
    order = order[np.sort(rng.permutation(len(order))[: batches * groups_per_batch])]
    shuffled_class = rng.permutation(int(owner[-1]) + 1)[owner[order]]
    order = order[np.argsort(shuffled_class, kind="stable")]
    hands = order.reshape(groups_per_batch, batches).T
    return rng.permutation(hands, axis=0).reshape(-1)
