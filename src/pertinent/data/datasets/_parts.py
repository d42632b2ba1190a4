"""Parts that several readers share: finding pictures, vocabularies, parents, held-out names, example pictures."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pertinent.data.images import FolderSource, ZipSource
from pertinent.data.table import ImageSource, ImageTable
from pertinent.errors import DataError, InputError, UnknownNameError

NO_LABEL = -1

_INCOMPLETE = ContextVar("incomplete", default=False)


@contextlib.contextmanager
def incomplete() -> Iterator[None]:
    """While this is open, a split is read although listed pictures are missing: for telling what is wrong with it."""
    token = _INCOMPLETE.set(True)
    try:
        yield
    finally:
        _INCOMPLETE.reset(token)


def root_folder(root: Path | str | None, reader: str) -> Path:
    """Return `root` as an absolute path, which holds wherever it is read again; raises DataError for no such folder."""
    if root is None or not Path(root).is_dir():
        said = "none was given" if root is None else f"there is no folder {str(root)!r}"
        raise DataError(f"{reader}: root must be the folder that holds the data set, {said}; set data.root or --root")
    return Path(root).absolute()


def require_split(name: str, splits: Sequence[str]) -> None:
    """Raise UnknownNameError when a data set has no split of that name."""
    if name not in splits:
        raise UnknownNameError("split", name, splits)


def vocabulary(names: Iterable[str]) -> list[str]:
    """Sorted class names of one label column; an empty name is no class."""
    return sorted(set(names) - {""})


def check_parents(rows: Iterable[Sequence[str]], level_names: Sequence[str], reader: str) -> None:
    """Check that every class lies under one parent, level by level.

    Args:
        rows: class names of each picture, fine to coarse; an empty name is no label.
        level_names: a word for each column.
        reader: named in the error.

    Raises:
        DataError: a class has two parents; names the class and both.
    """
    parents: list[dict[str, str]] = [{} for _ in level_names[1:]]
    for row in rows:
        for level, known in enumerate(parents):
            child, parent = row[level], row[level + 1]
            first = known.setdefault(child, parent) if child else parent
            if first != parent:
                raise DataError(
                    f"{reader}: {level_names[level]} {child!r} is under two classes of {level_names[level + 1]}, "
                    f"{first!r} and {parent!r}; give it one parent, or two names"
                )


def hold_out(names: Sequence[str], share: float) -> dict[str, str]:
    """Deal names to `train`, `val` and `test`; val and test each get `share` of them, rounded.

    The order is that of the names' sha256, so it is the same on every machine and needs no seed.

    Raises:
        InputError: the share is not above 0 and below 0.5.
    """
    if not 0 < share < 0.5:
        raise InputError(f"holdout is the share of val and of test, above 0 and below 0.5; got {share}")
    ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    count = int(share * len(ordered) + 0.5)
    tests, vals = dict.fromkeys(ordered[:count], "test"), dict.fromkeys(ordered[count : 2 * count], "val")
    return {**dict.fromkeys(names, "train"), **tests, **vals}


def labelled_table(
    ids: Sequence[str],
    source: ImageSource,
    rows: Sequence[Sequence[str]],
    level_names: Sequence[str],
    class_names: Sequence[Sequence[str]],
) -> ImageTable:
    """Make a table from class names: kind `tree` for several columns, `classes` for one, `none` without any.

    Args:
        ids: `N` names of pictures.
        source: `N` pictures.
        rows: `N` rows of `L` class names, fine to coarse; an empty name becomes -1.
        level_names: `L` words.
        class_names: for each column its vocabulary.
    """
    if not level_names:
        return ImageTable(ids, source)
    numbers = [{name: label for label, name in enumerate(names)} | {"": NO_LABEL} for names in class_names]
    labels: NDArray[np.int64] = np.array(
        [[known[name] for known, name in zip(numbers, row, strict=True)] for row in rows], dtype=np.int64
    ).reshape(len(ids), len(level_names))
    if len(level_names) == 1:
        return ImageTable(ids, source, "classes", labels[:, 0], level_names, class_names)
    return ImageTable(ids, source, "tree", labels, level_names, class_names)


def open_pictures(root: Path, paths: Sequence[str], subfolders: Sequence[str] = ("",)) -> FolderSource | ZipSource:
    """Find the listed pictures: under `root` or one of its subfolders, or inside a zip file that lies in `root`.

    In a zip file all paths may share a leading folder.

    Raises:
        DataError: no place has all of them, and it is not `incomplete`; names what the place with the most lacks.
    """
    best: tuple[FolderSource | ZipSource, list[str]] | None = None
    for source in _places(root, paths, subfolders):
        missing = source.missing()
        if best is None or len(missing) < len(best[1]):
            best = source, missing
        if not missing:
            break
    if best is None:
        raise DataError(f"{root} has no place for pictures; add them, or take them off the list")
    source, missing = best
    if missing and not _INCOMPLETE.get():
        place = source.root if isinstance(source, FolderSource) else source.archive
        rest = ", ... (`pertinent datasets doctor --json` names all)" if len(missing) > 5 else ""
        shown = ", ".join(missing[:5]) + rest
        raise DataError(
            f"{len(missing)} of {len(paths)} listed pictures are missing in {place}: {shown}; add them, or take them "
            "off the list"
        )
    return source


def write_example_picture(path: Path, number: int, size: tuple[int, int] = (32, 24)) -> None:
    """Write a small picture: a colour ramp that depends on `number`, in the format of the file's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    pixels = np.stack([5 * x + 40 * number, 7 * y + 90 * number, 3 * (x + y) + 13 * number], axis=-1) % 256
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def _places(root: Path, paths: Sequence[str], subfolders: Sequence[str]) -> Iterator[FolderSource | ZipSource]:
    for folder in subfolders:
        if (root / folder).is_dir():
            yield FolderSource(root / folder, paths)
    for archive in sorted(root.glob("*.zip")):
        names = ZipSource(archive, []).names()
        first = paths[0] if paths else ""
        prefix = next((name.removesuffix(first) for name in names if name.endswith("/" + first)), "")
        prefix = "" if first in names else prefix
        yield ZipSource(archive, [prefix + path for path in paths])
