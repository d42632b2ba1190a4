"""Loaders: pictures of a table as batches of pixels, for training and for embedding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from pertinent.data.table import ImageTable
from pertinent.data.transforms import Transform
from pertinent.errors import DataError, ImageError, InputError


@dataclass(frozen=True)
class Batch:
    """Pixels `(B, 3, H, W)`, rows of the table `(B,)`, and what could not be read."""

    pixels: Tensor
    rows: Tensor
    damaged: list[ImageError]


class Pictures(TorchDataset[tuple[int, "Tensor | ImageError"]]):
    """Pictures by `(row, seed)`: the seed alone decides the augmentation, in whatever process or order.

    A picture that cannot be read comes back as its error: raised in a worker process it would lose its type. With
    `skip` the loaders pass such pictures over, else they raise.
    """

    def __init__(self, table: ImageTable, transform: Transform, skip: bool) -> None:
        self.table, self.transform, self.skip = table, transform, skip

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, Tensor | ImageError]:
        row, seed = key
        try:
            picture = self.table.read(row)
        except ImageError as error:
            return row, error
        with torch.random.fork_rng(devices=[]):
            # Only the generator of the CPU: torch.manual_seed would reset those of the GPUs too.
            torch.default_generator.manual_seed(seed)
            return row, self.transform(picture)


class SeededBatches:
    """Adds to every row of a sampler's batches the seed of its augmentation; can start in mid-epoch.

    Of a batch only the part that `share` of its length says is given out: that of one process among several. Which
    pictures are in a batch, and how each is augmented, does not depend on the number of processes.
    """

    def __init__(self, sampler: Any, seed: int, share: Callable[[int], slice] = slice) -> None:
        self.sampler, self.seed, self.share = sampler, seed, share
        self.epoch, self.start = 0, 0

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Go to an epoch, and past its first `start` batches."""
        self.epoch, self.start = epoch, start
        self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for number, rows in enumerate(self.sampler):
            if number >= self.start:
                seeds = np.random.SeedSequence([self.seed, self.epoch, number]).generate_state(len(rows), np.uint32)
                yield list(zip(np.asarray(rows).tolist(), seeds.tolist(), strict=True))[self.share(len(rows))]

    def __len__(self) -> int:
        return len(self.sampler)


def collate(items: list[tuple[int, Tensor | ImageError]]) -> Batch:
    """Join pictures of one size; the damaged ones are named apart."""
    good = [(row, pixels) for row, pixels in items if isinstance(pixels, Tensor)]
    damaged = [error for _, error in items if isinstance(error, ImageError)]
    sizes = {tuple(pixels.shape[1:]) for _, pixels in good}
    if len(sizes) > 1:
        raise InputError(f"pictures of one batch have sizes {sorted(sizes)}; set preprocess.crop to make them equal")
    pixels = torch.stack([pixels for _, pixels in good]) if good else torch.zeros(0, 3, 1, 1)
    return Batch(pixels, torch.tensor([row for row, _ in good], dtype=torch.int64), damaged)


def training_loader(pictures: Pictures, batches: SeededBatches, workers: int) -> Iterator[Batch]:
    """Batches in the sampler's order; raises ImageError for a damaged picture unless the pictures say `skip`."""
    for batch in load(pictures, batches, workers, collate):
        if batch.damaged and not pictures.skip:
            refuse(batch.damaged[0])
        yield batch


def load(pictures: TorchDataset[Any], batches: Any, workers: int, join: Callable[[Any], Any]) -> Iterator[Any]:
    """What `join` makes of the pictures of each batch, decoded by so many worker processes."""
    # A generator of its own, so that loading leaves the random state of training alone.
    own = torch.Generator().manual_seed(0)
    yield from DataLoader(pictures, batch_sampler=batches, num_workers=workers, collate_fn=join, generator=own)


def refuse(error: ImageError) -> NoReturn:
    """Raise the error of a damaged picture, with what can be done."""
    tip = "or leave out damaged pictures: data.on_error=skip, or --on-error skip of pertinent embed"
    raise ImageError(error.where, f"{error.reason} ({tip})")


def compact_labels(table: ImageTable) -> np.ndarray[Any, Any]:
    """Labels of a training table counted from 0 in every column, as proxies need them; -1 (unlabelled) stays.

    Raises:
        DataError: the table's labels are of a kind that losses do not take.
    """
    if table.kind == "tags":
        return table.labels
    if table.kind not in ("classes", "tree"):
        raise DataError(f"training needs labels of kind classes, tree or tags; this data set has {table.kind!r}")
    labels = table.labels.astype(np.int64).copy()
    columns = labels[:, None] if labels.ndim == 1 else labels
    for column in columns.T:
        known = column >= 0
        column[known] = np.unique(column[known], return_inverse=True)[1]
    return labels
