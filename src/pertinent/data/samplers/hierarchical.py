"""Batches of fine classes from a few super classes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pertinent.data.samplers._classes import Integers, check_batch, check_column, group_images, label_columns
from pertinent.errors import InputError

__all__ = ["HierarchicalSampler"]

MOST_BATCHES = 10_000_000


class HierarchicalSampler:
    """Batches from every pair of super classes: many fine classes of each, a few images of every fine class.

    Each combination of `super_classes` different super classes gives `batches_per_pair` batches an epoch, in random
    order. Each super class has the same share of a batch, made of random fine classes with `per_class` images each.
    A super class with too few fine classes uses them again, with other images where it has them. A class draws its
    images from a shuffled round, all of them before any again; one smaller than per_class therefore repeats some.

    A tree of any depth can be gone down in steps: `super_classes=[2, 3, 4]` with `level=4` takes 2 classes of column 4,
    3 classes of column 3 below each, 4 of column 2 below each of those, and fine classes below these. A class with too
    few classes below it shares its part of the batch among those that it has.

    Reference: the sampling of HAPPIER (ECCV 2022) on Stanford Online Products, after Cakir et al., "Deep Metric
    Learning to Rank", CVPR 2019.

    Args:
        labels: `(N, L)` int64 with L >= 2, column 0 the fine classes; images labelled -1 in column 0 or in a column
            that is gone through are never drawn.
        batch_size: images a batch, a multiple of per_class and of every number in super_classes multiplied.
        per_class: images of a fine class.
        super_classes: super classes in a batch; a list goes on with classes of the next finer columns.
        batches_per_pair: batches an epoch of each combination of super classes.
        level: label column of the super classes; None is the coarsest.
        batches: batches an epoch, each of a random combination; None has every combination `batches_per_pair` times.
        seed: with the epoch, decides everything.

    Raises:
        InputError: fewer than two label columns, a wrong batch size or level, more steps down than there are columns,
            fewer super classes than a batch needs, or more combinations than an epoch can hold.
    """

    def __init__(
        self,
        labels: NDArray[np.int64],
        batch_size: int,
        per_class: int = 4,
        super_classes: int | Sequence[int] = 2,
        batches_per_pair: int = 5,
        *,
        level: int | None = None,
        batches: int | None = None,
        seed: int = 0,
    ) -> None:
        columns = label_columns(labels, "HierarchicalSampler")
        level = columns.shape[1] - 1 if level is None else level
        check_column(level, columns, "HierarchicalSampler")
        if level == 0:
            raise InputError("HierarchicalSampler needs a super class level above column 0; use m_per_class instead")
        if batches_per_pair < 1 or (batches is not None and batches < 1):
            raise InputError(f"batches and batches_per_pair must be at least 1, got {batches} and {batches_per_pair}")
        self.steps = [super_classes] if isinstance(super_classes, int) else list(super_classes)
        if not 1 <= len(self.steps) <= level or min(self.steps) < 1:
            raise InputError(
                f"super_classes={super_classes} must be numbers from 1, one for each of columns {level} to 1 at most"
            )
        self.slots = check_batch(batch_size, math.prod(self.steps) * per_class, "super_classes * per_class")
        self.slots *= math.prod(self.steps[1:])
        self.per_class, self.batches_per_pair, self.seed, self.epoch = per_class, batches_per_pair, seed, 0
        self._plant(columns[:, [*range(level, level - len(self.steps), -1), 0]])
        found = len(self.starts[0])
        if found < self.steps[0]:
            raise InputError(f"a batch needs {self.steps[0]} super classes, column {level} has {found}")
        self.restricted = batches is not None
        self.batches = math.comb(found, self.steps[0]) * batches_per_pair if batches is None else batches
        if self.batches > MOST_BATCHES:
            raise InputError(
                f"{found} super classes in column {level} make {self.batches} batches an epoch; set `batches`, or "
                "choose a coarser level"
            )

    def _plant(self, columns: Integers) -> None:
        """Number the classes of every step so that those below a class follow each other.

        A class under two parents (no tree) counts as two, so that a batch keeps to its super classes.

        Args:
            columns: `(N, steps + 1)`, coarse to fine.
        """
        images = np.flatnonzero((columns >= 0).all(axis=1))
        rows = columns[images]
        order = np.lexsort(rows.T[::-1])
        images, rows = images[order], rows[order]
        first = np.zeros(len(rows), dtype=bool)
        first[:1] = True
        numbers = []
        for column in rows.T:
            first[1:] |= column[1:] != column[:-1]
            numbers.append(first.cumsum() - 1)
        self.classes = group_images(images, numbers[-1])
        # Of every class of a step: where those below it start, and how many there are.
        self.starts = [fine[np.diff(coarse, prepend=-1) > 0] for coarse, fine in itertools.pairwise(numbers)]
        ends = [int(fine[-1]) + 1 if len(fine) else 0 for fine in numbers[1:]]
        self.sizes = [np.diff(starts, append=end) for starts, end in zip(self.starts, ends, strict=True)]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches an epoch."""
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        images = self.classes.shuffled(rng)
        drawn = np.zeros(len(self.classes.sizes), dtype=np.int64)
        for combination in self._combinations(rng):
            classes, slots = combination, np.full(len(combination), self.slots)
            for step, most in enumerate([*self.steps[1:], self.slots]):
                classes, slots = self._below(step, classes, slots, most, rng)
            counts = slots * self.per_class
            fine = np.repeat(classes, counts)
            position = drawn[fine] + _nth(counts)
            drawn[classes] += counts
            position %= self.classes.sizes[fine]
            yield rng.permutation(images[self.classes.starts[fine] + position]).tolist()

    def _combinations(self, rng: np.random.Generator) -> Integers:
        """Super classes of every batch of an epoch, `(batches, super_classes)`."""
        found, wanted = len(self.starts[0]), self.steps[0]
        if self.restricted:
            return np.stack([rng.choice(found, wanted, replace=False) for _ in range(self.batches)])
        every = np.array(list(itertools.combinations(range(found), wanted)), dtype=np.int64)
        shuffled: Integers = rng.permutation(np.repeat(every, self.batches_per_pair, axis=0))
        return shuffled

    def _below(
        self, step: int, classes: Integers, slots: Integers, most: int, rng: np.random.Generator
    ) -> tuple[Integers, Integers]:
        """Random classes below each class, `most` or as many as it has, among which its slots are dealt evenly."""
        sizes = self.sizes[step][classes]
        wanted = np.minimum(np.minimum(sizes, most), slots)
        owner, nth = np.repeat(np.arange(len(classes)), sizes), _nth(sizes)
        shuffled = np.argsort(owner + rng.random(len(owner)))
        kept = nth < wanted[owner]
        chosen, owner, nth = (self.starts[step][classes][owner] + nth)[shuffled][kept], owner[kept], nth[kept]
        whole, left = np.divmod(slots[owner], wanted[owner])
        return chosen, whole + (nth < left)


def _nth(counts: Integers) -> Integers:
    """0, 1, ... up to each count, one after the other."""
    return np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
