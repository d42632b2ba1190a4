"""iNaturalist 2018 with species that are never seen in training, as Smooth-AP and HAPPIER split it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.data.datasets._lists import find_folder, find_pictures, read_text
from pertinent.data.datasets._parts import root_folder, vocabulary, write_example_picture
from pertinent.data.datasets._unseen import Listed, TrainingClasses, check_tree
from pertinent.data.table import ImageTable
from pertinent.errors import DataError

RANKS = ("species", "genus", "family", "order", "class", "phylum", "kingdom")
EXPECTED: Mapping[str, int] = MappingProxyType({"train": 325_846, "test": 136_093})
"""How many pictures the lists have, by split."""

_LISTS = {split: f"Inaturalist_{split}_set1.txt" for split in ("train", "test")}
_LIST_FOLDER = "Inat_dataset_splits"
_SPECIES_FILES = ("categories.json", "train2018.json")
_LIST_ORIGIN = "the lists come with Smooth-AP, github.com/Andrew-Brown1/Smooth_AP"
_ORIGIN = "it comes from github.com/visipedia/inat_comp, 2018"
_ENTRIES = re.compile(r'"categories"\s*:\s*(?=\[)')


@dataclass(frozen=True)
class Taxonomy:
    """The species of iNaturalist 2018.

    Attributes:
        ids: `S` published numbers, ascending.
        labels: `(S, 7)` class numbers by `RANKS`.
        names: for each rank the names of its classes; one that is under several parents is followed by its parent.
    """

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    names: Sequence[Sequence[str]]


class INaturalist:
    """The splits of iNaturalist 2018, by species.

    Args:
        root: the data set's folder, or the folder around it.
        reader: named in errors.
        full: all seven ranks; otherwise the species and the folder that it lies in.
        holdout: share of the training species for `val`.

    Raises:
        DataError: a file is missing or wrong.
        InputError: the share is not 0 to below 1.
    """

    def __init__(self, root: Path | str | None, reader: str, *, full: bool, holdout: float) -> None:
        self._reader = reader
        around = ("", "Inaturalist", "inaturalist")
        self._folder = find_folder(root_folder(root, reader), around, _SPECIES_FILES, reader, _ORIGIN)
        taxonomy = _read_taxonomy(self._folder, reader)
        lists = find_folder(self._folder, (_LIST_FOLDER, ""), list(_LISTS.values()), reader, _LIST_ORIGIN)
        parts = [_read_list(lists / file, reader) for file in _LISTS.values()]
        paths = [path for part, _, _ in parts for path in part]
        groups = [group for _, part, _ in parts for group in part]
        rows = _rows(np.concatenate([ids for _, _, ids in parts]), taxonomy, reader)
        self._listed = _by_ranks(paths, rows, taxonomy) if full else _by_folders(paths, rows, groups, taxonomy, reader)
        self._is_test = np.repeat([False, True], [len(part) for part, _, _ in parts])
        species = self._listed.labels[:, 0]
        training = np.unique(species[~self._is_test])
        both = np.intersect1d(training, species[self._is_test])
        if both.size:
            raise DataError(f"{reader}: {lists} has {taxonomy.names[0][both[0]]!r} in the lists of train and of test")
        self._training = TrainingClasses({row: taxonomy.names[0][row] for row in training.tolist()}, holdout, reader)
        self.splits: Sequence[str] = (*self._training.splits, "test")

    def published(self, counts: Mapping[str, int]) -> Mapping[str, int]:
        """How many pictures each split here should have, by those of the published ones."""
        return self._training.published(counts)

    def split(self, name: str) -> ImageTable:
        """Read one split; raises DataError when listed pictures are missing."""
        self._training.require(name, self.splits)
        species = self._listed.labels[:, 0]
        rows = np.flatnonzero(self._is_test) if name == "test" else self._training.rows(name, species)
        part = self._listed.part(rows, f"{self._reader}: {name}")
        return part.table(find_pictures(self._folder, part.paths, ("train_val2018", ""), self._reader, _ORIGIN))


def write_example(root: Path) -> None:
    """Write a tiny copy of the layout: 4 training and 2 test species in 2 kingdoms, 2 pictures of each."""
    folder = root / "Inaturalist"
    chains = [
        (3, "Apis mellifera", "Apis", "Apidae", "Hymenoptera", "Insecta", "Arthropoda", "Animalia", "Insecta"),
        (8, "Apis cerana", "Apis", "Apidae", "Hymenoptera", "Insecta", "Arthropoda", "Animalia", "Insecta"),
        (20, "Pica pica", "Pica", "Corvidae", "Passeriformes", "Aves", "Chordata", "Animalia", "Aves"),
        (21, "Corvus corax", "Corvus", "Corvidae", "Passeriformes", "Aves", "Chordata", "Animalia", "Aves"),
        (
            40,
            "Bellis perennis",
            "Bellis",
            "Asteraceae",
            "Asterales",
            "Magnoliopsida",
            "Chlorophyta",
            "Plantae",
            "Plantae",
        ),
        (41, "Pica alba", "Pica", "Asteraceae", "Asterales", "Magnoliopsida", "Chlorophyta", "Plantae", "Plantae"),
    ]
    keys = ("id", "name", *RANKS[1:], "supercategory")
    categories = [dict(zip(keys, chain, strict=True)) for chain in chains]
    (folder / _LIST_FOLDER).mkdir(parents=True)
    (folder / "train2018.json").write_text(json.dumps({"images": [], "categories": categories}), encoding="utf-8")
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for number, chain in enumerate([chain for chain in chains for _ in range(2)]):
        path = f"train_val2018/{chain[-1]}/{chain[0]}/{number:032x}.png"
        write_example_picture(folder / path, number)
        lines["test" if chain[0] in (8, 41) else "train"].append(path)
    for split, file in _LISTS.items():
        (folder / _LIST_FOLDER / file).write_text("".join(f"{line}\n" for line in lines[split]), encoding="utf-8")


def _read_list(path: Path, reader: str) -> tuple[list[str], list[str], NDArray[np.int64]]:
    """Of each picture the last three parts of its path, its folder of species, and the number of its species."""
    words = [line.strip().rsplit("/", 3) for line in read_text(path, reader, _LIST_ORIGIN).splitlines() if line.strip()]
    for number, parts in enumerate(words, 1):
        if len(parts) < 3 or not parts[-2].isdecimal():
            raise DataError(
                f"{reader}: {path} picture {number}: expected 'Group/number/picture', got {'/'.join(parts)!r}"
            )
    if not words:
        raise DataError(f"{reader}: {path} lists no pictures")
    ids = np.array([int(parts[-2]) for parts in words], np.int64)
    return ["/".join(parts[-3:]) for parts in words], [parts[-3] for parts in words], ids


def _rows(ids: NDArray[np.int64], taxonomy: Taxonomy, reader: str) -> NDArray[np.int64]:
    """The place of each number of a species in the taxonomy."""
    rows = np.minimum(np.searchsorted(taxonomy.ids, ids), len(taxonomy.ids) - 1)
    unknown = ids[taxonomy.ids[rows] != ids]
    if unknown.size:
        raise DataError(f"{reader}: the lists name species {unknown[0]}, which {' and '.join(_SPECIES_FILES)} lack")
    return rows.astype(np.int64)


def _by_ranks(paths: Sequence[str], rows: NDArray[np.int64], taxonomy: Taxonomy) -> Listed:
    return Listed(paths, taxonomy.labels[rows], RANKS, taxonomy.names)


def _by_folders(
    paths: Sequence[str], rows: NDArray[np.int64], groups: Sequence[str], taxonomy: Taxonomy, reader: str
) -> Listed:
    names, levels = [taxonomy.names[0], vocabulary(groups)], ("species", "super-category")
    number = {name: label for label, name in enumerate(names[1])}
    above = np.array([number[group] for group in groups], np.int64)
    labels = np.stack([rows, above], axis=1)
    check_tree(labels, names, levels, reader)
    return Listed(paths, labels, levels, names)


def _read_taxonomy(folder: Path, reader: str) -> Taxonomy:
    path = next(folder / file for file in _SPECIES_FILES if (folder / file).is_file())
    entries = sorted(_entries(path, reader), key=lambda entry: int(entry["id"]))
    chains = [[str(entry["name"]), *(str(entry[rank]) for rank in RANKS[1:])] for entry in entries]
    ids = np.array([int(entry["id"]) for entry in entries], np.int64)
    if len(np.unique(ids)) < len(ids):
        raise DataError(f"{reader}: {path} has two species of one number; copy it again")
    labels, names = np.empty((len(ids), len(RANKS)), np.int64), []
    # From the kingdoms down, since a name may stand for two genera in two families: what is above makes the difference.
    for rank in reversed(range(len(RANKS))):
        keys = [tuple(chain[rank:]) for chain in chains]
        if rank == 0:
            keys = [(chain[0], str(number)) for chain, number in zip(chains, ids.tolist(), strict=True)]
        words = _distinct(keys)
        # Species stay in the order of their numbers.
        ordered = keys if rank == 0 else sorted(set(keys), key=lambda key: words[key])
        number = {key: label for label, key in enumerate(ordered)}
        labels[:, rank] = [number[key] for key in keys]
        names.append([words[key] for key in ordered])
    return Taxonomy(ids, labels, names[::-1])


def _distinct(keys: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """A name for each key: its first word, and as many of the next as it takes to tell it from others."""
    words = {key: key[0] for key in keys}
    for depth in range(1, max(map(len, keys))):
        count: dict[str, int] = {}
        for word in words.values():
            count[word] = count.get(word, 0) + 1
        if len(count) == len(words):
            break
        words = {key: word if count[word] == 1 else f"{word} ({key[depth]})" for key, word in words.items()}
    return words


def _entries(path: Path, reader: str) -> list[dict[str, Any]]:
    """The species as published; of the large file only that part is parsed, the rest lists pictures."""
    text = read_text(path, reader, _ORIGIN)
    found = _ENTRIES.search(text)
    try:
        entries, _ = json.JSONDecoder().raw_decode(text, found.end() if found else len(text) - len(text.lstrip()))
    except ValueError as error:
        raise DataError(f"{reader}: {path} is not JSON ({error}); copy it again, {_ORIGIN}") from error
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{reader}: {path} has no list of categories; {_ORIGIN}")
    for entry in entries:
        lacking = [key for key in ("id", "name", *RANKS[1:]) if not isinstance(entry, dict) or key not in entry]
        if lacking:
            raise DataError(f"{reader}: {path} has a species without {', '.join(lacking)}; {_ORIGIN}")
        if not isinstance(entry["id"], int):
            raise DataError(f"{reader}: {path} has a species whose id is {entry['id']!r}, no number; {_ORIGIN}")
    return entries
