"""`Model`: one encoder and the collection that it embedded, at work in threads of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pertinent.engine.building import choose_device
from pertinent.engine.extract import Extraction
from pertinent.engine.search import Searcher
from pertinent.models.views import by_size
from pertinent.serve.batching import Batcher
from pertinent.serve.collection import Collection, Found, Query
from pertinent.serve.metrics import Metrics
from pertinent.serve.pictures import Region, prepare
from pertinent.serve.settings import ServeSettings

# Searches that go through the index together.
SEARCHES = 64


class Model:
    """Embeds pictures and searches, many requests' together.

    Args:
        name: that requests choose it by.
        searcher: encoder and index that belong together.
        settings: sizes of batches and the device.
        metrics: hears of batches.
    """

    def __init__(self, name: str, searcher: Searcher, settings: ServeSettings, metrics: Metrics) -> None:
        self.name, self.collection = name, Collection(searcher.index)
        self.encoder = searcher.encoder.to(choose_device(settings.device)).eval()
        self.fingerprint = self.encoder.fingerprint()
        self._looks = self.encoder.views.looks(self.encoder.preprocess)
        self._extraction = Extraction(self.encoder, settings.batch_size)
        self._embedder: Batcher[list[Tensor], NDArray[np.float32]] = Batcher(
            self._embed,
            f"pertinent-embed-{name}",
            size=settings.batch_size,
            wait=settings.batch_wait / 1000,
            observe=partial(metrics.batch, "embed"),
        )
        self._finder: Batcher[Query, Found] = Batcher(
            self.collection.search,
            f"pertinent-search-{name}",
            size=SEARCHES,
            observe=partial(metrics.batch, "search"),
        )

    @property
    def ready(self) -> bool:
        """Whether encoder and index are at work and belong together."""
        made_by = self.collection.store.encoder
        return self._embedder.alive and self._finder.alive and made_by in (None, self.fingerprint)

    def close(self) -> None:
        """End the threads, and let others change the index."""
        self._embedder.close()
        self._finder.close()
        self.collection.index.close()

    def prepared(self, data: bytes, name: str, region: Region | None) -> list[Tensor]:
        """The views of a picture from the bytes of its file, called `name` in errors; raises ImageError."""
        return prepare(data, name, region, self._looks)

    async def embed(self, pictures: Sequence[list[Tensor]]) -> NDArray[np.float32]:
        """Vectors `(Q, D)` of pictures whose views are given."""
        futures = [asyncio.wrap_future(self._embedder.submit(views)) for views in pictures]
        return np.stack(await asyncio.gather(*futures))

    async def find(self, query: Query) -> Found:
        """What a query finds."""
        return await asyncio.wrap_future(self._finder.submit(query))

    @torch.no_grad()
    def _embed(self, pictures: Sequence[list[Tensor]]) -> list[NDArray[np.float32]]:
        vectors: list[Any] = [None] * len(pictures)
        for places, views in by_size(pictures):
            for place, vector in zip(places, self._extraction.vectors(views).numpy(), strict=True):
                vectors[place] = vector
        return vectors

    def facts(self) -> dict[str, Any]:
        """The model in words and fingerprints."""
        encoder = self.encoder
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "backbone": encoder.config.backbone,
            "dim": encoder.dim,
            "preprocess": encoder.preprocess.fingerprint(),
            "origin": encoder.origin,
            "device": str(encoder.device),
            "index": self.collection.facts(),
        }
