"""Data sets that are tested with classes never seen in training; some training classes can be held out to choose by."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pertinent.data.datasets._parts import require_split
from pertinent.data.table import Box, ImageSource, ImageTable, LabelKind
from pertinent.errors import DataError, InputError


@dataclass(frozen=True)
class Listed:
    """The pictures of a data set as its files list them.

    Attributes:
        paths: `N` paths, which are the ids too.
        labels: `(N, L)` class numbers, fine to coarse.
        level_names: a word for each of the `L` columns.
        class_names: for each column the names of its classes, by number.
        boxes: `(N, 4)` left, top, right and bottom of the part to use; None uses all of every picture.
    """

    paths: Sequence[str]
    labels: NDArray[np.int64]
    level_names: Sequence[str]
    class_names: Sequence[Sequence[str]]
    boxes: NDArray[np.float64] | None = None

    def part(self, rows: NDArray[np.int64], what: str) -> Listed:
        """Only these rows, in this order; raises DataError, calling them `what`, for none or for one path twice."""
        if not rows.size:
            raise DataError(f"{what} has none of the {len(self.paths)} pictures that are listed; complete the files")
        paths = [self.paths[row] for row in rows.tolist()]
        if len(set(paths)) < len(paths):
            twice = Counter(paths).most_common(1)[0][0]
            raise DataError(f"{what} lists {twice!r} twice; copy its files again")
        boxes = None if self.boxes is None else self.boxes[rows]
        return Listed(paths, self.labels[rows], self.level_names, self.class_names, boxes)

    def column(self, level: int) -> Listed:
        """Only one column of labels."""
        names = [self.class_names[level]]
        return Listed(self.paths, self.labels[:, [level]], [self.level_names[level]], names, self.boxes)

    def table(self, source: ImageSource) -> ImageTable:
        """A table of these pictures: kind `tree` for several columns, `classes` for one."""
        boxes: dict[int, Box] = {}
        if self.boxes is not None:
            boxes = {row: (box[0], box[1], box[2], box[3]) for row, box in enumerate(self.boxes.tolist())}
        kind: LabelKind = "tree" if self.labels.shape[1] > 1 else "classes"
        labels = np.ascontiguousarray(self.labels if kind == "tree" else self.labels[:, 0])
        return ImageTable(self.paths, source, kind, labels, self.level_names, self.class_names, boxes=boxes)


class TrainingClasses:
    """Deals the rows of training classes to `train`, `val` and `trainval`; without holding out there is only `train`.

    Held out are the classes whose names have the lowest sha256: the same on every machine, and without a seed.

    Args:
        names: names of all training classes, by class number where they are training classes.
        holdout: share of the training classes that `val` gets, 0 to below 1, rounded.
        reader: named in errors.

    Raises:
        InputError: the share is out of range.
        DataError: it leaves `train` or `val` without a class.
    """

    def __init__(self, names: Mapping[int, str], holdout: float, reader: str) -> None:
        if not 0 <= holdout < 1:
            raise InputError(f"{reader}: holdout is the share of training classes for val, 0 to below 1; got {holdout}")
        count = int(holdout * len(names) + 0.5)
        if holdout and not 0 < count < len(names):
            raise DataError(f"{reader}: holdout={holdout} of {len(names)} training classes leaves train or val without")
        ordered = sorted(names, key=lambda number: hashlib.sha256(names[number].encode()).digest())
        self._reader = reader
        self._held_out = np.array(sorted(ordered[:count]), np.int64)
        self._all = np.array(sorted(names), np.int64)
        self.splits: Sequence[str] = ("train", "val", "trainval") if holdout else ("train",)

    def require(self, split: str, splits: Sequence[str]) -> None:
        """Raise an error where a data set has no such split; InputError tells what makes one of training classes.

        Args:
            split: its name.
            splits: all that the data set has.
        """
        if split in ("val", "trainval") and split not in splits:
            raise InputError(
                f"{self._reader} has no {split} unless training classes are held out for val; set data.holdout=0.1 in "
                "a recipe, or --option holdout=0.1"
            )
        require_split(split, splits)

    def rows(self, split: str, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of a split's rows in `labels`, the `(N,)` fine classes of all pictures."""
        mine = np.isin(labels, self._all)
        held_out = np.isin(labels, self._held_out)
        return np.flatnonzero(held_out if split == "val" else mine & ~held_out if split == "train" else mine)

    def published(self, counts: Mapping[str, int]) -> Mapping[str, int]:
        """Published counts by split, where those of `train` are those of `trainval` once classes are held out."""
        if "val" not in self.splits:
            return counts
        return {"trainval" if name == "train" else name: count for name, count in counts.items()}


def numbered(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct values in ascending order, and of each value its place among them: published ids as class numbers."""
    distinct, numbers = np.unique(values, return_inverse=True)
    return distinct, numbers.astype(np.int64).reshape(values.shape)


def check_tree(
    labels: NDArray[np.int64], class_names: Sequence[Sequence[str]], level_names: Sequence[str], reader: str
) -> None:
    """Check that every class lies under one parent, without looking at each row.

    Raises:
        DataError: a class has two parents; names the class and both.
    """
    for level in range(labels.shape[1] - 1):
        pairs = np.unique(labels[:, level : level + 2], axis=0)
        again = np.flatnonzero(pairs[1:, 0] == pairs[:-1, 0])
        if again.size:
            (child, first), (_, second) = pairs[again[0] : again[0] + 2].tolist()
            above = class_names[level + 1]
            raise DataError(
                f"{reader}: {level_names[level]} {class_names[level][child]!r} is under two classes of "
                f"{level_names[level + 1]}, {above[first]!r} and {above[second]!r}; correct its lines"
            )
