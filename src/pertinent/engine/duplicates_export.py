"""Duplicates as files: JSON, CSV, the ids to drop, and stores without them."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pertinent.codes import write_codes
from pertinent.engine.duplicates import Duplicates, Place
from pertinent.engine.partial import labels_at
from pertinent.errors import InputError
from pertinent.files import refuse_strangers, write_bytes, write_json, write_text
from pertinent.store import CODES, STORE_FILES, EmbeddingStore

# Facts of a store that are still true without some of its pictures.
_FACTS = ("preprocess", "precision", "views", "cropped")


def write_duplicates_json(found: Duplicates, path: Path) -> None:
    """Write pairs, groups and counts as JSON; see docs/duplicates.md for the fields.

    Raises:
        StorageError: the file cannot be written.
    """
    number = _group_numbers(found)
    write_json(
        path,
        {
            "format": 1,
            "stores": [
                {"name": name, "folder": str(store.folder), "count": len(store)} for name, store in found.stores.items()
            ],
            "encoder": next(iter(found.stores.values())).encoder,
            **({"above": found.above} if found.bits is None else {"bits": found.bits}),
            "overlaps": [vars(overlap) for overlap in found.overlaps],
            "pairs_found": found.n_pairs,
            "groups": [
                {
                    "keep": _named(found.place(group.members[0])),
                    "drop": [_named(found.place(place)) for place in group.dropped],
                    "conflict": group.conflict,
                    "leak": group.leak,
                }
                for group in found.groups
            ],
            "pairs": [
                {
                    "first": _named(found.place(pair.first)),
                    "second": _named(found.place(pair.second)),
                    "score": pair.score,
                    "same_file": pair.same_file,
                    "conflict": pair.conflict,
                    "leak": pair.leak,
                    "group": number[pair.first],
                }
                for pair in found.pairs
            ],
        },
    )


def write_duplicates_csv(found: Duplicates, path: Path) -> None:
    """Write one line a pair, in the order of the list; the last column numbers the groups from 1.

    Raises:
        StorageError: the file cannot be written.
    """
    number = _group_numbers(found)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    sides = [f"{what}_{side}" for side in ("1", "2") for what in ("store", "id", "path", "labels")]
    writer.writerow([*sides, "score", "same_file", "conflict", "leak", "group"])
    for pair in found.pairs:
        places = [found.place(position) for position in (pair.first, pair.second)]
        cells = [cell for place in places for cell in (place.store, place.id, place.where, place.label)]
        same = {True: "yes", False: "no", None: "unknown"}[pair.same_file]
        flags = ["yes" if flag else "no" for flag in (pair.conflict, pair.leak)]
        writer.writerow([*cells, pair.score, same, *flags, number[pair.first] + 1])
    write_bytes(path, text.getvalue().encode("utf-8", errors="surrogateescape"))


def write_drop_list(found: Duplicates, path: Path) -> None:
    """Write the ids to drop, one a line; where there are several stores, each after its store's name and a tab.

    Raises:
        StorageError: the file cannot be written.
    """
    places = [found.place(position) for position in found.dropped.tolist()]
    lines = [place.id if len(found.stores) == 1 else f"{place.store}\t{place.id}" for place in places]
    write_text(path, "".join(f"{line}\n" for line in lines))


def clean_folders(stores: Mapping[str, EmbeddingStore], folder: Path) -> list[Path]:
    """Where `write_clean_stores` writes each store.

    Raises:
        InputError: a store would be written into itself.
        StorageError: a folder holds other files than a store's.
    """
    folders = [folder] if len(stores) == 1 else [folder / Path(name).name for name in stores]
    read = {store.folder.resolve() for store in stores.values()}
    for place in folders:
        if place.resolve() in read or folders.count(place) > 1:
            raise InputError(f"{place} is read here, or would be written twice; choose another folder")
        refuse_strangers(place, (*STORE_FILES, CODES))
    return folders


def write_clean_stores(found: Duplicates, folder: Path) -> list[EmbeddingStore]:
    """Write each store again without the pictures to drop: as the folder where there is one, else as `folder/NAME`.

    Raises:
        InputError: nothing would be left of a store, or one would be written into itself.
        StorageError: a folder cannot be written, or holds other files than a store's.
    """
    folders = clean_folders(found.stores, folder)
    kept = [
        np.delete(np.arange(len(store)), rows)
        for store, rows in zip(found.stores.values(), found.dropped_rows, strict=True)
    ]
    for name, rows in zip(found.stores, kept, strict=True):
        if not len(rows):
            raise InputError(f"every picture of {name} has a copy to keep elsewhere; nothing would be left of it")
    return [
        _write_rows(store, rows.tolist(), place)
        for store, rows, place in zip(found.stores.values(), kept, folders, strict=True)
    ]


def _write_rows(store: EmbeddingStore, rows: Sequence[int], folder: Path) -> EmbeddingStore:
    places, facts = np.array(rows, np.int64), {key: store.manifest[key] for key in _FACTS if key in store.manifest}
    written = EmbeddingStore.write(
        folder,
        store.vectors[places],
        [store.ids[row] for row in rows],
        places=[store.places[row] for row in rows],
        labels=labels_at(store.labels, len(store), places),
        encoder=store.encoder,
        extra={**facts, "without": {"of": os.path.abspath(store.folder), "dropped": len(store) - len(rows)}},
    )
    if "codes" in store.manifest:
        write_codes(written)
    return written


def _named(place: Place) -> dict[str, Any]:
    return {"store": place.store, "id": place.id, "path": place.where, "labels": list(place.words)}


def _group_numbers(found: Duplicates) -> dict[int, int]:
    return {place: number for number, group in enumerate(found.groups) for place in group.members}
