"""Parts of the readers of tagged pictures: lists of zeros and ones, tags by name, and how pictures are dealt."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pertinent.data.datasets._lists import Place, read_text, refuse_twice
from pertinent.data.datasets._parts import require_split
from pertinent.data.table import ImageSource, ImageTable
from pertinent.errors import DataError, InputError

HELD_OUT = "held_out"

_FLAGS = (" 0", " 1", "\t0", "\t1")
_SHOWN = 80

Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Tagged:
    """Names of `N` pictures and which of `C` tags each has, `(N, C)` bool."""

    names: Sequence[str]
    flags: Flags

    def take(self, rows: Rows) -> Tagged:
        """Only these pictures, in this order."""
        return Tagged([self.names[row] for row in rows.tolist()], self.flags[rows])

    def table(self, source: ImageSource, tags: Sequence[str]) -> ImageTable:
        """The table of these pictures; the names are its ids."""
        return ImageTable(self.names, source, "tags", self.flags, ["tag"], [tags])


def named_flags(rows: Sequence[Collection[str]], tags: Sequence[str]) -> Flags:
    """Which of `C` tags each of `N` pictures has, `(N, C)` bool; raises KeyError for a tag that is not one of them."""
    column = {tag: number for number, tag in enumerate(tags)}
    flags = np.zeros((len(rows), len(tags)), np.bool_)
    for row, names in enumerate(rows):
        flags[row, [column[name] for name in names]] = True
    return flags


def read_tagged(path: Path, reader: str, count: int, origin: str) -> Tagged:
    """Read a list with lines `path 0 1 0 ...`; a path may hold spaces, and blank lines are no pictures.

    Args:
        path: the file.
        reader: named in errors.
        count: how many tags.
        origin: where the file comes from, for the error when it is missing.

    Raises:
        DataError: the file is missing, empty or no UTF-8 text, a line is wrong, a path is listed twice.
    """
    place = Place(reader, path, "line")
    lines = _some_lines(path, reader, origin)
    names, bits = [], []
    for number, line in lines:
        words = line.rsplit(maxsplit=count)
        # A longer line would pass as a path that ends with a number.
        flags = [] if words[0].endswith(_FLAGS) else words[1:]
        bits.append(_join(flags, count, line, place, number))
        names.append(words[0])
    refuse_twice(((number, name) for (number, _), name in zip(lines, names, strict=True)), place)
    return Tagged(names, _to_flags(bits, lines, place))


def read_flags(path: Path, reader: str, count: int, origin: str) -> Flags:
    """Read lines of `C` zeros and ones without paths as `(N, C)` bool; raises DataError as `read_tagged` does."""
    place = Place(reader, path, "line")
    lines = _some_lines(path, reader, origin)
    bits = [_join(line.split(), count, line, place, number) for number, line in lines]
    return _to_flags(bits, lines, place)


def count_tags(path: Path, reader: str, origin: str) -> int:
    """How many tags the lines of a list have: the zeros and ones at the end of its first line.

    Raises:
        DataError: there are none, or the file is missing, empty or no UTF-8 text.
    """
    number, line = _some_lines(path, reader, origin)[0]
    words = line.split()
    count = next((count for count, word in enumerate(reversed(words)) if word not in ("0", "1")), 0)
    if not count:
        where = Place(reader, path, "line").at(number)
        raise DataError(
            f"{where}: expected 'path 0 1 0 ...', got {_shorten(line)}; the reader image_list takes classes"
        )
    return count


def read_lines(path: Path, reader: str, origin: str = "") -> list[tuple[int, str]]:
    """The lines that are not blank, each with its number; raises DataError when the file is missing or no text."""
    text = read_text(path, reader, origin)
    return [(number, line) for number, raw in enumerate(text.split("\n"), 1) if (line := raw.strip())]


def read_names(path: Path, reader: str, origin: str = "") -> list[str]:
    """Read one name a line; raises DataError when the file is missing or empty, or a name is there twice."""
    lines = _some_lines(path, reader, origin)
    refuse_twice(lines, Place(reader, path, "line"))
    return [line for _, line in lines]


def hash_order(names: Sequence[str]) -> Rows:
    """Positions in the order of the names' sha256: a shuffle that is the same everywhere and needs no seed."""
    digests = [hashlib.sha256(name.encode()).digest() for name in names]
    return np.array(sorted(range(len(names)), key=digests.__getitem__), np.int64)


def deal(order: Rows, queries: int, training: int, reader: str, *, train_is_found: bool) -> dict[str, Rows]:
    """Deal shuffled pictures as the hashing papers do: first the queries, then the training pictures, then the rest.

    Args:
        order: a permutation of the pictures.
        queries: how many are `query`.
        training: how many are `train`.
        reader: named in errors.
        train_is_found: whether the training pictures are part of the `database` too.

    Raises:
        InputError: a count below 1.
        DataError: there are not enough pictures for a database.
    """
    if queries < 1 or training < 1:
        raise InputError(f"{reader}: queries and training must be at least 1, got {queries} and {training}")
    last = queries + training
    if last >= len(order):
        raise DataError(
            f"{reader}: {len(order):,} pictures cannot be dealt to {queries:,} queries, {training:,} training pictures "
            "and a database; add the missing pictures, or set queries and training lower"
        )
    rest = order[queries:] if train_is_found else order[last:]
    return {"train": order[queries:last], "query": order[:queries], "database": rest}


def check_held_out(share: float, reader: str) -> None:
    """Raise InputError for a share to hold out of training that is not 0 or between 0 and 1."""
    if not 0 <= share < 1:
        raise InputError(f"{reader}: held_out is a share of train, at least 0 and below 1; got {share}")


def hold_back(names: Sequence[str], share: float, reader: str) -> dict[str, Rows]:
    """Positions of `train` and `held_out`, both ascending; the latter are the first ones in `hash_order`.

    Raises:
        DataError: one of the two would be empty.
    """
    order = hash_order(names)
    count = int(share * len(order) + 0.5)
    if not 0 < count < len(order):
        raise DataError(f"{reader}: held_out={share} of {len(order)} pictures leaves one part without any; change it")
    return {"train": np.sort(order[count:]), HELD_OUT: np.sort(order[:count])}


def settle_split(name: str, splits: Sequence[str], also: Mapping[str, str], reader: str) -> str:
    """The split that a name stands for: one of `splits`, or what one of the names in `also` means.

    Raises:
        InputError: held-out pictures are asked for, and there are none.
        UnknownNameError: no split is called so.
    """
    if name == HELD_OUT and name not in splits:
        raise InputError(f"{reader}: nothing is held out of train; set held_out to a share, 0.1 for example")
    require_split(name, [*splits, *also])
    return name if name in splits else also[name]


def _some_lines(path: Path, reader: str, origin: str) -> list[tuple[int, str]]:
    lines = read_lines(path, reader, origin)
    if not lines:
        raise DataError(f"{reader}: {path} is empty")
    return lines


def _join(words: Sequence[str], count: int, line: str, place: Place, number: int) -> str:
    bits = "".join(words)
    if len(words) != count or len(bits) != count:
        raise DataError(f"{place.at(number)}: expected {count} zeros and ones, one a tag; got {_shorten(line)}")
    return bits


def _to_flags(bits: Sequence[str], lines: Sequence[tuple[int, str]], place: Place) -> Flags:
    values = np.frombuffer("".join(bits).encode("ascii", "replace"), np.uint8).reshape(len(bits), -1)
    wrong = np.flatnonzero(((values != ord("0")) & (values != ord("1"))).any(1))
    if wrong.size:
        number, line = lines[int(wrong[0])]
        raise DataError(f"{place.at(number)}: a tag is 1 or 0, there is another word in {_shorten(line)}")
    flags: Flags = values == ord("1")
    return flags


def _shorten(line: str) -> str:
    return repr(line if len(line) <= _SHOWN else f"{line[:_SHOWN]} ...")
