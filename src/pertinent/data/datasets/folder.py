"""Any folder of folders of pictures: the folders are the classes."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pertinent.data.datasets._parts import (
    check_parents,
    hold_out,
    labelled_table,
    require_split,
    root_folder,
    vocabulary,
    write_example_picture,
)
from pertinent.data.images import IMAGE_SUFFIXES, FolderSource
from pertinent.data.table import ImageTable
from pertinent.errors import DataError, InputError

__all__ = ["Folder"]

_SPLITS = ("train", "val", "test", "query", "gallery")


class Folder:
    """Nested folders of pictures: the innermost folder is the class, the folders around it are its parents.

    `root/animal/cat/1.jpg` gives a tree of 2 levels, `root/cat/1.jpg` plain classes, `root/1.jpg` pictures without
    labels. Where `root` holds split folders (`train`, `val`, `test`, `query`, `gallery`), those are the splits.
    Otherwise pictures are dealt to `train`, `val` and `test` by the hash of their names. `all` has them all.

    Hidden files and files that are not pictures are left out; `ignored` counts them.

    Args:
        root: the folder.
        holdout: share of val and of test, each; default 0.2. Only without split folders.
        split_by: `class` keeps whole classes out of training (default), `image` deals the pictures of every class.

    Raises:
        DataError: no pictures, classes at different depths, or a class under two parents.
        InputError: an option that cannot be followed.
    """

    def __init__(
        self,
        root: Path | str | None,
        holdout: float | None = None,
        split_by: Literal["class", "image"] | None = None,
    ) -> None:
        self.root = root_folder(root, "folder")
        if split_by not in (None, "class", "image"):
            raise InputError(f"folder: split_by must be 'class' or 'image', got {split_by!r}")
        paths, self.ignored = _scan(self.root)
        split_folders = [name for name in _SPLITS if (self.root / name).is_dir()]
        self._names = {path: _class_names(path, bool(split_folders)) for path in paths}
        depth = self._check_depth()
        self._levels = ["class", "parent", *(f"parent {number}" for number in range(2, depth))][:depth]
        check_parents(self._names.values(), self._levels, "folder")
        self._vocabularies = [vocabulary(names[level] for names in self._names.values()) for level in range(depth)]
        if (split_folders or not depth) and (holdout is not None or split_by is not None):
            why = "there are split folders" if split_folders else "the pictures are in no class folders"
            raise InputError(f"folder: {why} in {self.root}, so take out holdout and split_by")
        parts: dict[str, list[str]] = {}
        if split_folders:
            parts = _by_split_folder(paths, split_folders)
        elif depth:
            parts = self._deal(paths, 0.2 if holdout is None else holdout, split_by or "class")
        self._members = {**parts, "all": paths}
        self.splits: Sequence[str] = list(self._members)

    def split(self, name: str) -> ImageTable:
        """Read one split; ids are paths relative to `root`.

        Raises:
            DataError: the split has no pictures.
        """
        require_split(name, self.splits)
        paths = self._members[name]
        if not paths:
            raise DataError(f"folder: no pictures for {name} in {self.root}; add some, or change holdout or split_by")
        rows = [self._names[path] for path in paths]
        return labelled_table(paths, FolderSource(self.root, paths), rows, self._levels, self._vocabularies)

    @classmethod
    def unlabelled(cls, root: Path | str | None) -> ImageTable:
        """Every picture under a folder, whatever its layout, without labels; ids are paths relative to `root`.

        Raises:
            DataError: no such folder, or no pictures in it.
        """
        folder = root_folder(root, "folder")
        paths, _ = _scan(folder)
        return ImageTable(paths, FolderSource(folder, paths))

    @classmethod
    def example(cls, root: Path) -> None:
        """Write 2 parents of 3 classes of 3 pictures each, without split folders."""
        names = {"animal": ("cat", "dog", "owl"), "plant": ("fern", "moss", "palm")}
        classes = [f"{parent}/{name}" for parent, children in names.items() for name in children]
        for number in range(3 * len(classes)):
            write_example_picture(root / classes[number // 3] / f"{number % 3}.png", number)

    def _check_depth(self) -> int:
        folders_at: dict[int, set[str]] = defaultdict(set)
        for path, names in self._names.items():
            folders_at[len(names)].add(path.rpartition("/")[0] or ".")
        if len(folders_at) > 1:
            found = "; ".join(
                f"{depth} deep: {', '.join(sorted(folders)[:3])}{', ...' if len(folders) > 3 else ''}"
                for depth, folders in sorted(folders_at.items())
            )
            raise DataError(
                f"folder: pictures of {self.root} lie at different depths ({found}); every class needs the same number "
                "of parents, so move these folders, or list the pictures in a file for the reader 'csv'"
            )
        return next(iter(folders_at))

    def _deal(self, paths: list[str], share: float, split_by: str) -> dict[str, list[str]]:
        if split_by == "class":
            of_class = hold_out(self._vocabularies[0], share)
            split_of = {path: of_class[self._names[path][0]] for path in paths}
        else:
            classes = defaultdict(list)
            for path in paths:
                classes[self._names[path][0]].append(path)
            split_of = {path: split for members in classes.values() for path, split in hold_out(members, share).items()}
        return {name: [path for path in paths if split_of[path] == name] for name in ("train", "val", "test")}


def _scan(root: Path) -> tuple[list[str], int]:
    """Paths of pictures relative to root, sorted, and how many other files there are.

    Links to folders are followed, each folder is entered once.

    Raises:
        DataError: no pictures.
    """
    paths, ignored, entered = [], 0, set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        entered.add(os.path.realpath(folder))
        hidden = [name for name in subfolders if name.startswith((".", "__MACOSX"))]
        subfolders[:] = [
            name
            for name in subfolders
            if name not in hidden and os.path.realpath(os.path.join(folder, name)) not in entered
        ]
        for name in files:
            if name.startswith(".") or Path(name).suffix.lower() not in IMAGE_SUFFIXES:
                ignored += 1
            else:
                paths.append(Path(folder, name).relative_to(root).as_posix())
    if not paths:
        raise DataError(f"folder: no pictures in {root} ({ignored} other files)")
    return sorted(paths), ignored


def _class_names(path: str, in_split_folder: bool) -> tuple[str, ...]:
    return tuple(reversed(path.split("/")[int(in_split_folder) : -1]))


def _by_split_folder(paths: list[str], splits: Sequence[str]) -> dict[str, list[str]]:
    stray = sorted({path.split("/")[0] for path in paths} - set(splits))
    if stray:
        raise DataError(
            f"folder: beside the split folders {', '.join(splits)} there are pictures in {', '.join(stray[:5])}; "
            "move them into a split folder, or rename the split folders"
        )
    return {name: [path for path in paths if path.startswith(f"{name}/")] for name in splits}
