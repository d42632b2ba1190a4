"""Metrics of a store of embeddings against the labels that lie beside it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pertinent.engine.evaluate import Report, evaluate
from pertinent.errors import DataError, StorageError
from pertinent.files import read_json, write_bytes, write_json
from pertinent.pipeline import Pipeline
from pertinent.relevance import Relevance
from pertinent.store import EmbeddingStore, StoreLabels


def relevance_of(labels: StoreLabels, count: int) -> Relevance:
    """The Relevance of `count` items against themselves, by the kind of their labels.

    Raises:
        DataError: there are no labels.
    """
    if labels.kind == "judged":
        raise DataError("judged labels need a protocol: use Relevance.judged with protocol easy, medium or hard")
    if labels.values is None or labels.kind == "none":
        raise DataError(f"the {count} items have no labels, so nothing can be measured; searching them works")
    if labels.kind == "tree":
        return Relevance.tree(labels.values)
    return Relevance.classes(labels.values) if labels.kind == "classes" else Relevance.tags(labels.values)


def judged_relevance(labels: StoreLabels, count: int, protocol: str) -> Relevance:
    """The Relevance of `count` items to the judged queries among them; the last `labels.probes` are queries only."""
    items = count - labels.probes
    asked = np.array([record.query for record in labels.judgements], np.int64)
    own = np.where(asked < items, asked, -1)
    return Relevance.judged(labels.judgements, protocol, n_items=items, query_positions=own)


def measure(
    store: EmbeddingStore, metrics: Sequence[str], similarity: str = "cosine", pipeline: Pipeline | None = None
) -> Report:
    """Rank every item of a store against all others and measure; the item itself is left out by its index.

    Args:
        store: with labels.
        metrics: names, as for `evaluate`.
        similarity: as for `evaluate`.
        pipeline: fitted stages of post-processing.
    """
    return evaluate(
        store.vectors,
        relevance=relevance_of(store.labels, len(store)),
        metrics=list(metrics),
        similarity=similarity,
        pipeline=pipeline,
    )


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
