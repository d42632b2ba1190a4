"""`Projection`: a sample of a collection laid out in the plane by t-SNE, so that neighbours lie near each other."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import StorageError
from pertinent.files import read_json, write_bytes
from pertinent.functional.neighbours import unit_rows
from pertinent.index import Where
from pertinent.serve.collection import Collection

POINTS = 3000
DIMS = 50
SEED = 0
PERPLEXITY = 30.0

log = logging.getLogger("pertinent.serve")


class Projection:
    """Computes the layout once, in a thread that begins at the first request, and keeps it in a file.

    Args:
        collection: what is laid out.
    """

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self._places: list[dict[str, Any]] | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def points(self) -> list[dict[str, Any]] | None:
        """Each point's `id`, `x` and `y` in -1..1, and labels; None while they are computed.

        Items that were deleted since are left out, those that were added since are not there yet.
        """
        if not len(self.collection):
            return []
        with self._lock:
            if self._places is None:
                self._places = self._read()
            if self._places is None and self._thread is None:
                self._thread = threading.Thread(target=self._compute, name="pertinent-map", daemon=True)
                self._thread.start()
        return None if self._places is None else [point for point in map(self._now, self._places) if point]

    def _now(self, place: dict[str, Any]) -> dict[str, Any] | None:
        position = self.collection.position(place["id"])
        if position is None:
            return None
        words = self.collection.item(position).words
        return {**place, "label": words[0] if words else "", "labels": words}

    def _compute(self) -> None:
        try:
            positions, _ = self.collection.sample(Where(), POINTS, SEED)
            entries = [self.collection.item(position) for position in positions]
            laid = lay_out(np.stack([self.collection.vector(position) for position in positions]))
            places = [
                {"id": entry.id, "x": round(x, 5), "y": round(y, 5)}
                for entry, (x, y) in zip(entries, laid.tolist(), strict=True)
            ]
            if self.file is not None:
                write_bytes(self.file, json.dumps({"of": self.collection.fingerprint, "places": places}).encode())
        except StorageError as error:
            log.warning("the map is not kept: %s", error)
        except Exception:
            log.exception("the map could not be computed")
            places = []
        self._places = places

    @property
    def file(self) -> Path | None:
        """Where the layout is kept, beside the index."""
        return self.collection.beside("map.json")

    def _read(self) -> list[dict[str, Any]] | None:
        if self.file is None or not self.file.is_file():
            return None
        try:
            kept = read_json(self.file)
            places = [{"id": str(at["id"]), "x": float(at["x"]), "y": float(at["y"])} for at in kept["places"]]
        except (StorageError, KeyError, TypeError, ValueError):
            return None
        return places if kept.get("of") == self.collection.fingerprint else None


def lay_out(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Vectors `(N, D)` as points `(N, 2)` in -1..1: t-SNE of their first principal components."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    count, dim = vectors.shape
    if count < 4:  # too few to have neighbours
        return np.stack([np.linspace(-1, 1, count), np.zeros(count)], axis=1)
    unit = unit_rows(vectors)
    if dim > DIMS:
        unit = PCA(min(DIMS, count), random_state=SEED).fit_transform(unit)
    sne = TSNE(perplexity=min(PERPLEXITY, (count - 1) / 3), init="random", random_state=SEED, n_jobs=1)
    points: NDArray[np.float64] = sne.fit_transform(unit).astype(np.float64)
    points -= points.mean(axis=0)
    return points / max(float(np.abs(points).max()), 1e-12)
