"""MS COCO (Lin et al., ECCV 2014), the categories of a picture's objects as its tags."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from pertinent.data.datasets._lists import find_folder, find_pictures, read_text
from pertinent.data.datasets._parts import root_folder, write_example_picture
from pertinent.data.datasets._tags import (
    HELD_OUT,
    Rows,
    Tagged,
    check_held_out,
    deal,
    hash_order,
    hold_back,
    settle_split,
)
from pertinent.data.table import ImageTable
from pertinent.errors import DataError, InputError

__all__ = ["COCO"]

_READER = "coco"
_PARTS = ("train", "val")
_DEFAULTS = (5000, 10_000, 0.0)


class COCO:
    """COCO: 122,218 photographs tagged with the 80 categories of the objects in them, dealt as HashNet does.

    The pictures of COCO's train and val together, without those that show none of the 80: 5,000 are `query`, the other
    117,218 are `database`, and 10,000 of these are `train`. `test` also means `query`, and `gallery` means `database`.
    With `held_out`, that share of `train` becomes the split `held_out`; it stays in the database.

    Which picture is what is decided by the sha256 of its number: the same on every machine and for both years, which
    have the same pictures. It is not the random choice of any paper: the reader `tag_list` reads their lists.
    Ids are paths such as `val2017/000000000139.jpg`.

    Args:
        root: the folder that holds `annotations/instances_train2017.json`, `annotations/instances_val2017.json`,
            `train2017/` and `val2017/`, or folders `coco` or `images` that do.
        year: which of the two issues, 2014 or 2017.
        queries: how many pictures are queries.
        training: how many pictures are for training.
        held_out: share of `train` to keep for choosing between epochs; default none.

    Raises:
        DataError: a file is missing or wrong, there are too few pictures; names it.
        InputError: an option out of its range.
    """

    example_options: ClassVar[Mapping[str, Any]] = {"queries": 2, "training": 4}
    expected: Mapping[str, int] = {"train": 10_000, "query": 5000, "database": 117_218}
    """How many pictures the published splits have."""

    galleries: ClassVar[Mapping[str, str]] = {"query": "database"}
    """In which split the pictures of a split search, where that is another."""

    def __init__(
        self,
        root: Path | str | None,
        *,
        year: Literal[2014, 2017] = 2017,
        queries: int = 5000,
        training: int = 10_000,
        held_out: float = 0.0,
    ) -> None:
        check_held_out(held_out, _READER)
        if year not in (2014, 2017):
            raise InputError(f"{_READER}: year must be 2014 or 2017, got {year!r}")
        self._files = [f"annotations/instances_{part}{year}.json" for part in _PARTS]
        zips = f"annotations_trainval{year}.zip, train{year}.zip and val{year}.zip"
        self._origin = f"{zips} come from cocodataset.org; year= chooses the issue"
        self.root = find_folder(root_folder(root, _READER), ("", "coco"), self._files, _READER, self._origin)
        self._folders = [f"{part}{year}" for part in _PARTS]
        self._queries, self._training, self._share = queries, training, held_out
        if (queries, training, held_out) != _DEFAULTS:
            self.expected = {}
        self.splits: Sequence[str] = ["train", "query", "database", *([HELD_OUT] if held_out else [])]

    def split(self, name: str) -> ImageTable:
        """Read one split; raises DataError when a file is wrong or pictures are missing."""
        name = settle_split(name, self.splits, {"test": "query", "gallery": "database"}, _READER)
        tagged, tags, rows = self._content
        tagged = tagged.take(rows["train" if name == HELD_OUT else name])
        if self._share and name in ("train", HELD_OUT):
            tagged = tagged.take(hold_back(tagged.names, self._share, _READER)[name])
        source = find_pictures(self.root, tagged.names, ("", "images"), _READER, self._origin)
        return tagged.table(source, tags)

    @cached_property
    def _content(self) -> tuple[Tagged, list[str], dict[str, Rows]]:
        """The pictures, the names of the categories, and which pictures each split has."""
        parts = [_read(self.root / file, self._origin) for file in self._files]
        categories = parts[0].categories
        if parts[1].categories != categories:
            raise DataError(
                f"{_READER}: {' and '.join(self._files)} differ in their categories; take both of one issue"
            )
        paths = {
            number: f"{folder}/{file}"
            for folder, part in zip(self._folders, parts, strict=True)
            for number, file in part.files.items()
        }
        found = np.concatenate([part.found for part in parts])
        tagged, numbers = _tag(paths, found, sorted(categories), self.root)
        order = hash_order([str(number) for number in numbers])
        rows = deal(order, self._queries, self._training, _READER, train_is_found=True)
        return tagged, [categories[key] for key in sorted(categories)], rows

    @classmethod
    def example(cls, root: Path) -> None:
        """Write 12 pictures, 4 of them val, of 3 categories; read with queries=2 and training=4."""
        categories = [{"id": key, "name": name} for key, name in ((1, "person"), (3, "car"), (18, "dog"))]
        for part, numbers in (("train", range(1, 9)), ("val", range(9, 13))):
            pictures = [{"id": number, "file_name": f"{number:012}.jpg"} for number in numbers]
            objects = [
                {"image_id": number, "category_id": key, "bbox": [0, 0, 4, 4], "segmentation": [[0, 0, 4, 0, 4, 4]]}
                for number in numbers
                for key in (1, 3, 18)[: 1 + number % 3]
            ]
            for number, picture in zip(numbers, pictures, strict=True):
                write_example_picture(root / f"{part}2017" / str(picture["file_name"]), number)
            path = root / f"annotations/instances_{part}2017.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            content = {"images": pictures, "annotations": objects, "categories": categories}
            path.write_text(json.dumps(content), encoding="utf-8")


class _Object(NamedTuple):
    picture: int
    category: int


class _Part(NamedTuple):
    """One annotation file: names of pictures and categories by number, and `(M, 2)` which shows which."""

    files: dict[int, str]
    categories: dict[int, str]
    found: Rows


def _read(path: Path, origin: str) -> _Part:
    try:
        content = json.loads(read_text(path, _READER, origin), object_hook=_keep_little)
        files = {int(row["id"]): str(row["file_name"]) for row in content["images"]}
        categories = {int(row["id"]): str(row["name"]) for row in content["categories"]}
        found = np.array(content["annotations"], np.int64).reshape(-1, 2)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{_READER}: {path} is no list of COCO's images, categories and annotations "
            f"({type(error).__name__}: {error}); copy it again"
        ) from error
    return _Part(files, categories, found)


def _keep_little(item: dict[str, Any]) -> Any:
    # The outlines are nearly all of the 450 MB, and their numbers would take gigabytes.
    return _Object(item["image_id"], item["category_id"]) if "category_id" in item else item


def _tag(paths: Mapping[int, str], found: Rows, keys: Sequence[int], root: Path) -> tuple[Tagged, list[int]]:
    """The pictures that show anything, by ascending number, and their numbers."""
    numbers = np.array(sorted(paths), np.int64)
    known = np.isin(found[:, 0], numbers) & np.isin(found[:, 1], keys)
    if not known.all():
        picture, category = found[np.flatnonzero(~known)[0]].tolist()
        raise DataError(
            f"{_READER}: an annotation in {root} is of picture {picture} and category {category}, which are not both "
            "listed; copy the annotations again"
        )
    flags = np.zeros((len(numbers), len(keys)), np.bool_)
    flags[np.searchsorted(numbers, found[:, 0]), np.searchsorted(keys, found[:, 1])] = True
    kept = np.flatnonzero(flags.any(1))
    shown = numbers[kept].tolist()
    return Tagged([paths[number] for number in shown], flags[kept]), shown
