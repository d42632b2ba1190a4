"""Batches of a query, a positive, and the negatives that the network finds hardest to tell apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pertinent.data.samplers._classes import Integers, as_lists, check_batch, check_column, group_images, label_columns
from pertinent.data.samplers._hardest import Floats, hard_triplets, hardest_negatives, unit
from pertinent.errors import InputError

__all__ = ["HardNegativesSampler"]

Embed = Callable[[Integers], Floats]
Pairs = tuple[Integers, Integers, Integers, Integers]


class HardNegativesSampler:
    """Tuples of a query, an image of its class, and the pool's most similar images of other classes, each of another.

    An epoch has `queries` random pairs of one class, no image being a query twice. Their negatives are looked for in a
    random pool by the cosine of the embeddings that the network gives now, so `mine` must be called before the batches
    of an epoch can be read, and with `refresh` again after so many batches, with another pool. The pool grows where it
    would hold too few classes. What does not fill a batch is left out.

    With `hardest` a tuple is a triplet instead, all three of the pool: a random image, and one at random of its so many
    triplets with the largest loss.

    A batch is one tuple after the other, (query, positive, negatives...). Triplet and contrastive losses are given
    these pairs alone; losses on labels see the whole batch.

    References: Radenovic, Tolias, Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2018 (the
    defaults); Gordo, Almazan, Revaud, Larlus, "End-to-End Learning of Deep Visual Representations for Image Retrieval",
    IJCV 2017 (batches of 64 triplets, pool=5000, refresh=64, hardest=25).

    Args:
        labels: `(N,)` or `(N, L)` int64; images labelled -1 in column `level` are never drawn.
        batch_size: images a batch, a multiple of 2 + negatives.
        negatives: negatives of a query.
        queries: pairs an epoch; at most one for each image that is not alone in its class.
        pool: images that negatives are looked for in; at most all.
        refresh: batches after which the network is asked anew; None asks once an epoch.
        hardest: draw triplets among so many of each query, with negatives=1; None takes the hardest negatives.
        level: label column that holds the classes, 0 finest.
        seed: with the epoch, decides everything that is random.

    Attributes:
        mined: `(M, batch_size)` the first M batches of the epoch; they may be kept and set again after `set_epoch`.

    Raises:
        InputError: no labels, no such column, a wrong option, too few classes for a tuple, or too few pairs for a
            batch; and where batches are read that are not mined.
    """

    needs_embeddings: ClassVar[bool] = True

    def __init__(
        self,
        labels: NDArray[np.int64],
        batch_size: int,
        negatives: int = 5,
        queries: int = 2000,
        *,
        pool: int = 20000,
        refresh: int | None = None,
        hardest: int | None = None,
        level: int = 0,
        seed: int = 0,
    ) -> None:
        columns = label_columns(labels, "HardNegativesSampler")
        check_column(level, columns, "HardNegativesSampler")
        counts = {"negatives": negatives, "queries": queries, "pool": pool, "refresh": refresh, "hardest": hardest}
        for name, value in counts.items():
            if value is not None and value < 1:
                raise InputError(f"HardNegativesSampler: {name} must be at least 1, got {value}")
        if hardest is not None and negatives != 1:
            raise InputError(f"hardest={hardest} draws triplets, which have one negative; set negatives=1")
        self.tuples = check_batch(batch_size, 2 + negatives, "2 + negatives (a query, its positive, its negatives)")
        self.batch_size, self.negatives, self.pool = batch_size, negatives, pool
        self.refresh, self.hardest = refresh, hardest
        self.images = np.flatnonzero(columns[:, level] >= 0)
        self.labels = columns[:, level]
        self.classes = group_images(self.images, self.labels[self.images])
        if len(self.classes.sizes) <= negatives:
            raise InputError(
                f"a query with {negatives} negatives of different classes needs {negatives + 1} classes, "
                f"column {level} has {len(self.classes.sizes)}; lower negatives"
            )
        sizes = self.classes.sizes
        found = min(queries, int(sizes[sizes > 1].sum()))
        self.batches = found // self.tuples
        if not self.batches:
            raise InputError(
                f"{found} pairs of one class make no batch of {self.tuples} tuples; lower batch_size or raise queries"
            )
        self.seed, self.epoch, self.mined = seed, 0, self._nothing()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; batches that were mined for another one are forgotten."""
        if epoch != self.epoch:
            self.epoch, self.mined = epoch, self._nothing()

    def __len__(self) -> int:
        """Batches an epoch, mined or not."""
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        if not len(self.mined):
            raise InputError(
                f"HardNegativesSampler has no batches for epoch {self.epoch} yet; call mine(embed) after set_epoch"
            )
        return as_lists(self.mined)

    def mine(self, embed: Embed) -> None:
        """Make the next batches of the epoch: up to the next refresh, or all.

        Args:
            embed: from image indices `(R,)`, ascending, to their embeddings `(R, D)` by the network as it is; NaN for
                an image that cannot be read, which is then in no pool.

        Raises:
            InputError: all batches of the epoch are mined, or too few images of the pool can be read.
        """
        first = len(self.mined)
        if first == self.batches:
            raise InputError(f"all {first} batches of epoch {self.epoch} are mined; go to the next one with set_epoch")
        last = self.batches if self.refresh is None else min(first + self.refresh, self.batches)
        wanted = slice(first * self.tuples, last * self.tuples)
        rng = np.random.default_rng([self.seed, self.epoch, first, 1])
        tuples = self._tuples(embed, wanted, rng) if self.hardest is None else self._triplets(embed, wanted, rng)
        self.mined = np.concatenate([self.mined, tuples.reshape(-1, self.batch_size)])

    def indices_tuple(self, kept: NDArray[np.bool_] | None = None) -> Pairs:
        """Positions in a batch of (query, positive, query, negative), the pairs that tuple losses take.

        Args:
            kept: `(batch_size,)` which images of the batch there are, where some could not be read; positions then
                count those alone, and pairs that lack one are left out. None is all.
        """
        kept = np.ones(self.batch_size, bool) if kept is None else kept
        places = np.arange(self.batch_size).reshape(self.tuples, -1)
        positive = places[:, :2]
        negative = np.column_stack([np.repeat(places[:, 0], self.negatives), places[:, 2:].reshape(-1)])
        number = np.cumsum(kept) - 1
        positive, negative = (number[pairs[kept[pairs].all(1)]] for pairs in (positive, negative))
        return positive[:, 0], positive[:, 1], negative[:, 0], negative[:, 1]

    def _nothing(self) -> Integers:
        return np.zeros((0, self.batch_size), np.int64)

    def _tuples(self, embed: Embed, wanted: slice, rng: np.random.Generator) -> Integers:
        """Random pairs, and to each its hardest negatives in a pool, `(T, 2 + negatives)`."""
        queries, positives = (part[wanted] for part in self._pairs())
        pool = self._pool(rng, self.negatives + 1)
        rows = np.union1d(queries, pool)
        vectors = unit(np.asarray(embed(rows)))
        found = vectors[np.searchsorted(rows, pool)]
        seen = self._readable(pool, found, self.negatives + 1)
        # A query that cannot be read gets negatives all the same; who loads the batch leaves it out.
        asked = np.nan_to_num(vectors[np.searchsorted(rows, queries)])
        far = hardest_negatives(asked, self.labels[queries], found[seen], self.labels[pool[seen]], self.negatives)
        return np.column_stack([queries, positives, pool[seen][far]])

    def _triplets(self, embed: Embed, wanted: slice, rng: np.random.Generator) -> Integers:
        """Random images of a pool, and to each a positive and a negative of the pool, `(T, 3)`."""
        pool = self._pool(rng, 2, mates=True)
        found = unit(np.asarray(embed(pool)))
        seen = self._readable(pool, found, 2)
        labels = self.labels[pool[seen]]
        _, place, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        mated = np.flatnonzero(sizes[place] > 1)
        if not len(mated):
            raise InputError(
                f"no two of the {len(seen)} images of the pool that can be read are of one class; raise pool"
            )
        asked = rng.choice(mated, wanted.stop - wanted.start)
        near, far = hard_triplets(found[seen], labels, asked, self.hardest or 1, rng)
        triplets: Integers = pool[seen][np.column_stack([asked, near, far])]
        return triplets

    def _pairs(self) -> tuple[Integers, Integers]:
        """Queries of the epoch and a positive for each, both `(Q,)`."""
        rng = np.random.default_rng([self.seed, self.epoch])
        images, starts, sizes = self.classes.images, self.classes.starts, self.classes.sizes
        owner = np.repeat(np.arange(len(sizes)), sizes)
        place = rng.permutation(np.flatnonzero(sizes[owner] > 1))[: self.batches * self.tuples]
        start, size = starts[owner[place]], sizes[owner[place]]
        other = start + (place - start + rng.integers(1, size)) % size
        return images[place], images[other]

    def _pool(self, rng: np.random.Generator, classes: int, mates: bool = False) -> Integers:
        """Random images, ascending: `pool` of them, or more where these are of too few classes, or no two of one."""
        order = rng.permutation(self.images)
        _, first = np.unique(self.labels[order], return_index=True)
        needed = np.sort(first)[classes - 1]
        if mates:
            needed = max(needed, np.setdiff1d(np.arange(len(order)), first)[0])
        return np.sort(order[: max(self.pool, int(needed) + 1)])

    def _readable(self, pool: Integers, vectors: Floats, needed: int) -> Integers:
        """Positions in a pool of what could be read; raises InputError unless it is of so many classes."""
        seen = np.flatnonzero(np.isfinite(vectors).all(1))
        known = len(np.unique(self.labels[pool[seen]]))
        if known < needed:
            raise InputError(
                f"{len(seen)} of {len(pool)} images of the pool can be read, of {known} classes; a query with "
                f"{self.negatives} negatives needs {needed}; raise pool"
            )
        return seen
