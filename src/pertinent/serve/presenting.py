"""What clients are told of items and of searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pertinent.data.places import ROW
from pertinent.serve.collection import Collection, Found
from pertinent.serve.model import Model
from pertinent.serve.pictures import address
from pertinent.serve.severity import severity


def item_of(collection: Collection, position: int) -> dict[str, Any]:
    """What is told of an item."""
    entry, labels = collection.item(position), collection.store.labels
    names = list(labels.level_names) if labels.kind in ("classes", "tree") else []
    return {
        "id": entry.id,
        "labels": entry.words,
        "levels": dict(zip(names, entry.words, strict=False)),
        "metadata": dict(entry.metadata),
        "image": address(entry.id),
        "file": _file(entry.place),
        "query_only": collection.query_only(entry.id),
    }


def _file(place: str) -> str:
    """Name of a picture's file, or of an array and the picture's row; the whole path is the machine's own affair."""
    row = ROW.fullmatch(place)
    path = place if row is None else f"{row[1]}[{row[2]}]"
    return path.replace("\\", "/").rpartition("/")[2]


def hits_of(collection: Collection, found: Found, row: int, query_words: Sequence[str]) -> list[dict[str, Any]]:
    """What is told of the hits of one query, best first; with their severity where the query's labels are known."""
    hits = []
    for position, score in zip(found.positions[row], found.scores[row], strict=True):
        entry = collection.item(position)
        hit = {
            "id": entry.id,
            "score": score,
            "labels": entry.words,
            "metadata": dict(entry.metadata),
            "image": address(entry.id),
        }
        if query_words:
            hit["severity"] = severity(collection.store.labels.kind, query_words, entry.words)
        hits.append(hit)
    return hits


def explanation(model: Model, timings: dict[str, float]) -> dict[str, Any]:
    """How an answer came about."""
    facts = model.collection.facts()
    return {
        "model": model.name,
        "index": facts["kind"],
        "stages": facts["stages"],
        "encoder": model.fingerprint,
        "fingerprints": facts["fingerprints"],
        "timings_ms": {name: round(value, 3) for name, value in timings.items()},
    }
