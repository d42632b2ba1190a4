"""Lists of pictures with a zero or a one for every tag: the hashing papers' `train.txt`, `test.txt`, `database.txt`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from pertinent.data.datasets._lists import find_folder, find_pictures
from pertinent.data.datasets._parts import root_folder, write_example_picture
from pertinent.data.datasets._tags import (
    HELD_OUT,
    Tagged,
    check_held_out,
    count_tags,
    hold_back,
    read_names,
    read_tagged,
    settle_split,
)
from pertinent.data.table import ImageTable
from pertinent.errors import DataError, InputError

__all__ = ["TagList"]


class TagList:
    """Your lists of tagged pictures, lines `path 0 1 0 ...`, as HashNet, DeepHash, CSQ and OrthoHash write them.

    The splits are those whose list is there: `train`, `val`, `test`, `query`, `database`; the list of each is
    `NAME.txt` unless said otherwise. `gallery` also means `database`; where there is only one of `test` and `query`,
    its name means the other too. With `held_out`, that share of `train` becomes the split `held_out`, chosen by the
    hash of the paths. Ids are the listed paths. A picture may have no tag.

    Args:
        root: folder of the lists.
        images: folder that the listed paths are relative to, itself relative to `root`; the pictures may also lie in a
            zip file in `root`.
        tags: file with the name of each tag, one a line; default `tag 1`, `tag 2`, ...
        train_file: list of `train`, relative to `root`.
        val_file: list of `val`.
        test_file: list of `test`.
        query_file: list of `query`.
        database_file: list of `database`.
        held_out: share of `train` to keep for choosing between epochs; default none.

    Raises:
        DataError: there is no list, a line is wrong, lists differ in their number of tags; names it.
        InputError: `held_out` is not a share, or there is no `train` to take it from.
    """

    reader: ClassVar[str] = "tag_list"
    folders: ClassVar[Sequence[str]] = ("",)
    """Where below `root` the lists may lie."""
    files: ClassVar[Mapping[str, str]] = {name: f"{name}.txt" for name in ("train", "val", "test", "query", "database")}
    """List of each split, where the options name none."""
    galleries: ClassVar[Mapping[str, str]] = {"query": "database", "test": "database"}
    """In which split the pictures of a split search, where that is another."""
    count: ClassVar[int | None] = None
    """How many tags there are; None takes as many as the first line has."""
    origin: ClassVar[str] = "each line is `path 0 1 0 ...`, and SPLIT_file=LIST names a split's list"

    def __init__(
        self,
        root: Path | str | None,
        *,
        images: str = "",
        tags: str | None = None,
        train_file: str | None = None,
        val_file: str | None = None,
        test_file: str | None = None,
        query_file: str | None = None,
        database_file: str | None = None,
        held_out: float = 0.0,
    ) -> None:
        check_held_out(held_out, self.reader)
        options = {"train": train_file, "val": val_file, "test": test_file}
        options |= {"query": query_file, "database": database_file}
        given = {name: file for name, file in options.items() if file is not None}
        looked_for = {**self.files, **given}
        self.root = find_folder(root_folder(root, self.reader), self.folders, [*looked_for.values()], *self._said)
        for name, file in given.items():
            if not (self.root / file).is_file():
                raise DataError(f"{self.reader}: {self.root / file} is missing; {name}_file names it")
        self._paths = {name: self.root / file for name, file in looked_for.items() if (self.root / file).is_file()}
        if held_out and "train" not in self._paths:
            raise InputError(f"{self.reader}: there is no list of train in {self.root} to hold pictures out of")
        self._images, self._tags_file, self._share = images, tags, held_out
        self.splits: Sequence[str] = [*self._paths, *([HELD_OUT] if held_out else [])]

    @cached_property
    def tags(self) -> list[str]:
        """Names of the tags, in the order of their columns."""
        first = next(iter(self._paths.values()))
        found = count_tags(first, self.reader, self.origin)
        names = [f"tag {number}" for number in range(1, (self.count or found) + 1)]
        if self._tags_file is not None:
            names = read_names(self.root / self._tags_file, self.reader, "tags=FILE names it")
        if found != len(names):
            raise DataError(f"{self.reader}: {first} has {found} tags a line, expected are {len(names)}")
        return names

    def split(self, name: str) -> ImageTable:
        """Read one split; raises DataError when its list is missing or wrong, or its pictures are missing."""
        if name in self.files and name not in (*self.splits, *self._also):
            raise DataError(
                f"{self.reader}: {self.root / self.files[name]} is missing; the splits here are "
                f"{', '.join(self.splits)}; {self.origin}"
            )
        name = settle_split(name, self.splits, self._also, self.reader)
        tagged = self._read(name)
        source = find_pictures(self.root, tagged.names, (self._images,), *self._said)
        return tagged.table(source, self.tags)

    @property
    def _also(self) -> Mapping[str, str]:
        pairs = (("gallery", "database"), ("test", "query"), ("query", "test"))
        return {name: meant for name, meant in pairs if meant in self._paths and name not in self._paths}

    @property
    def _said(self) -> tuple[str, str]:
        return self.reader, self.origin

    def _read(self, name: str) -> Tagged:
        is_part = bool(self._share) and name in ("train", HELD_OUT)
        path = self._paths["train" if is_part else name]
        tagged = read_tagged(path, self.reader, len(self.tags), self.origin)
        if not is_part:
            return tagged
        return tagged.take(hold_back(tagged.names, self._share, self.reader)[name])

    @classmethod
    def example(cls, root: Path) -> None:
        """Write `train.txt`, `test.txt` and `database.txt`, and their pictures."""
        write_example_lists(root, tags=3)


def write_example_lists(root: Path, tags: int) -> None:
    """Write `train.txt`, `test.txt` and `database.txt` of 4 pictures each, the first of each list without a tag."""
    for first, name in enumerate(("train", "test", "database")):
        lines = []
        for number in range(4 * first, 4 * first + 4):
            write_example_picture(root / f"images/{number}.png", number)
            flags = (np.arange(tags) + number) % 3 < number % 4
            lines.append(f"images/{number}.png {' '.join('1' if flag else '0' for flag in flags)}\n")
        (root / f"{name}.txt").write_text("".join(lines), encoding="utf-8")
