"""Embeddings in the file formats of other tools: `.npy` as dirtorch writes it, and kapture's global features."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pertinent.errors import InputError
from pertinent.files import new_file, write_bytes, write_text
from pertinent.store import EmbeddingStore

KAPTURE = "1.1"
FEATS = ("feats.bdescs.npy", "feats.qdescs.npy")


def write_npy(store: EmbeddingStore, path: Path) -> list[Path]:
    """Write the vectors as `(N, D)` float32, and beside them the ids, one a line.

    Where the last pictures are queries only, there are two files, `NAME.dbdescs.npy` and `NAME.qdescs.npy`.

    Args:
        store: what was embedded.
        path: `NAME.npy`.

    Returns:
        the `.npy` files.

    Raises:
        InputError: the path does not end in `.npy`.
        StorageError: a file cannot be written.
    """
    if path.suffix != ".npy":
        raise InputError(f"embeddings are written to a file NAME.npy, got {path}")
    items = len(store) - store.labels.probes
    parts = {path: slice(0, items)}
    if items < len(store):
        parts = {path.with_suffix(".dbdescs.npy"): slice(0, items), path.with_suffix(".qdescs.npy"): slice(items, None)}
    _write_parts(store, parts)
    return list(parts)


def write_feats(store: EmbeddingStore, folder: Path) -> None:
    """Write the vectors as `test_dir --save-feats` of dirtorch does: items in `feats.bdescs.npy`, and pictures that are
    queries only in `feats.qdescs.npy`; the ids lie beside them, one a line.

    Raises:
        StorageError: a file cannot be written.
    """
    items = len(store) - store.labels.probes
    parts = {folder / FEATS[0]: slice(0, items)}
    if items < len(store):
        parts[folder / FEATS[1]] = slice(items, None)
    _write_parts(store, parts)


def _write_parts(store: EmbeddingStore, parts: Mapping[Path, slice]) -> None:
    for file, rows in parts.items():
        with new_file(file) as stream:
            np.save(stream, store.vectors[rows])
        write_text(file.with_suffix(".ids.txt"), "".join(f"{name}\n" for name in store.ids[rows]))


def write_kapture(store: EmbeddingStore, root: Path, name: str) -> Path:
    """Write the vectors as global features of a kapture: one `.gfeat` a picture, and `global_features.txt`.

    Source: the kapture format 1.1; the layout that kapture and hloc read.

    Args:
        store: what was embedded; its ids are paths of pictures as the kapture lists them.
        root: the kapture's folder.
        name: of the features, such as `Resnet101-AP-GeM-LM18`.

    Returns:
        the folder of the features.

    Raises:
        InputError: a name or an id that leads out of the folder.
        StorageError: a file cannot be written.
    """
    if not name or "/" in name or name.startswith("."):
        raise InputError(f"global features need a plain name, got {name!r}")
    folder = root / "reconstruction" / "global_features" / name
    for item in store.ids:
        if Path(item).is_absolute() or ".." in Path(item).parts:
            raise InputError(f"picture {item!r} leads out of {folder}; embed the kapture itself: kapture:all")
    for item, vector in zip(store.ids, store.vectors, strict=True):
        file = folder / f"{item}.gfeat"
        write_bytes(file, np.ascontiguousarray(vector, "<f4").tobytes())
    lines = [f"# kapture format: {KAPTURE}", "# name, dtype, dsize, metric_type", f"{name}, float32, {store.dim}, L2"]
    write_text(folder / "global_features.txt", "\n".join(lines) + "\n")
    return folder
