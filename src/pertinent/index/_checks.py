"""What an `Index` is given, and whether it can be taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pertinent.errors import InputError, UnknownNameError
from pertinent.index._changes import Put
from pertinent.index._metadata import Columns
from pertinent.index._names import near
from pertinent.index._view import View
from pertinent.index._where import Value
from pertinent.store import EmbeddingStore

Metadata = Mapping[str, Value]


def checked_vectors(vectors: NDArray[np.float32] | torch.Tensor, dim: int, what: str, one: str) -> NDArray[np.float32]:
    """Vectors `(n, D)` float32; raises InputError for another D, or numbers that are not finite."""
    given = vectors.detach().cpu().float().numpy() if isinstance(vectors, torch.Tensor) else vectors
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused below
        made = np.atleast_2d(np.asarray(given, dtype=np.float32))
    if made.ndim != 2 or made.shape[1] != dim:
        raise InputError(f"{what} have shape {made.shape}, the index holds vectors of {dim} numbers")
    if not np.isfinite(made).all():
        raise InputError(f"{one} is not finite")
    return made


def fitted_put(view: View, put: Put) -> Put:
    """The items with a word for each level of the collection; raises InputError for what it cannot hold."""
    labels = view.base.store.labels
    for name in put.ids:
        row = view.row(name)
        if row is not None and len(view.base.items) <= row < len(view.base):
            raise InputError(f"{name!r} is a query of the store and cannot be an item; choose another id")
    levels = {"judged": 0, "classes": 1, "tree": len(labels.class_names)}.get(labels.kind)
    if levels is None:
        return put
    for name, words in zip(put.ids, put.words, strict=True):
        if len(words) > levels:
            raise InputError(
                f"{name!r} has {len(words)} label words, the labels of {view.base.store.folder} ({labels.kind}) hold "
                f"at most {levels}; note the others as metadata"
            )
    return replace(put, words=[[*words, *[""] * (levels - len(words))] for words in put.words])


def row_of_item(view: View, name: str) -> int:
    """Row of an item; raises UnknownNameError where there is none, InputError for a query of the store."""
    row = view.row(name)
    if row is None:
        near_ones = {*view.base.ids.near(name), *near(name, view.added.ids)}
        raise UnknownNameError("id", name[:100], [other for other in near_ones if view.row(other) is not None])
    if len(view.base.items) <= row < len(view.base):
        raise InputError(f"{name!r} is a query of the store and no item; nothing was deleted")
    return row


def row_of_position(view: View, position: int) -> int:
    """Row at a position; raises InputError where nothing is."""
    row = view.base.row(position)
    if row is None or row >= len(view.base) + view.count:
        raise InputError(f"no item is at position {position}")
    return row


def columns_of(store: EmbeddingStore, metadata: Mapping[str, Metadata]) -> Columns:
    """Metadata by id as columns; raises UnknownNameError for an id that the store does not have."""
    if not metadata:
        return Columns.none(len(store))
    unknown = next(iter(set(metadata) - set(store.ids)), None)
    if unknown is not None:
        raise UnknownNameError("id", unknown[:100], near(unknown, store.ids))
    return Columns.of([metadata.get(name, {}) for name in store.ids])


def facts_of(store: EmbeddingStore, metadata: Columns, count: int) -> dict[str, Any]:
    """What a database stores beside the vectors."""
    return {
        "ids": store.ids[:count],
        "words": [store.labels.words(row) for row in range(count)],
        "metadata": [metadata.item(row) for row in range(count)],
    }
