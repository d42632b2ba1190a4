"""Shuffled batches in which large and small classes come more alike in number."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pertinent.data.samplers._classes import check_column, group_images, label_columns
from pertinent.errors import InputError

__all__ = ["BalancedSampler"]


class BalancedSampler:
    """Shuffled images, of each class so many that large and small ones come nearer: Deep Image Retrieval's sampler.

    A class of n images gives 2^(b log2 m + (1 - b) log2 n) of them an epoch, rounded, where b is `balanced` and m the
    percentile 50 * `size` of the sizes of the classes. One that has fewer gives each image equally often, and some once
    more at random; one that has more leaves out some at random, others in every epoch.

    Reference: BalancedSampler of the code of Revaud, Almazan, Rezende, de Souza, "Learning with Average Precision",
    ICCV 2019.

    Args:
        labels: `(N,)` or `(N, L)` int64; images labelled -1 in column `level` are never drawn.
        batch_size: images a batch.
        size: what classes are drawn to: 0 is the size of the smallest, 1 the median, 2 the largest.
        balanced: how far they are drawn: 0 leaves them as they are, 1 makes all equal.
        use_all: leave no image out, whatever a class has too many.
        drop_last: leave out the last batch when it is short.
        level: label column that holds the classes, 0 finest.
        seed: with the epoch, decides everything.

    Raises:
        InputError: no labels, no such column, no labelled image in it, batch_size below 1 or more than an epoch holds,
            size outside 0..2, or balanced outside 0..1.
    """

    def __init__(
        self,
        labels: NDArray[np.int64],
        batch_size: int,
        size: float = 1.0,
        balanced: float = 1.0,
        use_all: bool = False,
        *,
        drop_last: bool = True,
        level: int = 0,
        seed: int = 0,
    ) -> None:
        columns = label_columns(labels, "BalancedSampler")
        check_column(level, columns, "BalancedSampler")
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        if not (0 <= size <= 2 and 0 <= balanced <= 1):
            raise InputError(f"size must be in 0..2 and balanced in 0..1, got {size} and {balanced}")
        images = np.flatnonzero(columns[:, level] >= 0)
        if not len(images):
            raise InputError(f"BalancedSampler: no image is labelled in column {level}; choose another level")
        self.classes = group_images(images, columns[images, level])
        counts = self.classes.sizes
        wanted = np.log2(np.percentile(counts, 50 * size))
        targets = np.floor(2 ** (balanced * wanted + (1 - balanced) * np.log2(counts)) + 0.5).astype(np.int64)
        self.targets = np.maximum(targets, counts) if use_all else targets
        self.batch_size, self.drop_last, self.seed, self.epoch = batch_size, drop_last, seed, 0
        if not len(self):
            raise InputError(f"{self.targets.sum()} images an epoch make no batch of {batch_size}; lower batch_size")

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches an epoch."""
        total = int(self.targets.sum())
        return total // self.batch_size if self.drop_last else -(-total // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        images = self.classes.shuffled(rng)
        owner = np.repeat(np.arange(len(self.targets)), self.targets)
        nth = np.arange(len(owner)) - np.repeat(self.targets.cumsum() - self.targets, self.targets)
        drawn = rng.permutation(images[self.classes.starts[owner] + nth % self.classes.sizes[owner]])
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield drawn[start : start + self.batch_size].tolist()
