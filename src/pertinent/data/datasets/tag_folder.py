"""Any folder of pictures with their tags in JSON: one file for all, or one beside each picture."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pertinent.data.datasets._lists import Place, find_pictures, read_object, read_text
from pertinent.data.datasets._parts import hold_out, root_folder, vocabulary, write_example_picture
from pertinent.data.datasets._tags import Tagged, named_flags, settle_split
from pertinent.data.images import IMAGE_SUFFIXES
from pertinent.data.table import ImageTable
from pertinent.errors import DataError, InputError

__all__ = ["TagFolder"]

_READER = "tag_folder"
_TAGS_FILE = "tags.json"


class TagFolder:
    """A folder of pictures with tags: `tags.json` {path: [tags]}, or beside each `x.jpg` an `x.json` with its tags.

    A file beside a picture holds a list of tags, or an object with a list `tags`; every picture needs one, with `[]` if
    it has no tag. With `tags.json` the pictures are those that it lists. Tags are in alphabetical order.

    The splits are those of `splits.json` {split: [paths]}, if there is one; else `train`, `val` and `test`, dealt by
    the hash of the paths. `all` has all pictures. Ids are paths relative to `root`. Hidden files are left out.

    Args:
        root: the folder.
        split_file: another name of `splits.json`, relative to `root`.
        holdout: share of val and of test, each; default 0.2. Only without a file of splits.

    Raises:
        DataError: a file is missing or wrong, a picture has no tags file; names it.
        InputError: an option that cannot be followed.
    """

    def __init__(self, root: Path | str | None, *, split_file: str | None = None, holdout: float | None = None) -> None:
        self.root = root_folder(root, _READER)
        whole = self.root / _TAGS_FILE
        tags = _read_whole(whole) if whole.is_file() else _read_beside(self.root)
        self.tags = vocabulary(tag for words in tags.values() for tag in words)
        self._all = Tagged(list(tags), named_flags(list(tags.values()), self.tags))
        path = self.root / (split_file or "splits.json")
        has_file = split_file is not None or path.is_file()
        if has_file and holdout is not None:
            raise InputError(f"{_READER}: {path.name} tells the splits, so take out holdout")
        if has_file:
            parts = _read_splits(path, tags)
        else:
            dealt = hold_out(list(tags), 0.2 if holdout is None else holdout)
            parts = {name: [path for path in tags if dealt[path] == name] for name in ("train", "val", "test")}
        self._members: Mapping[str, Sequence[str]] = {**parts, "all": list(tags)}
        self.splits: Sequence[str] = list(self._members)

    def split(self, name: str) -> ImageTable:
        """Read one split; raises DataError when it has no pictures, or they are missing."""
        name = settle_split(name, self.splits, {}, _READER)
        paths = self._members[name]
        if not paths:
            raise DataError(f"{_READER}: no pictures for {name} in {self.root}; add some, or change holdout")
        place = {path: row for row, path in enumerate(self._all.names)}
        tagged = self._all.take(np.array([place[path] for path in paths], np.int64))
        return tagged.table(find_pictures(self.root, paths, ("",), _READER), self.tags)

    @classmethod
    def example(cls, root: Path) -> None:
        """Write `tags.json` and 12 pictures, of which some have several tags and some none."""
        words = ("sea", "sky", "dog")
        tags = {}
        for number in range(12):
            write_example_picture(root / f"{number}.png", number)
            tags[f"{number}.png"] = [word for bit, word in enumerate(words) if number >> bit & 1]
        (root / _TAGS_FILE).write_text(json.dumps(tags), encoding="utf-8")


def _read_whole(path: Path) -> dict[str, list[str]]:
    place = Place(_READER, path, "entry")
    entries = read_object(path, _READER)
    if not entries:
        raise DataError(f"{_READER}: {path} lists no pictures")
    return {name: _as_words(value, place.at(number)) for number, (name, value) in enumerate(entries, 1)}


def _read_beside(root: Path) -> dict[str, list[str]]:
    paths = _scan(root)
    if not paths:
        raise DataError(f"{_READER}: {root} has neither {_TAGS_FILE} nor pictures")
    lacking = [path for path in paths if not (root / path).with_suffix(".json").is_file()]
    if lacking:
        raise DataError(
            f"{_READER}: {len(lacking)} of {len(paths)} pictures in {root} have no tags beside them, the first is "
            f"{lacking[0]}; write [] for none, or one {_TAGS_FILE} for all"
        )
    return {path: _read_one((root / path).with_suffix(".json")) for path in paths}


def _scan(root: Path) -> list[str]:
    """Paths of the pictures under a folder, in alphabetical order, without hidden ones."""
    found = []
    for folder, inner, files in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        pictures = [name for name in files if Path(name).suffix.lower() in IMAGE_SUFFIXES and name[0] != "."]
        found += [(Path(folder) / name).relative_to(root).as_posix() for name in pictures]
    return sorted(found)


def _read_one(path: Path) -> list[str]:
    try:
        value = json.loads(read_text(path, _READER))
    except ValueError as error:
        raise DataError(f"{_READER}: {path} is not JSON ({error}); save it as such") from error
    return _as_words(value.get("tags") if isinstance(value, dict) else value, f"{_READER}: {path}")


def _as_words(value: Any, where: str) -> list[str]:
    # Pairs stand for objects in what `read_object` gives, so a tuple is no list.
    if not isinstance(value, list) or not all(isinstance(tag, str) and tag for tag in value):
        raise DataError(f'{where}: tags are a list of names, such as ["sea", "sky"], got {value!r}')
    return value


def _read_splits(path: Path, known: Mapping[str, object]) -> dict[str, list[str]]:
    place = Place(_READER, path, "split")
    parts = {}
    for number, (name, paths) in enumerate(read_object(path, _READER, "split_file=FILE names it"), 1):
        where = f"{place.at(number)} ({name})"
        if not isinstance(paths, list) or not all(isinstance(item, str) for item in paths) or name in ("", "all"):
            raise DataError(f"{where}: expected a name other than 'all' and a list of paths")
        strange = [item for item in paths if item not in known]
        if strange or len(set(paths)) != len(paths):
            which = f"{strange[0]!r} has no tags" if strange else "a path is there twice"
            raise DataError(f"{where}: {which}; correct the list")
        parts[name] = list(paths)
    if not parts:
        raise DataError(f"{_READER}: {path} has no splits")
    return parts
