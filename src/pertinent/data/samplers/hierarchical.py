"""Batches of fine classes from a few super classes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

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

    Reference: the sampling of HAPPIER (ECCV 2022) on Stanford Online Products, after Cakir et al., "Deep Metric
    Learning to Rank", CVPR 2019.

    Args:
        labels: `(N, L)` int64 with L >= 2, column 0 the fine classes; images labelled -1 in column 0 or `level` are
            never drawn.
        batch_size: images a batch, a multiple of super_classes * per_class.
        per_class: images of a fine class.
        super_classes: super classes in a batch.
        batches_per_pair: batches an epoch of each combination of super classes.
        level: label column of the super classes; None is the coarsest.
        batches: batches an epoch, each of a random combination; None has every combination `batches_per_pair` times.
        seed: with the epoch, decides everything.

    Raises:
        InputError: fewer than two label columns, a wrong batch size or level, fewer super classes than a batch needs,
            or more combinations than an epoch can hold.
    """

    def __init__(
        self,
        labels: NDArray[np.int64],
        batch_size: int,
        per_class: int = 4,
        super_classes: int = 2,
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
        self.slots = check_batch(batch_size, super_classes * per_class, "super_classes * per_class")
        self.per_class, self.batches_per_pair, self.seed, self.epoch = per_class, batches_per_pair, seed, 0

        images = np.flatnonzero((columns[:, 0] >= 0) & (columns[:, level] >= 0))
        # A fine class under two super classes (no tree) counts as two, so that a batch keeps to its super classes.
        pairs, fine = np.unique(columns[images][:, [level, 0]], axis=0, return_inverse=True)
        self.classes = group_images(images, fine.reshape(-1))
        self.families = group_images(np.arange(len(pairs)), pairs[:, 0])
        found = len(self.families.sizes)
        if found < super_classes:
            raise InputError(f"a batch needs {super_classes} super classes, column {level} has {found}")
        self.super_classes, self.restricted = super_classes, batches is not None
        self.batches = math.comb(found, super_classes) * batches_per_pair if batches is None else batches
        if self.batches > MOST_BATCHES:
            raise InputError(
                f"{found} super classes in column {level} make {self.batches} batches an epoch; set `batches`, or "
                "choose a coarser level"
            )

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
            picks = [self._pick_classes(int(family), rng) for family in combination]
            fine, again = (np.concatenate(part) for part in zip(*picks, strict=True))
            position = (drawn[fine] + again * self.per_class)[:, None] + np.arange(self.per_class)
            np.add.at(drawn, fine, self.per_class)
            position %= self.classes.sizes[fine][:, None]
            yield rng.permutation(images[self.classes.starts[fine][:, None] + position].reshape(-1)).tolist()

    def _combinations(self, rng: np.random.Generator) -> Integers:
        """Super classes of every batch of an epoch, `(batches, super_classes)`."""
        found = len(self.families.sizes)
        if self.restricted:
            return np.stack([rng.choice(found, self.super_classes, replace=False) for _ in range(self.batches)])
        every = np.array(list(itertools.combinations(range(found), self.super_classes)), dtype=np.int64)
        shuffled: Integers = rng.permutation(np.repeat(every, self.batches_per_pair, axis=0))
        return shuffled

    def _pick_classes(self, family: int, rng: np.random.Generator) -> tuple[Integers, Integers]:
        """Fine classes for the slots of one super class, and how often each was picked before in this batch."""
        start, size = self.families.starts[family], self.families.sizes[family]
        members = rng.permutation(self.families.images[start : start + size])
        slot = np.arange(self.slots)
        return members[slot % size], slot // size
