"""Shuffled batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError

__all__ = ["RandomSampler"]


class RandomSampler:
    """Every image once an epoch, shuffled.

    Args:
        labels: `(N,)` or `(N, anything)`; only N is used.
        batch_size: images a batch.
        drop_last: leave out the last batch when it is short.
        seed: with the epoch, decides the order.

    Raises:
        InputError: batch_size below 1, no images, or too few for one batch.
    """

    def __init__(
        self, labels: NDArray[np.int64] | NDArray[np.bool_], batch_size: int, drop_last: bool = True, seed: int = 0
    ) -> None:
        self.count, self.batch_size, self.drop_last, self.seed, self.epoch = len(labels), batch_size, drop_last, seed, 0
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        if len(self) == 0:
            raise InputError(f"{self.count} images make no batch of {batch_size}; lower batch_size")

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches an epoch."""
        return self.count // self.batch_size if self.drop_last else -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.count)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield order[start : start + self.batch_size].tolist()
