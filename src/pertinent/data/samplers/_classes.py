"""Images grouped by class without a pass per class: what the class-aware samplers share.

Letters: N images, L levels, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class ClassImages:
    """The images of every class, as one list cut into runs.

    Attributes:
        images: image indices, those of one class together.
        starts: `(C,)` where each class's run begins.
        sizes: `(C,)` length of each run, at least 1.
    """

    images: Integers
    starts: Integers
    sizes: Integers

    def shuffled(self, rng: np.random.Generator) -> Integers:
        """`images` with every run in a new random order."""
        run = np.repeat(np.arange(len(self.sizes)), self.sizes)
        return self.images[np.lexsort((rng.random(len(run)), run))]


def group_images(images: Integers, classes: Integers) -> ClassImages:
    """Group images by their class, in ascending order of class; one argsort."""
    order = np.argsort(classes, kind="stable")
    _, starts, sizes = np.unique(classes[order], return_index=True, return_counts=True)
    return ClassImages(images[order], starts.astype(np.int64), sizes.astype(np.int64))


def label_columns(labels: NDArray[np.int64], sampler: str) -> Integers:
    """Labels as `(N, L)` int64.

    Raises:
        InputError: empty, not integers, or neither `(N,)` nor `(N, L)`.
    """
    labels = np.asarray(labels)
    if labels.ndim not in (1, 2) or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"{sampler} needs integer class labels (N,) or (N, L), got {labels.dtype} of shape {labels.shape}; "
            f"for tags use the random sampler"
        )
    if labels.size == 0:
        raise InputError(f"{sampler} got no labels; the training split is empty")
    return labels.reshape(len(labels), -1).astype(np.int64, copy=False)


def check_batch(batch_size: int, unit: int, meaning: str) -> int:
    """How many units of `unit` images a batch holds.

    Raises:
        InputError: batch_size is no positive multiple of `unit`.
    """
    if unit < 1 or batch_size < 1 or batch_size % unit:
        raise InputError(f"batch_size={batch_size} must be a positive multiple of {meaning} = {unit}")
    return batch_size // unit


def check_column(level: int, columns: Integers, sampler: str) -> None:
    """Raise InputError unless the labels have column `level`."""
    if not 0 <= level < columns.shape[1]:
        raise InputError(f"{sampler}: level={level} but the labels have columns 0..{columns.shape[1] - 1}")


def as_lists(batches: Integers) -> Iterator[list[int]]:
    """Rows as lists of Python integers, which data loaders index with."""
    for batch in batches:
        yield batch.tolist()
