"""Searching with pictures: encoder and index together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from pertinent.errors import StorageError
from pertinent.index import Index, Where
from pertinent.models.encoder import Encoder
from pertinent.models.views import Views


@dataclass(frozen=True)
class Searcher:
    """An encoder and the index of a collection that it embedded."""

    encoder: Encoder
    index: Index

    def search(
        self, pictures: Sequence[Path | str | Image.Image], k: int = 10, where: Where | None = None
    ) -> list[list[dict[str, Any]]]:
        """Find the k items most like each picture: id, path, score, label words and metadata of each, best first.

        Args:
            pictures: Q paths or pictures.
            k: how many items.
            where: which items may be found; all, when None. There may then be fewer than k.

        Raises:
            ImageError: a picture that cannot be read.
            UnknownNameError: a label or a key of metadata that no item has.
        """
        hits = self.index.search(self.encoder.embed(list(pictures)), k, where)
        return [
            [self._hit(place, score) for place, score in zip(places, scores, strict=True) if place >= 0]
            for places, scores in zip(hits.positions.tolist(), hits.scores.tolist(), strict=True)
        ]

    def _hit(self, position: int, score: float) -> dict[str, Any]:
        item = self.index.item(position)
        hit = {"id": item.id, "path": item.place, "score": round(score, 6), "labels": list(item.words)}
        return {**hit, "metadata": dict(item.metadata)} if item.metadata else hit


def open_searcher(target: Path, model: Path | None = None) -> Searcher:
    """Open a run folder, or an index folder with the encoder that belongs to it.

    Raises:
        StorageError: neither, a run that is not finished, or an encoder that did not make the index's vectors.
    """
    if not target.is_dir():
        raise StorageError(f"there is no folder {target}; give a run folder, or an index folder with --model")
    if (target / "recipe.yaml").is_file():
        if not (target / "index").is_dir():
            raise StorageError(f"{target} has no index yet; let its training end first, with pertinent train --resume")
        model, target = model or target / "best", target / "index"
    index = Index.open(target)
    if model is None:
        raise StorageError(
            f"{target} is an index; name the encoder that made its vectors with --model, such as RUN/best"
        )
    encoder = open_encoder(model)
    # The collection may have been looked at in another way than the encoder by itself would.
    encoder.views = Views(**index.store.manifest.get("views", encoder.views.model_dump()))
    if index.store.encoder is not None and encoder.fingerprint() != index.store.encoder:
        raise StorageError(
            f"the encoder in {model} did not make the vectors of {target}; embed again with this encoder"
        )
    return Searcher(encoder, index)


def open_encoder(path: Path) -> Encoder:
    """The encoder in a folder, or the best one of a run; raises StorageError where there is none."""
    return Encoder.load(path / "best" if (path / "recipe.yaml").is_file() else path)
