"""Parts of the readers of lists: lines, JSON and CSV of paths and labels, and pictures that come from somewhere."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pertinent.data.datasets._parts import open_pictures
from pertinent.data.images import FolderSource, ZipSource
from pertinent.data.table import ImageTable
from pertinent.errors import DataError

_NUMBER = re.compile(r"-?\d+(\.\d+)?")
SPACES = "a path with spaces can be listed in JSON, {path: label}"


@dataclass(frozen=True)
class Place:
    """What errors call a part of a file."""

    reader: str
    path: Path
    unit: str

    def at(self, number: int) -> str:
        """Name one line or entry, counted from 1."""
        return f"{self.reader}: {self.path} {self.unit} {number}"


@dataclass(frozen=True)
class Listing:
    """Paths as listed, and the name of the class of each, or None for a list without labels."""

    paths: Sequence[str]
    labels: Sequence[str] | None = None


def read_list(path: Path, reader: str, labels: bool | None, origin: str = "", *, boxes: bool = False) -> Listing:
    """Read a list of pictures: lines `path` or `path label`, or JSON `{path: label}`; blank lines are no pictures.

    Args:
        path: the file; JSON when its name ends so.
        reader: named in errors.
        labels: whether there are labels; without, a line is a path whatever it holds. None finds out: labels are there
            when every line has two words.
        origin: where the file comes from, for the error when it is missing.
        boxes: four numbers may follow a label; they are left alone.

    Raises:
        DataError: the file is missing, empty or no UTF-8 text, a line or an entry is wrong, a path is listed twice.
    """
    text = read_text(path, reader, origin)
    is_json = path.suffix.lower() == ".json"
    place = Place(reader, path, "entry" if is_json else "line")
    if is_json:
        entries = _read_json(text, place)
        rows = [(number, name, as_label(label, place.at(number))) for number, (name, label) in enumerate(entries, 1)]
        labelled = labels is not False
    else:
        lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        labelled = _are_labelled(lines, place) if labels is None else labels
        rows = [
            (number, *(_two_words(line, number, place, boxes) if labelled else (line, ""))) for number, line in lines
        ]
    refuse_twice(((number, name) for number, name, _ in rows), place)
    if not rows:
        raise DataError(f"{reader}: {path} lists no pictures")
    return Listing([name for _, name, _ in rows], [label for _, _, label in rows] if labelled else None)


def read_text(path: Path, reader: str, origin: str = "") -> str:
    """Text of a file in UTF-8; raises DataError when it is missing or something else."""
    if not path.is_file():
        raise DataError(f"{reader}: {path} is missing" + (f"; {origin}" if origin else ""))
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{reader}: {path} is not text in UTF-8 ({error}); save it as such") from error


def read_object(path: Path, reader: str, origin: str = "") -> list[tuple[str, Any]]:
    """Entries of a JSON object in their order; raises DataError when it is missing, no JSON or no object."""
    place = Place(reader, path, "entry")
    entries = _read_json(read_text(path, reader, origin), place)
    refuse_twice(enumerate((name for name, _ in entries), 1), place)
    return entries


def read_columns(path: Path, columns: Sequence[str], reader: str, origin: str = "") -> Iterator[tuple[int, list[str]]]:
    """These columns of every row of a CSV file with a header, with the number of its line.

    Raises:
        DataError: the file is missing or no CSV in UTF-8, a column is missing, a row has another number of cells.
    """
    if not path.is_file():
        raise DataError(f"{reader}: {path} is missing" + (f"; {origin}" if origin else ""))
    # Published lists have thousands of pictures in one cell.
    csv.field_size_limit(max(csv.field_size_limit(), 1 << 24))
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(stream)
            header = next(rows, [])
            lacking = [column for column in columns if column not in header]
            if lacking:
                raise DataError(f"{reader}: {path} has no column {', '.join(lacking)}; it has {', '.join(header)}")
            at = [header.index(column) for column in columns]
            for row in filter(None, rows):
                if len(row) != len(header):
                    place = Place(reader, path, "line").at(rows.line_num)
                    raise DataError(f"{place} has {len(row)} cells for {len(header)} columns")
                yield rows.line_num, [row[column] for column in at]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{reader}: {path} is not a comma-separated file in UTF-8 ({error})") from error


def refuse_twice(named: Iterable[tuple[int, str]], place: Place) -> None:
    """Raise DataError for a path that is listed twice; `named` are the paths with the number of their line."""
    first: dict[str, int] = {}
    for number, name in named:
        if name in first:
            raise DataError(f"{place.at(number)} lists {name!r} again, as {place.unit} {first[name]} does; remove one")
        first[name] = number


def first_seen(*lists: Iterable[str] | None) -> list[str]:
    """Class names in the order in which they first appear over several lists: the class numbers of these systems."""
    return list(dict.fromkeys(name for names in lists for name in names or ()))


def listed_table(listing: Listing, source: FolderSource | ZipSource, names: Sequence[str], level: str) -> ImageTable:
    """Make a table of a list: kind `classes` with these class names, or `none`; ids are the listed paths."""
    if listing.labels is None:
        return ImageTable(listing.paths, source)
    number = {name: label for label, name in enumerate(names)}
    labels = np.array([number[name] for name in listing.labels], np.int64)
    return ImageTable(listing.paths, source, "classes", labels, [level], [names])


def find_pictures(
    root: Path, paths: Sequence[str], subfolders: Sequence[str], reader: str, origin: str = ""
) -> FolderSource | ZipSource:
    """Find the listed pictures as `open_pictures` does; the error says the reader and where they come from."""
    source = f"; {origin}" if origin else ""
    if not any((root / folder).is_dir() for folder in subfolders) and not any(root.glob("*.zip")):
        places = " or ".join(repr(folder) for folder in subfolders)
        raise DataError(f"{reader}: {root} has no folder {places} of pictures, nor a zip file of them{source}")
    try:
        return open_pictures(root, paths, subfolders)
    except DataError as error:
        raise DataError(f"{reader}: {error}{source}") from None


def find_folder(root: Path, subfolders: Sequence[str], names: Sequence[str], reader: str, origin: str) -> Path:
    """The first of these subfolders that holds a file or folder of one of these names.

    Raises:
        DataError: there is none; names what was looked for, where, and where it comes from.
    """
    for folder in subfolders:
        if any((root / folder / name).exists() for name in names):
            return root / folder
    places = " or ".join(str(root / folder) for folder in subfolders)
    raise DataError(f"{reader}: {' or '.join(names)} is missing in {places}; {origin}")


def _read_json(text: str, place: Place) -> list[tuple[str, Any]]:
    try:
        # Pairs, since a mapping would silently keep the last of two equal keys.
        content = json.loads(text, object_pairs_hook=tuple)
    except ValueError as error:
        raise DataError(f"{place.reader}: {place.path} is not JSON ({error}); save it as such") from error
    if not isinstance(content, tuple):
        raise DataError(
            f"{place.reader}: {place.path} must hold an object {{path: label}}, got {type(content).__name__}"
        )
    return list(content)


def as_label(label: Any, where: str) -> str:
    """A label of a JSON file as the name of its class; raises DataError for what is neither a name nor a number."""
    if isinstance(label, bool) or not isinstance(label, str | int) or label == "":
        raise DataError(f"{where}: a label is a name or a number, got {label!r}")
    return str(label)


def _are_labelled(lines: Sequence[tuple[int, str]], place: Place) -> bool:
    counts = [len(line.split()) for _, line in lines]
    if set(counts) <= {1}:
        return False
    if set(counts) == {2}:
        return True
    odd = next(row for row, count in enumerate(counts) if count > 2 or count != counts[0])
    number, line = lines[odd]
    raise DataError(
        f"{place.at(number)}: {line!r} has {_count(counts[odd])}; every line needs one, a path, or every line two, "
        f"'path label' ({SPACES}, and labels=false takes every line as a path)"
    )


def _count(words: int) -> str:
    return "1 word" if words == 1 else f"{words} words"


def _two_words(line: str, number: int, place: Place, boxes: bool) -> tuple[str, str]:
    words = line.split()
    is_boxed = boxes and len(words) == 6 and all(_NUMBER.fullmatch(word) for word in words[2:])
    if len(words) != 2 and not is_boxed:
        raise DataError(f"{place.at(number)}: expected 'path label', got {line!r}; {SPACES}")
    if "://" in words[0]:
        raise DataError(
            f"{place.at(number)}: {words[0]} is an address; fetch the pictures and list each by its path, "
            "without those that are gone"
        )
    return words[0], words[1]
