"""`EmbeddingStore`: embeddings on disk, memory-mapped, with ids, labels and where they came from.

A store is a folder: `vectors.npy` (N, D) float32, `items.json` (ids, places), `labels.npy` and `labels.json`, and
`manifest.json`, which is written last and names the encoder and a checksum of every file. Packed signs of the vectors
may lie beside them in `codes.npy`, see `pertinent.codes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pertinent.data.table import ImageTable, Judgement, LabelKind
from pertinent.errors import InputError, StorageError
from pertinent.files import new_folder, read_json, read_versioned, sha256_file, write_json

FORMAT = 1
# Vectors at a time, to keep memory small.
BLOCK = 65536
_FILES = ("vectors.npy", "items.json", "labels.npy", "labels.json")
CODES = "codes.npy"
STORE_FILES = (*_FILES, "manifest.json")


@dataclass(frozen=True)
class StoreLabels:
    """Labels of the stored items, as in an ImageTable."""

    kind: LabelKind = "none"
    values: NDArray[Any] | None = None
    level_names: Sequence[str] = ()
    class_names: Sequence[Sequence[str]] = ()
    judgements: Sequence[Judgement] = ()
    probes: int = 0

    @classmethod
    def of(cls, table: ImageTable) -> StoreLabels:
        """The labels of a table."""
        return cls(table.kind, table.labels, table.level_names, table.class_names, table.judgements, table.probes)

    @property
    def protocols(self) -> tuple[str, ...]:
        """Protocols that judged labels allow."""
        return ("classic",) if any(judgement.ok for judgement in self.judgements) else ("easy", "medium", "hard")

    @property
    def between(self) -> str:
        """What stands between the words of an item where they are one text: levels go from fine to coarse."""
        return ", " if self.kind == "tags" else " < "

    def words(self, index: int) -> list[str]:
        """Names of item `index`'s labels: one a level, fine first, or one a tag."""
        if self.values is None or self.kind in ("none", "judged"):
            return []
        if self.kind == "tags":
            return [self.class_names[0][tag] for tag in np.flatnonzero(self.values[index]).tolist()]
        row = np.atleast_1d(self.values[index]).tolist()
        return [self.class_names[level][label] if label >= 0 else "" for level, label in enumerate(row)]


class EmbeddingStore:
    """Embeddings of a collection, opened in place; only the manifest is read until something is asked for."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest

    @classmethod
    def open(cls, folder: Path | str) -> EmbeddingStore:
        """Open a finished store.

        Raises:
            StorageError: missing, unfinished, of another format, or a file whose size is not the one written.
        """
        folder = Path(folder)
        if not (folder / "manifest.json").is_file():
            raise StorageError(
                f"{folder} is no finished embedding store (manifest.json is missing); embed into it first"
            )
        manifest = read_versioned(folder / "manifest.json", "store", FORMAT)
        try:
            written = {name: int(manifest["files"][name]["bytes"]) for name in _FILES}
            if "codes" in manifest:
                written[CODES] = int(manifest["codes"]["bytes"])
            store = cls(folder, {**manifest, "count": int(manifest["count"]), "dim": int(manifest["dim"])})
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"{folder / 'manifest.json'} is damaged ({error!r}); embed again") from error
        for name, size in written.items():
            found = (folder / name).stat().st_size if (folder / name).is_file() else 0
            if found != size:
                raise StorageError(
                    f"{folder / name} is damaged: {size} bytes were written, {found} are there; embed again"
                )
        return store

    @classmethod
    def write(
        cls,
        folder: Path | str,
        vectors: NDArray[np.float32],
        ids: Sequence[str],
        *,
        places: Sequence[str] | None = None,
        labels: StoreLabels | None = None,
        encoder: str | None = None,
        extra: dict[str, Any] | None = None,
    ) -> EmbeddingStore:
        """Write a store in one step.

        Args:
            folder: where; an older store there is replaced when the new one is complete.
            vectors: `(N, D)`, stored as float32.
            ids: N unique names.
            places: N paths or descriptions, `ids` when None.
            labels: labels of the items.
            encoder: fingerprint of the encoder that made the vectors.
            extra: further facts for the manifest (JSON values).

        Raises:
            InputError: counts differ, ids repeat, or a vector is not finite.
            StorageError: the folder cannot be written.
        """
        ids, labels = list(ids), labels or StoreLabels()
        _check(vectors, ids, labels)
        unit = _check_vectors(vectors, ids)
        with new_folder(Path(folder), own=(CODES,)) as temporary:
            np.save(temporary / "vectors.npy", np.ascontiguousarray(vectors, dtype=np.float32))
            write_json(temporary / "items.json", {"ids": ids, "places": list(places) if places is not None else ids})
            np.save(temporary / "labels.npy", labels.values if labels.values is not None else np.zeros(0, np.int64))
            write_json(temporary / "labels.json", _labels_json(labels))
            manifest = {
                "format": FORMAT,
                "count": len(ids),
                "dim": int(vectors.shape[1]),
                "unit": unit,
                "encoder": encoder,
                "files": {name: stamp(temporary / name) for name in _FILES},
                **(extra or {}),
            }
            write_json(temporary / "manifest.json", manifest)
        return cls(Path(folder), manifest)

    def __len__(self) -> int:
        return int(self.manifest["count"])

    @property
    def dim(self) -> int:
        """Length D of the vectors."""
        return int(self.manifest["dim"])

    @property
    def encoder(self) -> str | None:
        """Fingerprint of the encoder that made the vectors."""
        return self.manifest.get("encoder")

    @property
    def unit(self) -> bool:
        """Whether every vector is known to have length 1, so that dot products are cosines."""
        return bool(self.manifest.get("unit", False))

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """`(N, D)` float32, memory-mapped, read-only."""
        array = _read_array(self.folder / "vectors.npy", mmap_mode="r")
        if array.shape != (len(self), self.dim) or array.dtype != np.float32:
            raise StorageError(f"{self.folder / 'vectors.npy'} is damaged: it holds {array.dtype} {array.shape}")
        return array

    @property
    def items(self) -> NDArray[np.float32]:
        """Vectors of the items that a search may find: all but the last `labels.probes`, which are queries only."""
        return self.vectors[: len(self) - self.labels.probes] if self.labels.probes else self.vectors

    @cached_property
    def codes(self) -> NDArray[np.uint8]:
        """`(N, ceil(D / 8))` uint8, packed signs of the vectors, memory-mapped, read-only; see `pertinent.codes`."""
        if "codes" not in self.manifest:
            raise StorageError(f"{self.folder} holds no codes; write them with: pertinent codes {self.folder}")
        array = _read_array(self.folder / CODES, mmap_mode="r")
        if array.shape != (len(self), -(-self.dim // 8)) or array.dtype != np.uint8:
            raise StorageError(f"{self.folder / CODES} is damaged: it holds {array.dtype} {array.shape}")
        return array

    @cached_property
    def _items(self) -> dict[str, list[str]]:
        items: dict[str, list[str]] = read_json(self.folder / "items.json")
        if not all(len(items.get(key, ())) == len(self) for key in ("ids", "places")):
            raise StorageError(f"{self.folder / 'items.json'} is damaged: expected {len(self)} ids; embed again")
        return items

    @property
    def ids(self) -> list[str]:
        """N unique names."""
        return self._items["ids"]

    @property
    def places(self) -> list[str]:
        """N paths or descriptions for people."""
        return self._items["places"]

    @cached_property
    def labels(self) -> StoreLabels:
        """Labels of the items."""
        fields = read_json(self.folder / "labels.json")
        values = _read_array(self.folder / "labels.npy")
        try:
            fields["judgements"] = [Judgement(**_tuples(item)) for item in fields["judgements"]]
            return StoreLabels(values=values if fields["kind"] not in ("none", "judged") else None, **fields)
        except (KeyError, TypeError) as error:
            raise StorageError(f"{self.folder / 'labels.json'} is damaged ({error!r}); embed again") from error

    def verify(self) -> None:
        """Compare every file with its checksum; raises StorageError naming the damaged one."""
        written = {name: self.manifest["files"][name] for name in _FILES}
        if "codes" in self.manifest:
            written[CODES] = self.manifest["codes"]
        for name, facts in written.items():
            if sha256_file(self.folder / name) != facts["sha256"]:
                raise StorageError(f"{self.folder / name} is damaged: its checksum is not the one written; embed again")


def _check(vectors: NDArray[Any], ids: list[str], labels: StoreLabels) -> None:
    if vectors.ndim != 2 or len(vectors) != len(ids):
        raise InputError(f"expected one vector an id, (N, D); got shape {vectors.shape} for {len(ids)} ids")
    if len(set(ids)) != len(ids):
        raise InputError("ids of a store must be unique")
    if labels.kind in ("classes", "tree", "tags") and (labels.values is None or len(labels.values) != len(ids)):
        raise InputError(f"labels of kind {labels.kind} need one row for each of the {len(ids)} ids")


def _check_vectors(vectors: NDArray[Any], ids: list[str]) -> bool:
    """Refuse vectors that are not finite; tell whether all have length 1, as far as float32 can."""
    unit = True
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK]
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            raise InputError(f"the vector of {ids[start + int(np.argmin(finite))]!r} is not finite")
        lengths = np.sqrt(np.einsum("nd,nd->n", block, block, dtype=np.float64))
        unit = unit and bool((np.abs(lengths - 1) < 1e-6).all())
    return unit


def _labels_json(labels: StoreLabels) -> dict[str, Any]:
    return {
        "kind": labels.kind,
        "level_names": list(labels.level_names),
        "class_names": [list(names) for names in labels.class_names],
        "judgements": [asdict(judgement) for judgement in labels.judgements],
        **({"probes": labels.probes} if labels.probes else {}),
    }


def _tuples(item: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in item.items()}


def _read_array(path: Path, mmap_mode: Literal["r"] | None = None) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode=mmap_mode)
    except (OSError, ValueError, EOFError) as error:
        raise StorageError(f"{path} is damaged ({error}); embed again") from error
    return array


def stamp(path: Path) -> dict[str, Any]:
    """What a manifest says of a file: its size and its checksum."""
    return {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
