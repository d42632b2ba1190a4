"""Changes that several collections make together: each of them, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pertinent.serve.collection import Collection
from pertinent.serve.problems import log

Undo = Callable[[], None]


def in_all(name: str, collections: Iterable[Collection], change: Callable[[Collection], None]) -> None:
    """Change the item of an id in each collection; where one cannot, those before it get back what they had.

    That somebody else changes one of them is found before any is changed.

    Raises:
        Exception: what the change raised.
    """
    undone: list[Undo] = []
    every = list(collections)
    for collection in every:
        collection.claim()
    try:
        for collection in every:
            undo = _undo(name, collection)
            change(collection)
            undone.append(undo)
    except Exception:
        for undo in reversed(undone):
            try:
                undo()
            except Exception:  # the others are brought back all the same, and the client hears of the first error
                log.exception("%r is changed in one model and could not be brought back to what it was", name)
        raise


def _undo(name: str, collection: Collection) -> Undo:
    """What brings an id back to what it is now."""
    position = collection.position(name)
    if position is None:
        return lambda: collection.delete(name)
    item, vector = collection.item(position), collection.vector(position)
    return lambda: collection.put(name, vector, item.words, item.place, item.metadata)
