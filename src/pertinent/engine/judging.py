"""Stores judged as a whole: which vectors are queries, which the gallery, and what is relevant to what.

Labels of two stores are brought together by name, ground truths by the names of pictures, and a picture that is in both
stores is left out of its own ranking.

Letters: Q queries, G gallery items, L levels, C tags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.data.ground_truth import GroundTruth, read_ground_truth
from pertinent.engine.measure import own_items, relevance_of
from pertinent.engine.one_space import check_one_space
from pertinent.engine.protocols import PROTOCOLS, Protocol
from pertinent.errors import DataError, InputError, UnknownNameError
from pertinent.functional.neighbours import blocks
from pertinent.pipeline import vector_room
from pertinent.relevance import Relevance
from pertinent.store import BLOCK, EmbeddingStore, StoreLabels

KINDS = {"classes": ("classes", "tree"), "tree": ("tree",), "tags": ("tags",), "judged": ("judged",)}
"""What labels a protocol's kind can be measured with."""


@dataclass(frozen=True)
class Trial:
    """Everything a measurement needs.

    Attributes:
        queries: `(Q, D)` vectors.
        gallery: `(G, D)` vectors; None where the queries are the gallery.
        relevances: by name of the report; the only one is called "".
        protocol: the protocol, where one was named.
        labels: labels of the queries, `(Q,)`, `(Q, L)` or `(Q, C)`; None for ground truths.
        gallery_labels: those of the gallery, in the same numbers; None where the queries are the gallery.
        label_names: names of the labels in the finest column.
        cropped: how many queries were cut to their boxes; None where nobody knows whether they were.
    """

    queries: NDArray[np.float32]
    gallery: NDArray[np.float32] | None
    relevances: Mapping[str, Relevance]
    protocol: Protocol | None
    labels: NDArray[Any] | None
    label_names: Sequence[str]
    gallery_labels: NDArray[Any] | None = None
    cropped: int | None = 0


def make_trial(
    store: EmbeddingStore,
    gallery: EmbeddingStore | None = None,
    protocol: str | None = None,
    truth: Path | None = None,
    distractors: EmbeddingStore | None = None,
) -> Trial:
    """Put together what is to be measured.

    Args:
        store: the queries, and the gallery too where no other is given.
        gallery: another store to search in.
        protocol: one of `PROTOCOLS`; None measures by all that the labels say.
        truth: a ground truth of landmarks (`gnd_NAME.pkl`, or JSON) that names queries and items.
        distractors: a store of pictures that nobody judged, which are put into the gallery of judged queries.

    Raises:
        UnknownNameError: no such protocol.
        DataError: no labels, labels of another kind, stores whose labels differ in kind or that two encoders made, a
            picture that is missing, or queries that were not cut to the boxes of the ground truth.
    """
    check_one_space(store, [gallery, distractors])
    if protocol is not None and protocol not in PROTOCOLS:
        raise UnknownNameError("protocol", protocol, PROTOCOLS)
    chosen = PROTOCOLS[protocol] if protocol else None
    if truth is not None:
        return _by_truth(store, gallery, read_ground_truth(truth), chosen, protocol, distractors=distractors)
    kind = store.labels.kind
    if kind == "judged":
        return _by_judgements(store, gallery, chosen, protocol, distractors=distractors)
    if distractors is not None:
        raise DataError(f"distractors belong to judged queries; {store.folder} has labels of kind {kind}")
    if kind == "none":
        raise DataError(f"the {len(store)} items have no labels, so nothing can be measured; searching them works")
    if chosen is not None and kind not in KINDS[chosen.kind]:
        raise DataError(f"protocol {protocol} needs labels of kind {chosen.kind}, {store.folder} has {kind}")
    if store.labels.probes:
        return _by_probes(store, gallery, chosen)
    mine, theirs = _join(store, gallery)
    names = store.labels.class_names[0] if store.labels.class_names and kind != "tags" else ()
    own = None if gallery is None else _places(store.ids, gallery.ids)
    made = (chosen or Protocol("", kind, ())).relevances(mine, theirs, own)
    return Trial(store.vectors, None if gallery is None else gallery.vectors, made, chosen, mine, names, theirs)


def _by_probes(store: EmbeddingStore, gallery: EmbeddingStore | None, protocol: Protocol | None) -> Trial:
    """Queries and items of one store, told apart by their place."""
    if gallery is not None:
        raise DataError(f"{store.folder} holds queries and their items; leave the gallery out")
    labels, items = store.labels, len(store) - store.labels.probes
    assert labels.values is not None
    mine, theirs = labels.values[items:], labels.values[:items]
    names = labels.class_names[0] if labels.class_names and labels.kind != "tags" else ()
    made = (protocol or Protocol("", labels.kind, ())).relevances(mine, theirs, own_items(labels, items))  # type: ignore[arg-type]
    return Trial(store.vectors[items:], store.items, made, protocol, mine, names, theirs)


def _by_judgements(
    store: EmbeddingStore,
    gallery: EmbeddingStore | None,
    protocol: Protocol | None,
    name: str | None,
    *,
    distractors: EmbeddingStore | None,
) -> Trial:
    if gallery is not None:
        raise DataError(
            f"{store.folder} holds queries and judged items together; leave the gallery out, or add it as distractors"
        )
    protocol = _landmarks(protocol, name, store.labels.protocols)
    labels = store.labels
    more = 0 if distractors is None else len(distractors)
    made = {word: relevance_of(labels, len(store), word, more) for word in protocol.judgements}
    asked = _rows(store, [record.query for record in labels.judgements])
    items = _with(store.items, distractors)
    return Trial(asked, items, _named(made), protocol, None, (), cropped=store.manifest.get("cropped", 0))


def _by_truth(
    store: EmbeddingStore,
    gallery: EmbeddingStore | None,
    truth: GroundTruth,
    protocol: Protocol | None,
    name: str | None,
    *,
    distractors: EmbeddingStore | None,
) -> Trial:
    protocol = _landmarks(protocol, name, truth.protocols)
    cropped = _cropped(store, truth)
    held = gallery or store
    items, asked = _find(truth.items, held, "items"), _find(truth.queries, store, "queries")
    records = [
        {word: items[np.asarray(places, np.int64)].tolist() for word, places in record.items()}
        for record in truth.records
    ]
    own = asked if gallery is None else _places([store.ids[row] for row in asked.tolist()], held.ids)
    vectors = _with(held.vectors, distractors)
    made = {
        word: Relevance.judged(records, word, n_items=len(vectors), query_positions=own) for word in protocol.judgements
    }
    return Trial(_rows(store, asked.tolist()), vectors, _named(made), protocol, None, (), cropped=cropped)


def _cropped(store: EmbeddingStore, truth: GroundTruth) -> int | None:
    """How many queries were cut to their boxes; None for vectors from elsewhere, of which nobody knows."""
    cropped: int = store.manifest.get("cropped", 0)
    if cropped >= len(truth.boxes):
        return cropped
    if store.encoder is None:
        return None
    raise DataError(
        f"the ground truth cuts {len(truth.boxes)} queries to their boxes, {store.folder} was embedded with {cropped} "
        f"pictures cut: whole pictures flatter the figures; embed the queries with pertinent embed ENCODER "
        f"landmarks:test --root FOLDER --option truth=FILE, or, where they were cut before, give the ground truth as "
        f"JSON without bbx"
    )


def _with(items: NDArray[np.float32], distractors: EmbeddingStore | None) -> NDArray[np.float32]:
    """Items, and the distractors behind them."""
    if distractors is None:
        return items
    if distractors.dim != items.shape[1]:
        raise DataError(f"{distractors.folder} holds vectors of {distractors.dim} numbers, not of {items.shape[1]}")
    every = vector_room((len(items) + len(distractors), distractors.dim))
    every[: len(items)] = items
    for rows in blocks(len(distractors), BLOCK):
        every[len(items) + rows.start : len(items) + rows.stop] = distractors.vectors[rows]
    return every


def _landmarks(protocol: Protocol | None, name: str | None, allowed: Sequence[str]) -> Protocol:
    found = protocol or PROTOCOLS["classic" if "classic" in allowed else "revisited"]
    if found.kind != "judged":
        raise DataError(
            f"protocol {name} needs labels of kind {found.kind}, here every query has a list of the items that it is "
            "to find; name metrics instead of the protocol, or give queries and gallery as two stores with labels"
        )
    wrong = [word for word in found.judgements if word not in allowed]
    if wrong:
        raise DataError(
            f"protocol {name} needs lists for {', '.join(wrong)}; this ground truth has {', '.join(allowed)}"
        )
    return found


def _named(made: dict[str, Relevance]) -> dict[str, Relevance]:
    return made if len(made) > 1 else {"": next(iter(made.values()))}


def _rows(store: EmbeddingStore, rows: Sequence[int]) -> NDArray[np.float32]:
    taken: NDArray[np.float32] = store.vectors[np.asarray(rows, np.int64)]
    return taken


def _find(names: Sequence[str], store: EmbeddingStore, what: str) -> NDArray[np.int64]:
    """Where the pictures of a ground truth are in a store: by id, or by file name without folder and ending."""
    by_id = {item: row for row, item in enumerate(store.ids)}
    by_stem: dict[str, list[int]] = {}
    for row, item in enumerate(store.ids):
        by_stem.setdefault(Path(item).stem, []).append(row)
    found, missing = [], []
    for name in names:
        rows = [by_id[name]] if name in by_id else by_stem.get(Path(name).name, by_stem.get(Path(name).stem, []))
        if len(rows) > 1:
            raise DataError(f"{store.folder} holds {len(rows)} pictures called {name}: {store.ids[rows[0]]}, ...")
        found += rows
        missing += [] if rows else [name]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(names)} {what} of the ground truth are not in {store.folder}, the first: "
            f"{missing[0]}; embed them too"
        )
    return np.array(found, np.int64)


def _places(ids: Sequence[str], gallery_ids: Sequence[str]) -> NDArray[np.int64]:
    place = {name: row for row, name in enumerate(gallery_ids)}
    return np.array([place.get(name, -1) for name in ids], np.int64)


def _join(store: EmbeddingStore, gallery: EmbeddingStore | None) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Labels of both stores, numbered alike."""
    mine = store.labels
    assert mine.values is not None
    if gallery is None:
        return mine.values, None
    theirs = gallery.labels
    if theirs.kind != mine.kind or theirs.values is None:
        raise DataError(f"{store.folder} has labels of kind {mine.kind}, {gallery.folder} of kind {theirs.kind}")
    if mine.kind == "tags":
        return _join_tags(mine, theirs)
    if mine.values.shape[1:] != theirs.values.shape[1:]:
        raise DataError(f"labels of {store.folder} and {gallery.folder} differ in their number of levels")
    columns = [
        _renumber(names, other, column)
        for names, other, column in zip(
            mine.class_names, theirs.class_names, theirs.values.reshape(len(theirs.values), -1).T, strict=True
        )
    ]
    return mine.values, np.stack(columns, 1).reshape(theirs.values.shape)


def _renumber(names: Sequence[str], others: Sequence[str], column: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels numbered by `others` in the numbers of `names`; what `names` lacks comes after."""
    known = {name: number for number, name in enumerate(names)}
    new = np.array([known.setdefault(name, len(known)) for name in others], np.int64)
    return np.where(column >= 0, new[np.maximum(column, 0)] if len(new) else column, -1)


def _join_tags(mine: StoreLabels, theirs: StoreLabels) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    names = list(dict.fromkeys([*mine.class_names[0], *theirs.class_names[0]]))
    joined = []
    for labels in (mine, theirs):
        values = np.zeros((len(labels.values), len(names)), np.bool_)  # type: ignore[arg-type]
        values[:, [names.index(name) for name in labels.class_names[0]]] = labels.values
        joined.append(values)
    return joined[0], joined[1]


def read_ranking(path: Path, n_queries: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Ranked lists of another tool: an `.npz` with `ids` `(Q, k)`, names or positions, and perhaps `scores` `(Q, k)`.

    Raises:
        InputError: no such file, another content, or another number of queries.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read ({error}); write it with numpy.savez(ids=..., scores=...)") from error
    if "ids" not in found or found["ids"].ndim != 2 or len(found["ids"]) != n_queries:
        shape = found["ids"].shape if "ids" in found else "no ids"
        raise InputError(f"{path} must hold ids ({n_queries}, k), one row a query in the store's order; got {shape}")
    return found["ids"], found.get("scores")
