"""Compacting: what is there now becomes a store of its own, and is built anew.

Letters: M rows kept, S rows of the old store, C tags, L levels.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.data.table import Judgement
from pertinent.functional.neighbours import blocks
from pertinent.index import INDEXES
from pertinent.index._base import Base, comparable
from pertinent.index._metadata import Columns
from pertinent.index._view import View
from pertinent.pipeline import vector_room
from pertinent.store import BLOCK, EmbeddingStore, StoreLabels

_OURS = ("format", "count", "dim", "unit", "encoder", "files", "codes")
UNLABELLED = -1


def compacted(view: View, folder: Path) -> View:
    """The same items, all of them built and none added, over a store that is written to a folder.

    Raises:
        StorageError: the store cannot be written.
        InputError: the options of the kind do not fit so few items.
    """
    base = view.base
    queries_only = np.arange(len(base.items), len(base))
    rows = np.concatenate([np.flatnonzero(view.alive), queries_only])
    store = _write_store(view, rows, len(queries_only), folder)
    pipeline = base.pipeline
    items = pipeline.items(store.items) if pipeline.changes_items else comparable(store, base.kind, pipeline)
    metadata = [view.item(row).metadata for row in rows.tolist()] if _has_metadata(view) else []
    made = Base(
        store,
        base.kind,
        INDEXES.build(base.kind, vectors=items, **base.options),
        pipeline,
        items,
        Columns.of(metadata) if metadata else Columns.none(len(store)),
        base.first + view.count,
        base.options,
        base.positions(rows),
        owned=True,
    )
    return View.of(made)


def _write_store(view: View, rows: NDArray[np.int64], queries_only: int, folder: Path) -> EmbeddingStore:
    old = view.base.store
    vectors = vector_room((len(rows), old.dim))
    for some in blocks(len(rows), BLOCK):
        vectors[some] = view.vectors(rows[some])
    labels = replace(_labels(view, rows), probes=queries_only)
    names = rows.tolist()
    return EmbeddingStore.write(
        folder,
        vectors,
        [view.name(row) for row in names],
        places=[view.place(row) for row in names],
        labels=labels,
        encoder=old.encoder,
        extra={key: value for key, value in old.manifest.items() if key not in _OURS},
    )


def _has_metadata(view: View) -> bool:
    return bool(view.base.metadata.values) or any(view.added.metadata[: view.count])


def _labels(view: View, rows: NDArray[np.int64]) -> StoreLabels:
    labels = view.base.store.labels
    if labels.kind == "judged":
        return replace(labels, judgements=_judgements(view, rows, labels))
    built = rows < len(view.base)
    words = [view.added.words[row - len(view.base)] for row in rows[~built].tolist()]
    if labels.kind == "none":
        if not any(words):
            return labels
        labels = StoreLabels("tags", np.zeros((len(view.base), 0), bool), (), [[]])
    assert labels.values is not None
    class_names = [list(level) for level in labels.class_names]
    known = [{name: number for number, name in reversed(list(enumerate(level)))} for level in class_names]
    numbered = [_numbered(line, class_names, known, labels.kind) for line in words]
    old, later = labels.values[rows[built]], np.flatnonzero(~built).tolist()
    values: NDArray[Any]
    if labels.kind == "tags":
        values = np.zeros((len(rows), len(class_names[0])), bool)
        values[built, : old.shape[1]] = old
        for row, numbers in zip(later, numbered, strict=True):
            values[row, numbers] = True
    else:
        values = np.full((len(rows), len(class_names)), UNLABELLED, np.int64)
        values[built] = old.reshape(len(old), len(class_names))
        for row, numbers in zip(later, numbered, strict=True):
            values[row, : len(numbers)] = numbers
    shape = (len(rows), values.shape[1]) if labels.values.ndim > 1 else (len(rows),)
    return replace(labels, values=values.reshape(shape), class_names=class_names)


def _numbered(words: list[str], class_names: list[list[str]], known: list[dict[str, int]], kind: str) -> list[int]:
    """Numbers of an item's words, one a level, or one a tag; a new word takes the next."""
    numbers = []
    for place, word in enumerate(words):
        level = 0 if kind == "tags" else place
        if word and word not in known[level]:
            known[level][word] = len(class_names[level])
            class_names[level].append(word)
        numbers.append(known[level][word] if word else UNLABELLED)
    return numbers if kind != "tags" else [number for number in numbers if number != UNLABELLED]


def _judgements(view: View, rows: NDArray[np.int64], labels: StoreLabels) -> list[Judgement]:
    """Judgements of what is still there; they are of pictures, so a replaced item keeps its own."""
    places = {view.name(row): place for place, row in enumerate(rows.tolist())}

    def moved(old: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(places[name] for row in old if (name := view.name(row)) in places)

    return [
        Judgement(moved((one.query,))[0], moved(one.easy), moved(one.hard), moved(one.junk), moved(one.ok))
        for one in labels.judgements
        if view.name(one.query) in places
    ]
