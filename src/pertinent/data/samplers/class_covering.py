"""Batches that hold images of every class."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pertinent.data.samplers._classes import (
    Integers,
    as_lists,
    check_column,
    group_images,
    label_columns,
)
from pertinent.errors import InputError

__all__ = ["ClassCoveringSampler"]


class ClassCoveringSampler:
    """Every class in every batch, with random images of it: the large batches of AP-GeM.

    A batch is made of rounds over all classes in random order, so that the numbers of images of two classes differ by
    one at most. Where a batch is smaller than a round, rounds run on from batch to batch, and no class comes again
    before all have come; such a batch hardly holds two images of a class, which losses on pairs need, so choose
    batch_size a few times the number of classes (AP-GeM: 4096 for 586).

    A class draws its images from a shuffled round, all of them before any again; a batch holds an image twice only when
    its class has too few.

    Reference: Revaud, Almazan, Rezende, de Souza, "Learning with Average Precision", ICCV 2019, section 4.2.

    Args:
        labels: `(N,)` or `(N, L)` int64; images labelled -1 in column `level` are never drawn.
        batch_size: images a batch.
        batches: batches an epoch; None makes as many as N images fill, the last one whole.
        level: label column that holds the classes, 0 finest.
        seed: with the epoch, decides everything.

    Raises:
        InputError: no labels, no such column, no labelled image in it, or batch_size or batches below 1.
    """

    def __init__(
        self, labels: NDArray[np.int64], batch_size: int, batches: int | None = None, level: int = 0, seed: int = 0
    ) -> None:
        columns = label_columns(labels, "ClassCoveringSampler")
        check_column(level, columns, "ClassCoveringSampler")
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        images = np.flatnonzero(columns[:, level] >= 0)
        if not len(images):
            raise InputError(f"ClassCoveringSampler: no image is labelled in column {level}; choose another level")
        self.batches = -(-len(images) // batch_size) if batches is None else batches
        if self.batches < 1:
            raise InputError(f"batches must be at least 1, got {batches}")
        self.classes = group_images(images, columns[images, level])
        self.batch_size, self.seed, self.epoch = batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches an epoch."""
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        owner = self._deal(rng)
        images = self.classes.shuffled(rng)
        position = _times_before(owner) % self.classes.sizes[owner]
        return as_lists(images[self.classes.starts[owner] + position].reshape(self.batches, self.batch_size))

    def _deal(self, rng: np.random.Generator) -> Integers:
        """The class of every image of the epoch, `(batches * batch_size,)`."""
        found = len(self.classes.sizes)
        hands, size = self.batches, self.batch_size
        if size < found:
            hands, size = 1, hands * size
        rounds = np.broadcast_to(np.arange(found), (hands, -(-size // found), found))
        return rng.permuted(rounds, axis=2).reshape(hands, -1)[:, :size].reshape(-1)


def _times_before(values: Integers) -> Integers:
    """How often each value came before, `(N,)`."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    times = np.empty_like(values)
    times[order] = np.arange(len(values)) - np.searchsorted(ordered, ordered)
    return times
