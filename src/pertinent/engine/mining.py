"""Batches that are mined with the network as it is while it learns."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pertinent.data.table import ImageTable
from pertinent.engine.distributed import World
from pertinent.engine.events import Listener, Rate
from pertinent.engine.extract import Extraction
from pertinent.engine.steps import Tuples
from pertinent.errors import TrainingError
from pertinent.models.encoder import evaluation_mode

Rows = NDArray[np.int64]


class MiningSampler(Protocol):
    """A batch sampler that says `needs_embeddings`."""

    epoch: int
    mined: Rows

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, and forget what was mined for another."""

    def mine(self, embed: Callable[[Rows], NDArray[np.float32]]) -> None:
        """Append the next batches of the epoch to `mined`."""

    def indices_tuple(self, kept: NDArray[np.bool_]) -> tuple[Rows, Rows, Rows, Rows]:
        """Positions of the mined pairs among the images of a batch that are kept."""


class Mining:
    """Keeps a sampler in mined batches: embeds what it asks for, and gives every process the same ones.

    Pictures are embedded as they are for measuring: preprocessed without augmentation, in evaluation mode and without
    gradient. No random number of training is drawn. The processes share the work in whole batches, the same that one
    alone would embed.

    Args:
        sampler: one that mines.
        extraction: the encoder that learns, and how it embeds.
        table: the training pictures.
        world: the processes.
        damaged: what could not be read is noted here.
        listener: hears `embed` events of stage `mining`, then a `mine` event with `pictures` and `seconds`.
    """

    def __init__(
        self,
        sampler: MiningSampler,
        extraction: Extraction,
        table: ImageTable,
        world: World,
        *,
        damaged: set[str],
        listener: Listener,
    ) -> None:
        self.sampler, self.extraction, self.table, self.world = sampler, extraction, table, world
        self.damaged, self.listener = damaged, listener
        self.device = extraction.encoder.device

    def renew(self, step: int) -> None:
        """Mine when the batch of a step, counted from 0 in its epoch, is not there yet.

        Raises:
            ImageError: a damaged picture, unless they are skipped.
            TrainingError: an embedding is not finite.
        """
        if len(self.sampler.mined) <= step:
            self.sampler.mine(self._embed)
            # Equal embeddings may still be ranked otherwise by another processor.
            mined = torch.from_numpy(self.sampler.mined).to(self.device)
            self.world.copy(mined)
            self.sampler.mined = mined.cpu().numpy()

    def tuples(self, step: int, rows: Tensor) -> Tuples:
        """Positions of the mined pairs among the pictures of a step's batch that could be read.

        Args:
            step: which batch of the epoch, from 0.
            rows: `(B,)` the rows of the table that were read, in the order of the batch.
        """
        wanted, found = self.sampler.mined[step].tolist(), rows.tolist()
        kept, place = np.zeros(len(wanted), bool), 0
        for position, row in enumerate(wanted):
            if place < len(found) and row == found[place]:
                kept[position] = True
                place += 1
        pairs = self.sampler.indices_tuple(kept)
        first, near, second, far = (torch.from_numpy(part).to(self.device) for part in pairs)
        return first, near, second, far

    def load(self, epoch: int, mined: Tensor) -> None:
        """Go to an epoch with what `state` gave for it."""
        self.sampler.set_epoch(epoch)
        self.sampler.mined = mined.numpy()

    def state(self, epoch: int) -> Tensor:
        """The batches of an epoch that are mined, for a checkpoint."""
        mined = self.sampler.mined
        return torch.from_numpy(mined if self.sampler.epoch == epoch else mined[:0])

    @torch.no_grad()
    def _embed(self, rows: Rows) -> NDArray[np.float32]:
        """Embeddings of rows of the table, `(R, D)`; NaN for damaged pictures."""
        started, size = time.monotonic(), self.extraction.window
        share = self.world.share(-(-len(rows) // size))
        own = range(share.start * size, min(share.stop * size, len(rows)))
        vectors = torch.full((len(own), self.extraction.encoder.dim), torch.nan)
        rate = Rate(len(own))
        with evaluation_mode(self.extraction.encoder):
            for window in self.extraction.windows(self.table.subset(rows), own):
                for places, found in window.embeddings():
                    vectors[torch.tensor(places) - own.start] = self._finite(found)
                    self._tell(rate, len(places))
                if window.damaged:
                    self.damaged.update(str(error) for _, error in window.damaged)
                    self._tell(rate, len(window.damaged))
        whole: NDArray[np.float32] = self.world.gather(vectors).numpy()
        self.listener({"event": "mine", "pictures": len(rows), "seconds": time.monotonic() - started, **self._place()})
        return whole

    def _tell(self, rate: Rate, count: int) -> None:
        speed = rate.add(count)
        self.listener({"event": "embed", "stage": "mining", "done": rate.done, "total": rate.total, **speed})

    def _finite(self, vectors: Tensor) -> Tensor:
        if not vectors.isfinite().all():
            raise TrainingError(
                f"embeddings became nan or infinite before epoch {self.sampler.epoch + 1}, step "
                f"{len(self.sampler.mined) + 1}; lower optim.lr, set train.clip_norm=1, or use train.precision=float32"
            )
        return vectors

    def _place(self) -> dict[str, Any]:
        return {"epoch": self.sampler.epoch + 1, "step": len(self.sampler.mined)}
