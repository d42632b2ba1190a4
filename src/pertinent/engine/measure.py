"""Metrics of a store of embeddings against the labels that lie beside it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.engine.evaluate import Report, evaluate
from pertinent.errors import DataError, StorageError
from pertinent.files import read_json, write_bytes, write_json
from pertinent.functional.neighbours import blocks
from pertinent.relevance import Relevance
from pertinent.store import EmbeddingStore, StoreLabels

# The first of them mostly settle it, and a query may have a hundred thousand relevant items.
QUERIES = 16


def relevance_of(labels: StoreLabels, count: int, protocol: str | None = None, distractors: int = 0) -> Relevance:
    """The Relevance of a store's items to its queries.

    Every item is a query, unless the labels are judged or the last `probes` pictures are queries only.

    Args:
        labels: of the store.
        count: pictures in the store, with those that are queries only.
        protocol: of judged labels, which judgements count; None is `classic` or `medium`, as the labels allow.
        distractors: further items behind those of the store, unrelated to all; for judged labels.

    Raises:
        DataError: there are no labels, or a protocol for labels that are not judged.
    """
    if labels.kind == "judged":
        if not labels.judgements:
            raise DataError(f"the {count} items have no judgements, so nothing can be measured; searching them works")
        items = count - labels.probes
        asked = np.array([record.query for record in labels.judgements], np.int64)
        word = protocol or ("classic" if "classic" in labels.protocols else "medium")
        own = np.where(asked < items, asked, -1)
        return Relevance.judged(labels.judgements, word, n_items=items + distractors, query_positions=own)
    if protocol is not None or distractors:
        raise DataError(f"protocols and distractors belong to judged queries, these labels are of kind {labels.kind}")
    if labels.values is None or labels.kind == "none":
        raise DataError(f"the {count} items have no labels, so nothing can be measured; searching them works")
    made: dict[str, Callable[..., Relevance]] = {
        "tree": Relevance.tree,
        "classes": Relevance.classes,
        "tags": Relevance.tags,
    }
    items = count - labels.probes
    if not labels.probes:
        return made[labels.kind](labels.values)
    own = own_items(labels, items)
    return made[labels.kind](labels.values[items:], labels.values[:items], query_positions=own)


def require_relevant(relevance: Relevance, split: str) -> None:
    """Raise DataError where no query of a split has anything relevant, so that every metric would be undefined."""
    if not any(len(relevance.positives(rows).lists.ids) for rows in blocks(relevance.n_queries, QUERIES)):
        raise DataError(
            f"no query of {split} has anything relevant to find, so nothing can be measured; look at its labels, and "
            "at data.gallery or data.val_gallery, the split in which it searches"
        )


def own_items(labels: StoreLabels, items: int) -> NDArray[np.int64]:
    """The item that is the same picture as each query-only one, `(probes,)`; -1 for none.

    Args:
        labels: not judged, with queries behind the items.
        items: how many items there are.
    """
    own = np.full(labels.probes, -1, np.int64)
    for copy in labels.judgements:
        own[copy.query - items] = copy.junk[0]
    return own


def queries_of(store: EmbeddingStore) -> NDArray[np.int64]:
    """Rows of a store that are queries, in the order of its Relevance."""
    labels = store.labels
    if labels.kind == "judged":
        return np.array([record.query for record in labels.judgements], np.int64)
    return np.arange(len(store) - labels.probes if labels.probes else 0, len(store))


def measure(
    store: EmbeddingStore, metrics: Sequence[str], similarity: str = "cosine", protocol: str | None = None
) -> Report:
    """Rank the items of a store for each of its queries and measure; a query that is an item is left out by its index.

    Args:
        store: with labels.
        metrics: names, as for `evaluate`.
        similarity: as for `evaluate`.
        protocol: of judged labels, as for `relevance_of`.
    """
    labels, relevance = store.labels, relevance_of(store.labels, len(store), protocol)
    queries, gallery = store.vectors, None
    if labels.kind == "judged" or labels.probes:
        queries, gallery = store.vectors[queries_of(store)], store.items
    return evaluate(queries, gallery, relevance=relevance, metrics=list(metrics), similarity=similarity)


def save_evaluation(path: Path, report: Report, store: EmbeddingStore) -> None:
    """Write a report as JSON with fingerprints of what was measured, and per-query values as `.npz` beside it."""
    facts: dict[str, Any] = {
        "encoder": store.encoder,
        "table": store.manifest.get("table"),
        "damaged": store.manifest.get("damaged", []),
        "level_names": list(store.labels.level_names),
    }
    arrays: dict[str, Any] = dict(report.per_query)
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    write_bytes(path.with_suffix(".npz"), packed.getvalue())
    write_json(path, {**report.to_json(), **facts})


def load_evaluation(path: Path) -> dict[str, Any]:
    """Read what `save_evaluation` wrote, with `per_query` arrays.

    Raises:
        StorageError: missing or damaged.
    """
    values: dict[str, Any] = read_json(path)
    try:
        # From memory, because NumPy leaves a file that is no archive open.
        with np.load(io.BytesIO(path.with_suffix(".npz").read_bytes())) as arrays:
            values["per_query"] = {name: arrays[name] for name in arrays.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise StorageError(f"{path.with_suffix('.npz')} cannot be read ({error}); measure again") from error
    return values
