"""MIRFlickr-25k (Huiskes and Lew, MIR 2008) with its 38 annotations, as the hashing papers deal it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pertinent.data.datasets._lists import Place, find_folder, find_pictures, read_text
from pertinent.data.datasets._parts import root_folder, write_example_picture
from pertinent.data.datasets._tags import (
    HELD_OUT,
    Rows,
    Tagged,
    check_held_out,
    deal,
    hash_order,
    hold_back,
    read_flags,
    read_lines,
    read_names,
    settle_split,
)
from pertinent.data.table import ImageTable
from pertinent.errors import DataError

__all__ = ["MIRFlickr25k"]

# In the alphabetical order of the annotation files; `_r1` marks the stricter sense of a word.
# fmt: off
_TAGS = [
    "animals", "baby", "baby_r1", "bird", "bird_r1", "car", "car_r1", "clouds", "clouds_r1", "dog", "dog_r1",
    "female", "female_r1", "flower", "flower_r1", "food", "indoor", "lake", "male", "male_r1", "night",
    "night_r1", "people", "people_r1", "plant_life", "portrait", "portrait_r1", "river", "river_r1", "sea",
    "sea_r1", "sky", "structures", "sunset", "transport", "tree", "tree_r1", "water",
]
# fmt: on

_READER = "mirflickr25k"
_FOLDERS = ("", "mirflickr25k", "flickr25k", "data/flickr25k")
_ANNOTATIONS = ("annotations/", "mirflickr25k_annotations_v080/", "")
_ORDER = "flickr.txt"
_ORIGIN = (
    "the pictures and annotations come from press.liacs.nl/mirflickr, img.txt, targets.txt and flickr.txt from "
    "github.com/JerryXu0129/HyP2-Loss"
)


class MIRFlickr25k:
    """MIRFlickr-25k: 24,581 tagged photographs with 38 annotations, dealt to queries, training and database.

    Splits `query` (1,000), `train` (4,000), which is not part of the database, and `database` (19,581); `test` also
    means `query`, and `gallery` means `database`. With `held_out`, that share of `train` becomes the split `held_out`,
    chosen by the hash of the names. Ids are the pictures' names.

    With `flickr.txt`, a JSON list that puts the lines of `img.txt` in another order, the split is that of HyP²: first
    the queries, then train. It lies beside `img.txt` or up to two folders above, where a checkout of HyP² has it.
    Without it the split is ours: the pictures in the order of the sha256 of their names. Figures on the one cannot be
    compared with figures on the other.

    Args:
        root: the folder (or a folder `mirflickr25k`, `flickr25k` or `data/flickr25k` in it) with `mirflickr/` and
            either `img.txt`, a picture's name a line, and `targets.txt`, its 38 zeros and ones; or the 38 published
            files `animals.txt`, `baby.txt`, ..., in it, in `annotations/` or in `mirflickr25k_annotations_v080/`. Of
            the 25,000 pictures those that these do not name are left out.
        queries: how many pictures are queries.
        training: how many pictures are for training.
        held_out: share of `train` to keep for choosing between epochs; default none.

    Raises:
        DataError: a file is missing or wrong, there are too few pictures; names it.
        InputError: an option out of its range.
    """

    example_options: ClassVar[Mapping[str, Any]] = {"queries": 2, "training": 4}
    expected: Mapping[str, int] = {"train": 4000, "query": 1000, "database": 19_581}
    """How many pictures the published splits have."""

    galleries: ClassVar[Mapping[str, str]] = {"query": "database"}
    """In which split the pictures of a split search, where that is another."""

    def __init__(
        self, root: Path | str | None, *, queries: int = 1000, training: int = 4000, held_out: float = 0.0
    ) -> None:
        check_held_out(held_out, _READER)
        lists = ["img.txt", *(f"{place}{_TAGS[0]}.txt" for place in _ANNOTATIONS)]
        self.root = find_folder(root_folder(root, _READER), _FOLDERS, lists, _READER, _ORIGIN)
        self._queries, self._training, self._share = queries, training, held_out
        if (queries, training, held_out) != (1000, 4000, 0.0):
            self.expected = {}
        self.splits: Sequence[str] = ["train", "query", "database", *([HELD_OUT] if held_out else [])]

    def split(self, name: str) -> ImageTable:
        """Read one split; raises DataError when a file is wrong or pictures are missing."""
        name = settle_split(name, self.splits, {"test": "query", "gallery": "database"}, _READER)
        tagged = self._tagged.take(self._rows["train" if name == HELD_OUT else name])
        if self._share and name in ("train", HELD_OUT):
            tagged = tagged.take(hold_back(tagged.names, self._share, _READER)[name])
        source = find_pictures(self.root, tagged.names, ("mirflickr",), _READER, _ORIGIN)
        return tagged.table(source, _TAGS)

    @cached_property
    def _tagged(self) -> Tagged:
        return _read_lists(self.root) if self._is_listed else _read_annotations(self.root)

    @property
    def _is_listed(self) -> bool:
        return (self.root / "img.txt").is_file()

    @property
    def notes(self) -> list[str]:
        """What must be known of the splits before figures on them are compared."""
        if self._order is not None:
            return []
        return [
            f"{_READER}: the split is ours and not that of HyP² or another paper, since there is no {_ORDER}; figures "
            f"on it cannot be compared with published ones. {_ORDER}, img.txt and targets.txt of "
            f"github.com/JerryXu0129/HyP2-Loss in {self.root} make it theirs"
        ]

    @property
    def _order(self) -> Path | None:
        """Where the published order is, if it is there."""
        own = self.root / _ORDER
        above = (self.root.parent / _ORDER, self.root.parent.parent / _ORDER) if self._is_listed else ()
        return next((path for path in (own, *above) if path.is_file()), None)

    @cached_property
    def _rows(self) -> dict[str, Rows]:
        path, names = self._order, self._tagged.names
        if path is not None and not self._is_listed:
            raise DataError(f"{_READER}: {path} numbers the lines of img.txt, which is missing; {_ORIGIN}")
        order = hash_order(names) if path is None else _read_order(path, len(names))
        return deal(order, self._queries, self._training, _READER, train_is_found=False)

    @classmethod
    def example(cls, root: Path) -> None:
        """Write `img.txt`, `targets.txt`, `flickr.txt` and 12 pictures; read with queries=2 and training=4."""
        names = [f"im{number}.jpg" for number in range(1, 13)]
        rows = [" ".join("1" if (tag + number) % 7 == 0 else "0" for tag in range(38)) for number in range(12)]
        for number, name in enumerate(names):
            write_example_picture(root / "mirflickr" / name, number)
        (root / "img.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
        (root / "targets.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
        (root / _ORDER).write_text(json.dumps([(5 * number + 3) % 12 for number in range(12)]), encoding="utf-8")


def _read_lists(folder: Path) -> Tagged:
    names = read_names(folder / "img.txt", _READER, _ORIGIN)
    flags = read_flags(folder / "targets.txt", _READER, len(_TAGS), _ORIGIN)
    if len(names) != len(flags):
        raise DataError(
            f"{_READER}: img.txt names {len(names)} pictures, and targets.txt has {len(flags)} rows in {folder}; "
            "take both from one place"
        )
    return Tagged(names, flags)


def _read_annotations(folder: Path) -> Tagged:
    place = next(folder / name for name in _ANNOTATIONS if (folder / name / f"{_TAGS[0]}.txt").is_file())
    columns = [_read_numbers(place / f"{tag}.txt") for tag in _TAGS]
    flags = np.zeros((max((max(numbers, default=0) for numbers in columns)) + 1, len(_TAGS)), np.bool_)
    for column, numbers in enumerate(columns):
        flags[numbers, column] = True
    annotated = np.flatnonzero(flags.any(1))
    return Tagged([f"im{number}.jpg" for number in annotated.tolist()], flags[annotated])


def _read_numbers(path: Path) -> list[int]:
    place = Place(_READER, path, "line")
    lines = read_lines(path, _READER, _ORIGIN)
    for number, line in lines:
        if not (line.isdecimal() and 0 < int(line) <= 1_000_000):
            raise DataError(f"{place.at(number)}: expected a picture's number, got {line!r}")
    return [int(line) for _, line in lines]


def _read_order(path: Path, count: int) -> Rows:
    try:
        order = json.loads(read_text(path, _READER, _ORIGIN))
    except ValueError as error:
        raise DataError(f"{_READER}: {path} is not JSON ({error}); copy it again") from error
    is_whole = isinstance(order, list) and all(type(row) is int for row in order)
    if not is_whole or sorted(order) != list(range(count)):
        raise DataError(
            f"{_READER}: {path} must be a list of each number from 0 to {count - 1} once, one a line of img.txt; "
            "copy it again, or remove it for a split of ours"
        )
    return np.array(order, np.int64)
