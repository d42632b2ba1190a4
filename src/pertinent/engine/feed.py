"""What the network is fed with: the training pictures in the batches of a sampler."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch import Tensor

from pertinent.data.samplers import SAMPLERS
from pertinent.data.table import ImageTable
from pertinent.data.transforms import Transform
from pertinent.engine.distributed import World
from pertinent.engine.loader import Batch, Pictures, SeededBatches, training_loader
from pertinent.engine.mining import Mining
from pertinent.engine.recipe import Recipe


def make_sampler(recipe: Recipe, labels: Tensor) -> Any:
    """Build the sampler that a recipe names, on labels `(N,)` or `(N, ...)`."""
    settings = recipe.sampler
    return SAMPLERS.build(
        settings.name,
        labels=labels.numpy(),
        batch_size=settings.batch_size,
        **{"seed": recipe.train.seed, **settings.options},
    )


class Feed:
    """The batches of every epoch, from any place in it.

    Args:
        recipe: how pictures are read.
        table: the training pictures.
        sampler: says which are in a batch.
        mining: makes the batches of a sampler that needs embeddings.
        world: the processes.

    Attributes:
        batches: rows and seeds, this process's part of each batch.
    """

    def __init__(self, recipe: Recipe, table: ImageTable, sampler: Any, mining: Mining | None, world: World) -> None:
        self.table, self.workers, self.skip = table, recipe.data.workers, recipe.data.on_error == "skip"
        self.batches = SeededBatches(sampler, recipe.train.seed, world.share)
        self.mining = mining

    def groups(self, epoch: int, step: int, transform: Transform, size: int) -> Iterator[list[Batch]]:
        """The batches of an epoch from a step on, `size` at a time; fewer at the end, and before new ones are mined."""
        pictures = Pictures(self.table, transform, self.skip)
        while step < len(self.batches):
            self.batches.set_epoch(epoch, step)
            if self.mining:
                self.mining.renew(step)
            loader = training_loader(pictures, self.batches, self.workers)
            while group := list(islice(loader, size)):
                yield group
                step += len(group)
