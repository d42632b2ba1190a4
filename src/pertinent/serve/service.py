"""`Service`: models at work, and what requests share: threads that decode, room, times."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pertinent.engine.search import Searcher
from pertinent.errors import InputError, StorageError
from pertinent.serve.collection import Collection, Found, Query
from pertinent.serve.metrics import Metrics
from pertinent.serve.model import Model
from pertinent.serve.pictures import Region
from pertinent.serve.problems import Problem, busy, log, unknown, unwritable
from pertinent.serve.projection import Projection
from pertinent.serve.settings import MAX_HITS, ServeSettings
from pertinent.serve.together import in_all
from pertinent.serve.uploads import NewItem, Uploads, form_of

Done = TypeVar("Done")
Timings = dict[str, float]


class Service:
    """What the routes call.

    Args:
        searchers: encoder and index that belong together, by the name of the model; the first is the default.
        settings: sizes and limits.
    """

    def __init__(self, searchers: Mapping[str, Searcher], settings: ServeSettings) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.models = {name: Model(name, searcher, settings, self.metrics) for name, searcher in searchers.items()}
        self.default = next(iter(self.models.values()))
        self._projections = {name: Projection(model.collection) for name, model in self.models.items()}
        self.uploads = Uploads(self.default.collection.beside("uploads"))
        self._under_way = 0
        self._pool = ThreadPoolExecutor(settings.threads, "pertinent-decode")
        # Few changes come, and each waits for the disk; one after the other, so that models do not come to differ.
        self._changing = ThreadPoolExecutor(1, "pertinent-change")

    @property
    def changeable(self) -> bool:
        """Whether items can be added and deleted."""
        return all(model.collection.changeable for model in self.models.values())

    @property
    def ready(self) -> bool:
        """Whether every model is at work."""
        return all(model.ready for model in self.models.values())

    def close(self) -> None:
        """End the threads."""
        for pool in (self._pool, self._changing):
            pool.shutdown(cancel_futures=True)
        for model in self.models.values():
            model.close()

    def model(self, name: str | None) -> Model:
        """The model of a name, or the default; raises Problem 404."""
        if name is None:
            return self.default
        if name not in self.models:
            served = ", ".join(self.models)
            raise Problem(404, f"no model {name[:100]!r} is served", f"served are: {served}")
        return self.models[name]

    def locate(self, name: str) -> tuple[Collection, int]:
        """The first collection that has an id, and its position there; raises Problem 404."""
        for model in self.models.values():
            position = model.collection.position(name)
            if position is not None:
                return model.collection, position
        raise unknown(name)

    def projection(self, model: Model) -> Projection:
        """The items of a model laid out in the plane."""
        return self._projections[model.name]

    async def embed(
        self, model: Model, pictures: Sequence[bytes], region: Region | None, timings: Timings
    ) -> NDArray[np.float32]:
        """Vectors `(Q, D)` of pictures; raises ImageError."""
        names = ["the picture"] if len(pictures) == 1 else [f"picture {number + 1}" for number in range(len(pictures))]
        with _timed(timings, "decode"):
            prepared = (
                self.apart(model.prepared, data, name, region) for data, name in zip(pictures, names, strict=True)
            )
            views = await asyncio.gather(*prepared)
        with _timed(timings, "embed"):
            return await model.embed(views)

    async def find(self, model: Model, query: Query, timings: Timings) -> Found:
        """What a query finds; raises InputError for more results than one request may have."""
        last, limits = query.offset + query.k, self.settings
        if query.k > limits.max_k:
            raise InputError(f"k: at most {limits.max_k} results, got {query.k}")
        if last * len(query.vectors) > MAX_HITS:
            raise InputError(
                f"k: a request reaches no deeper than {MAX_HITS} results over all its queries; "
                f"{len(query.vectors)} x (offset {query.offset} + k {query.k}) is more"
            )
        with _timed(timings, "search"):
            return await model.find(query)

    async def add(self, new: NewItem) -> bool:
        """Add a picture to every collection, or replace it there, or change none; on the disk when this returns.

        Returns:
            Whether it was replaced.

        Raises:
            UnchangeableError: nothing can be added to one of them.
            InputError: an id or labels that the collection cannot have.
            ImageError: no picture.
        """
        for model in self.models.values():
            model.collection.require_changeable(f"{new.id!r} was not added")
            new.check(model.collection.store.labels)
        vectors = {}
        for model in self.models.values():
            views = await self.apart(model.prepared, new.data, "the picture", None)
            vectors[model.collection] = (await model.embed([views]))[0]
        return await self.changed(self._put, new, vectors)

    def _put(self, new: NewItem, vectors: Mapping[Collection, NDArray[np.float32]]) -> bool:
        before = [collection.item(position).place for collection, position in self._holders(new.id)]
        place = self.uploads.keep(new.data, form_of(new.data))
        try:
            in_all(
                new.id,
                vectors,
                lambda collection: collection.put(new.id, vectors[collection], new.words, str(place), new.metadata),
            )
        except Exception:
            if not any(collection.item(at).place == str(place) for collection, at in self._holders(new.id)):
                self.uploads.forget(str(place))
            raise
        for old in before:
            self.uploads.forget(old)
        return bool(before)

    async def delete(self, name: str) -> None:
        """Delete an item in every collection that has it, or in none.

        Raises:
            Problem: 404 where no collection has it.
            UnchangeableError: nothing can be deleted from one of them.
        """
        self.locate(name)
        for collection, _ in self._holders(name):
            collection.require_changeable(f"{name!r} was not deleted")
        await self.changed(self._delete, name)

    def _delete(self, name: str) -> None:
        holders = self._holders(name)
        places = [collection.item(position).place for collection, position in holders]
        in_all(name, [collection for collection, _ in holders], lambda collection: collection.delete(name))
        for place in places:
            self.uploads.forget(place)

    def _holders(self, name: str) -> list[tuple[Collection, int]]:
        there = [(model.collection, model.collection.position(name)) for model in self.models.values()]
        return [(collection, position) for collection, position in there if position is not None]

    @contextmanager
    def room(self, count: int) -> Iterator[None]:
        """Hold room for so many pictures or searches; raises Problem 503 where there is none."""
        if self._under_way + count > self.settings.queue:
            raise busy()
        self._under_way += count
        try:
            yield
        finally:
            self._under_way -= count

    async def apart(self, work: Callable[..., Done], *arguments: Any, **options: Any) -> Done:
        """Do work on pictures or lists in the threads that decode."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(work, *arguments, **options))

    async def changed(self, work: Callable[..., Done], *arguments: Any) -> Done:
        """Do a change of the collection to its end, even if the client goes away, one change at a time.

        Raises:
            Problem: 503 where it cannot be written.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._changing, work, *arguments)
        except StorageError as error:
            log.error("%s", error)
            raise unwritable() from error


@contextmanager
def _timed(timings: Timings, work: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    timings[work] = 1000 * (time.perf_counter() - started)
