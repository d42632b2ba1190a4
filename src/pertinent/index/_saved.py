"""The folder of an index: what `Index.save` writes and `Index.open` reads and checks.

`index.json` names everything else with its size, its checksum and a checksum of spots in it. The size and the spots are
compared when the index is opened, which takes milliseconds; the whole is, by `verify`.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError, StorageError
from pertinent.files import read_versioned, sha256_file, write_json
from pertinent.functional.neighbours import blocks
from pertinent.index import INDEXES
from pertinent.index._base import Base, comparable
from pertinent.index._changes import Change, Delete, Put, decode
from pertinent.index._journal import JOURNAL, LOCK, frame, records, seal
from pertinent.index._metadata import Columns
from pertinent.index._view import View
from pertinent.pipeline import Pipeline
from pertinent.store import STORE_FILES, EmbeddingStore, stamp

FORMAT = 2
VECTORS, PIPELINE, STRUCTURE, NAMES, NUMBERS = "vectors.npy", "pipeline", "structure", "names", "numbers.npy"
METADATA, CHANGES, STORE = "metadata", "changes", "store"
OWN = (VECTORS, PIPELINE, STRUCTURE, NAMES, NUMBERS, METADATA, CHANGES, STORE)
SPOTS, SPOT_BYTES = 64, 4096
# So many added items share a record when a whole index is written.
RECORD = 1024


def write(folder: Path, home: Path, view: View, measured: dict[str, Any] | None) -> None:
    """Write an index into a folder.

    Args:
        folder: empty, or with its own store in it.
        home: where it will lie.
        view: what to write.
        measured: facts about its search.
    """
    base = view.base
    if base.pipeline.stages:
        base.pipeline.save(folder / PIPELINE)
    if not np.may_share_memory(base.items, base.store.vectors):
        np.save(folder / VECTORS, base.items)
    if hasattr(base.structure, "save"):
        (folder / STRUCTURE).mkdir()
        base.structure.save(folder / STRUCTURE)
    (folder / NAMES).mkdir()
    base.ids.save(folder / NAMES, "ids")
    base.places.save(folder / NAMES, "places")
    if base.metadata.values:
        (folder / METADATA).mkdir()
        base.metadata.save(folder / METADATA)
    if base.numbers is not None:
        np.save(folder / NUMBERS, base.numbers)
    if base.owned and not (folder / STORE).exists():
        _copy_store(base.store, folder / STORE)
    _write_changes(folder / CHANGES, view)
    sealed = [VECTORS, NUMBERS, f"{STRUCTURE}/*", f"{NAMES}/*", f"{METADATA}/*"]
    paths = sorted(path for pattern in sealed for path in folder.glob(pattern))
    store = folder / STORE if base.owned else base.store.folder.resolve()
    write_facts(
        folder,
        {
            "format": FORMAT,
            "build": secrets.token_hex(8),
            "kind": base.kind,
            "options": base.options,
            "state": base.structure.state(),
            "files": {path.relative_to(folder).as_posix(): _seal(path) for path in paths},
            "store": STORE if base.owned else os.path.relpath(store, home.resolve()),
            "encoder": base.store.encoder,
            "vectors": base.store.manifest["files"]["vectors.npy"]["sha256"],
            "items": base.store.manifest["files"]["items.json"]["sha256"],
            "spots": _spots(store / "vectors.npy"),
            "pipeline": base.pipeline.fingerprint if base.pipeline.stages else None,
            "first": base.first,
            "measured": measured,
        },
    )


@dataclass(frozen=True)
class Read:
    """What was read from a folder.

    Attributes:
        view: what is there.
        facts: what `index.json` says.
        length: bytes of the journal that are whole.
        last: the last change in it.
    """

    view: View
    facts: dict[str, Any]
    length: int
    last: Change | None


def write_facts(folder: Path, facts: dict[str, Any]) -> None:
    """Write `index.json`, with a checksum of itself."""
    write_json(folder / "index.json", {**facts, "checksum": _checksum(facts)})


def is_index(folder: Path) -> bool:
    """Whether a folder holds an index, damaged or not."""
    return (folder / "index.json").is_file()


def read_facts(folder: Path) -> dict[str, Any]:
    """What `index.json` says; raises StorageError where it is missing or damaged."""
    path = folder / "index.json"
    if not is_index(folder):
        raise StorageError(f"{folder} holds no index (index.json is missing); build one with: pertinent index STORE")
    facts = read_versioned(path, "index", FORMAT)
    if facts.pop("checksum", None) != _checksum(facts):
        raise _damaged(path)
    return facts


def _checksum(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def read_index(folder: Path) -> Read:
    """Open what `write` wrote.

    Raises:
        StorageError: missing or damaged, or the store beside it is gone or is another one.
    """
    facts = read_facts(folder)
    files, kind = facts.get("files", {}), facts["kind"]
    store = _open_store(folder, facts)
    pipeline = Pipeline.load(folder / PIPELINE) if facts.get("pipeline") else Pipeline()
    if pipeline.stages and pipeline.fingerprint != facts["pipeline"]:
        raise StorageError(f"{folder} was built with other stages than lie in it; build it again")
    if pipeline.changes_items or VECTORS in files:
        items = _read_items(folder / VECTORS, len(store.items))
    else:
        items = comparable(store, kind, pipeline)
    for name, written in files.items():
        _check_seal(folder / name, written)
    base = Base(
        store,
        kind,
        _open_structure(folder, facts, items),
        pipeline,
        items,
        Columns.open(folder / METADATA, len(store))
        if any(name.startswith(METADATA) for name in files)
        else Columns.none(len(store)),
        facts.get("first", len(store)),
        facts.get("options", facts["state"]),
        np.load(folder / NUMBERS) if NUMBERS in files else None,
        folder / NAMES if any(name.startswith(NAMES) for name in files) else None,
        facts["store"] == STORE,
    )
    return _read_changes(folder / CHANGES / JOURNAL, facts, View.of(base))


def verify_index(folder: Path) -> None:
    """Compare everything with its checksums; raises StorageError naming what is damaged."""
    read = read_index(folder)
    for name, written in read.facts.get("files", {}).items():
        if sha256_file(folder / name) != written["sha256"]:
            raise _damaged(folder / name)
    read.view.base.store.verify()


def _open_store(folder: Path, facts: dict[str, Any]) -> EmbeddingStore:
    store = EmbeddingStore.open((folder / facts["store"]).resolve())
    for what, name in (("vectors", "vectors.npy"), ("items", "items.json")):
        if what in facts and store.manifest["files"][name]["sha256"] != facts[what]:
            raise StorageError(f"{folder} was built on other {what} than {store.folder} holds now; build it again")
    if "spots" in facts and _spots(store.folder / "vectors.npy") != facts["spots"]:
        raise StorageError(f"{store.folder / 'vectors.npy'} is damaged: it is not what was indexed; embed again")
    return store


def _open_structure(folder: Path, saved: dict[str, Any], items: NDArray[np.float32]) -> Any:
    kind, state = saved["kind"], saved["state"]
    opener = getattr(INDEXES.get(kind), "open", None)
    if opener is None:
        return INDEXES.build(kind, vectors=items, **state)
    try:
        return opener(folder / STRUCTURE, items, **state)
    except (TypeError, InputError) as error:
        raise StorageError(f"{folder / 'index.json'} is damaged ({error}); build it again") from error


def _write_changes(folder: Path, view: View) -> None:
    folder.mkdir()
    (folder / LOCK).touch()
    added = view.added
    with (folder / JOURNAL).open("wb") as file:
        for rows in blocks(view.count, RECORD):
            put = Put(added.ids[rows], view.given[rows], added.places[rows], added.words[rows], added.metadata[rows])
            file.write(frame(put.encode()))
        gone = np.flatnonzero(~view.alive)
        built = len(view.base.items)
        gone = gone[(gone < built) | (gone >= len(view.base))]
        if len(gone):
            file.write(frame(Delete(gone.tolist()).encode()))
    seal(folder, (folder / JOURNAL).stat().st_size)


def _read_changes(path: Path, facts: dict[str, Any], view: View) -> Read:
    length, change = 0, None
    try:
        for end, payload in records(path):
            change, length = decode(payload, view.base.store.dim), end
            if isinstance(change, Put):
                view = view.put(change, view.base.prepared(change.vectors))
            else:
                view = view.without(change.rows)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise StorageError(f"{path} is damaged ({error!r}); bring it back from a copy") from error
    return Read(view, facts, length, change)


def _copy_store(store: EmbeddingStore, folder: Path) -> None:
    folder.mkdir()
    for name in STORE_FILES:
        # The files of a store never change, so two folders may share them.
        try:
            os.link(store.folder / name, folder / name)
        except OSError:
            shutil.copyfile(store.folder / name, folder / name)


def _read_items(path: Path, count: int) -> NDArray[np.float32]:
    try:
        items: NDArray[np.float32] = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise StorageError(f"{path} is damaged ({error}); build the index again") from error
    if items.ndim != 2 or len(items) != count or items.dtype != np.float32:
        raise StorageError(f"{path} is damaged: it holds {items.dtype} {items.shape}; build the index again")
    return items


def _seal(path: Path) -> dict[str, Any]:
    return {**stamp(path), "spots": _spots(path)}


def _check_seal(path: Path, facts: dict[str, Any]) -> None:
    found = path.stat().st_size if path.is_file() else 0
    if found != facts["bytes"]:
        raise StorageError(f"{path} is damaged: {facts['bytes']} bytes were written, {found} are there; build again")
    if _spots(path) != facts["spots"]:
        raise _damaged(path)


def _damaged(path: Path) -> StorageError:
    return StorageError(f"{path} is damaged: its checksum is not the one written; build the index again")


def _spots(path: Path) -> int:
    """Checksum of pages spread over a file; of all of it where it is small."""
    check = 0
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        last = max(0, size - SPOT_BYTES)
        count = min(SPOTS, -(-size // SPOT_BYTES))
        for place in np.linspace(0, last, count, dtype=np.int64).tolist():
            file.seek(place)
            check = zlib.crc32(file.read(SPOT_BYTES), check)
    return check
