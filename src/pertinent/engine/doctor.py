"""`diagnose`: what a data set on disk lacks or has damaged, and what to do about it."""

from __future__ import annotations

import dataclasses
import os
import shlex
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from pertinent.config import check_value
from pertinent.data.audit import CANNOT_READ, audit, is_damage
from pertinent.data.datasets import DATASETS
from pertinent.data.datasets._parts import incomplete
from pertinent.data.images import FolderSource, ZipSource
from pertinent.data.ledger import Ledger
from pertinent.data.progress import Listener, Progress, silent
from pertinent.data.sources import is_done, sources
from pertinent.data.table import Dataset, ImageSource, ImageTable
from pertinent.errors import ConfigError, ImageError, PertinentError, StorageError

NAMED = 10


@dataclass
class Diagnosis:
    """What was found.

    Attributes:
        name: the data set.
        splits: how many pictures each split lists that could be read.
        problems: what is wrong, one sentence each; of many missing or empty pictures the first are named.
        pictures: every picture that cannot be used, by its place: `missing`, `empty`, or why it cannot be decoded.
        notes: what is doubtful about labels and pictures, as `audit` says it; it does not make the data set unhealthy.
        damaged: how many pictures could not be decoded.
        advice: one sentence of what to do.
    """

    name: str
    splits: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    pictures: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    damaged: int = 0
    advice: str = ""

    @property
    def healthy(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def add(self, *problems: str) -> None:
        """Note problems; one that is known already is not said again."""
        self.problems = list(dict.fromkeys([*self.problems, *problems]))

    def to_json(self) -> dict[str, Any]:
        """All of it, every picture by name, in values of JSON."""
        return {
            "data_set": self.name,
            "healthy": self.healthy,
            "splits": self.splits,
            "problems": self.problems,
            "pictures": [{"place": place, "fault": fault} for place, fault in sorted(self.pictures.items())],
            "notes": self.notes,
            "advice": self.advice,
        }


def diagnose(
    name: str,
    root: Path | str,
    options: Mapping[str, Any] | None = None,
    *,
    pictures: bool = False,
    listener: Listener = silent,
) -> Diagnosis:
    """Open every split of a data set and check its pictures, its counts and its downloads; changes nothing.

    Looked for, all in one round, are listed pictures that are missing or empty, counts that are not the published ones
    (the reader's `expected`), downloads that were broken off, archives that are not unpacked, and downloaded files that
    have changed.

    Args:
        name: of the reader.
        root: the data set's folder.
        options: of the reader.
        pictures: also decode every picture.
        listener: hears `checksum` events (files) and `decode` events (pictures) with `name`, `done`, `total`, `rate`
            and `eta`.

    Raises:
        UnknownNameError: no such reader.
        ConfigError: options that it does not take, or needs.
    """
    options = dict(options or {})
    _check_options(name, options)
    found, root = Diagnosis(name), Path(root)
    tables = look(name, root, options, found)
    if pictures:
        _decode(tables, found, listener)
    else:
        found.notes += audit(tables, check_pictures=False, galleries=galleries_of(name))
    _check_downloads(name, root, found, listener)
    found.advice = _advice(found, root, pictures)
    return found


def look(name: str, root: Path, options: dict[str, Any], found: Diagnosis) -> dict[str, ImageTable]:
    """Read every split and see whether its pictures are there, none of them empty and as many as were published.

    Args:
        name: of the reader.
        root: the data set's folder.
        options: of the reader.
        found: gets the problems, the pictures that are missing or empty, and the sizes of the splits.

    Returns:
        The splits that could be read, also those of which pictures are missing.
    """
    tables = _read_splits(name, root, options, found)
    found.splits = {split: len(table) for split, table in tables.items()}
    bad = {split: dict(_bad_files(table.source)) for split, table in tables.items()}
    for files in bad.values():
        found.pictures |= files
    for fault in ("missing", "empty"):
        names = [place for place, what in found.pictures.items() if what == fault]
        counts = {split: list(files.values()).count(fault) for split, files in bad.items()}
        where = ", ".join(f"{split} {n:,} of {len(tables[split]):,}" for split, n in counts.items() if n)
        if names:
            count = "1 picture is" if len(names) == 1 else f"{len(names):,} pictures are"
            found.add(f"{count} {fault} ({where}): {_shorten(names)}")
    return tables


def galleries_of(name: str) -> Mapping[str, str]:
    """The split in which the pictures of a split search, where that is another, as a data set's reader says."""
    galleries: Mapping[str, str] = getattr(DATASETS.get(name), "galleries", {})
    return galleries


def _check_options(name: str, options: dict[str, Any]) -> None:
    known, hints = DATASETS.options(name), DATASETS.types(name)
    problems = DATASETS.check_options(name, options, name)
    problems += [
        f"{name}.{key}: {wrong}"
        for key, value in options.items()
        if key in known and (wrong := check_value(hints.get(key, Any), value))
    ]
    problems += [
        f"{name}.{key}: is required"
        for key, parameter in known.items()
        if parameter.default is parameter.empty and key != "root" and key not in options
    ]
    if problems:
        raise ConfigError(problems, source=f"data set {name}")


def _read_splits(name: str, root: Path, options: dict[str, Any], found: Diagnosis) -> dict[str, ImageTable]:
    tables: dict[str, ImageTable] = {}
    unread: dict[str, list[str]] = {}
    try:
        dataset: Dataset = DATASETS.get(name)(root=root, **options)
        for split in dataset.splits:
            try:
                with incomplete():
                    tables[split] = dataset.split(split)
            except PertinentError as error:
                unread.setdefault(str(error), []).append(split)
    except PertinentError as error:
        found.add(str(error))
        return tables
    found.add(*(f"{', '.join(splits)}: {text}" for text, splits in unread.items()))
    if not options and name in sources() and (absent := set(sources()[name].splits) - set(dataset.splits)):
        found.notes.append(f"of the published splits there is no {', '.join(sorted(absent))}")
    found.notes += getattr(dataset, "notes", ())
    expected: Mapping[str, int] = getattr(dataset, "expected", {})
    found.add(
        *(
            f"{split}: {len(tables[split]):,} pictures, where {count:,} were published"
            for split, count in expected.items()
            if split in tables and len(tables[split]) != count
        )
    )
    return tables


def _bad_files(pictures: ImageSource) -> Iterator[tuple[str, str]]:
    """Each picture of which nothing can be read, and whether it is missing or empty."""
    if isinstance(pictures, FolderSource):
        for index in range(len(pictures)):
            where = pictures.where(index)
            try:
                if os.stat(where).st_size == 0:
                    yield where, "empty"
            except OSError:
                yield where, "missing"
    elif isinstance(pictures, ZipSource):
        with zipfile.ZipFile(pictures.archive) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
        for index, member in enumerate(pictures.members):
            if not sizes.get(member):
                yield pictures.where(index), "empty" if member in sizes else "missing"


class _Watched:
    """Pictures that count how many were read, and keep what could not be decoded."""

    def __init__(self, source: ImageSource, progress: Progress, damaged: dict[str, str]) -> None:
        self.source, self.progress, self.damaged = source, progress, damaged

    def read(self, index: int) -> Image.Image:
        try:
            return self.source.read(index)
        except ImageError as error:
            self.damaged[error.where] = str(error)
            raise
        finally:
            self.progress.add(1)

    def where(self, index: int) -> str:
        return self.source.where(index)

    def __len__(self) -> int:
        return len(self.source)


def _decode(tables: Mapping[str, ImageTable], found: Diagnosis, listener: Listener) -> None:
    progress = Progress("decode", found.name, sum(map(len, tables.values())), listener)
    damaged: dict[str, str] = {}
    watched = {
        split: dataclasses.replace(table, source=_Watched(table.source, progress, damaged))
        for split, table in tables.items()
    }
    said = audit(watched, check_pictures=True, galleries=galleries_of(found.name))
    found.notes += [text for text in said if not is_damage(text)]
    # What is missing or empty cannot be decoded either, and is told already.
    wrong = {place: text for place, text in sorted(damaged.items()) if place not in found.pictures}
    found.pictures |= {place: text.removeprefix(f"{place}: ") for place, text in wrong.items()}
    # A box outside of its picture is found by the table, not by the source of pictures.
    told = set(damaged.values())
    boxes = [text for text in said if is_damage(text) and text.partition(f": {CANNOT_READ} ")[2] not in told]
    found.damaged = len(wrong)
    found.add(*wrong.values(), *boxes)


def _check_downloads(name: str, root: Path, found: Diagnosis, listener: Listener) -> None:
    published, whole = sources().get(name), found.healthy
    folders = {root} if published is None else published.folders(root)
    for folder in sorted(folders):
        found.add(*(f"{path} is a download that was broken off" for path in sorted(folder.glob(".*.part"))))
    for path in published.half_unpacked(root) if published else ():
        found.add(f"{path} is what an interrupted unpacking left")
    for file in published.each() if published else ():
        if file.unpack is not None and (root / file.name).is_file() and not is_done(file, root):
            text = f"{root / file.name} is downloaded but not unpacked"
            # Somebody may have unpacked it by other means.
            found.notes.append(text) if whole else found.add(text)
    for folder in sorted(folders):
        try:
            found.add(*Ledger(folder).faults(listener))
        except StorageError as error:
            found.add(str(error))


def _advice(found: Diagnosis, root: Path, pictures: bool) -> str:
    published = sources().get(found.name)
    if found.healthy:
        return f"{found.name} is healthy" + ("." if pictures else "; --pictures would also decode every picture.")
    if published is not None and published.files:
        first = f"Delete what is damaged ({found.damaged}), then run" if found.damaged else "Run"
        return (
            f"{first} `pertinent datasets download {found.name} {shlex.quote(str(root))}`, which brings what is "
            f"missing and goes on where it was interrupted; see also {published.page}."
        )
    if published is not None:
        return f"Bring what is missing by hand, see {published.page}: {published.by_hand}."
    return "Add or replace the files that are named, or take them off the lists; then run the same command again."


def _shorten(names: list[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")
