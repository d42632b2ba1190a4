"""Omniglot (Lake et al., Science 2015): drawn characters of many alphabets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pertinent.data.datasets._parts import (
    hold_out,
    labelled_table,
    require_split,
    root_folder,
    vocabulary,
    write_example_picture,
)
from pertinent.data.images import FolderSource, ZipSource
from pertinent.data.table import ImageTable
from pertinent.errors import DataError

__all__ = ["Omniglot"]

_LEVELS = ("character", "alphabet")
_BACKGROUND = ("images_background", "images_background_small1", "images_background_small2")
_OFFICIAL = {"train": "images_background", "test": "images_evaluation"}
_DRAWING = re.compile(r"\d{4}_\d{2}\.png")


class Omniglot:
    """Omniglot: 20 drawings of each character, characters in alphabets (a tree of 2 levels).

    Pictures are `alphabet/characterNN/NNNN_NN.png` inside `images_background` (or `_small1`, `_small2`: the first there
    is is read) and `images_evaluation`, each a folder or a zip file in `root`, as they are downloaded.

    Characters are dealt to `train`, `val` and `test` by the hash of their names: a fifth each for val and test, so no
    character of val or test is seen in training, while its alphabet may be.

    Args:
        root: the folder of those folders or zip files.
        official: instead, `train` is all of `images_background` and `test` all of `images_evaluation`, which has
            other alphabets; there is no `val`.

    Raises:
        DataError: a folder is missing, or a drawing does not lie or is not named as expected.
    """

    def __init__(self, root: Path | str | None, official: bool = False) -> None:
        self.root = root_folder(root, "omniglot")
        parts = _OFFICIAL if official else {"all": _first_there(self.root)}
        self._sources = {name: _open_part(self.root, part) for name, part in parts.items()}
        self.splits: Sequence[str] = ("train", "test") if official else ("train", "val", "test")
        drawings = [drawing for source in self._sources.values() for drawing in _drawings(source)]
        characters = vocabulary(_labels(drawing)[0] for drawing in drawings)
        self._class_names = [characters, vocabulary(_labels(drawing)[1] for drawing in drawings)]
        self._split_of = {} if official else hold_out(characters, 0.2)

    def split(self, name: str) -> ImageTable:
        """Read one split; ids are `alphabet/character/drawing`.

        Raises:
            DataError: there are too few characters for three splits.
        """
        require_split(name, self.splits)
        source = self._sources.get(name) or self._sources["all"]
        places, drawings = _names(source), _drawings(source)
        rows = [row for row, drawing in enumerate(drawings) if self._split_of.get(_labels(drawing)[0], name) == name]
        if not rows:
            raise DataError(f"omniglot: {len(self._class_names[0])} characters are too few to leave any for {name}")
        places, drawings = [places[row] for row in rows], [drawings[row] for row in rows]
        chosen = (
            ZipSource(source.archive, places) if isinstance(source, ZipSource) else FolderSource(source.root, places)
        )
        return labelled_table(drawings, chosen, [_labels(text) for text in drawings], _LEVELS, self._class_names)

    @classmethod
    def example(cls, root: Path) -> None:
        """Write a tiny copy of the layout: 2 alphabets of 3 characters each in both parts, 2 drawings a character."""
        for part, alphabets in (
            ("images_background", ("Greek", "Latin")),
            ("images_evaluation", ("Avesta", "Tibetan")),
        ):
            for first, alphabet in enumerate(alphabets):
                for number in range(6):
                    character, drawer = number // 2 + 1, number % 2 + 1
                    path = root / part / alphabet / f"character{character:02}" / f"{100 + character:04}_{drawer:02}.png"
                    write_example_picture(path, 6 * first + number, (28, 28))


def _first_there(root: Path) -> str:
    for part in _BACKGROUND:
        if (root / part).is_dir() or (root / f"{part}.zip").is_file():
            return part
    raise DataError(f"omniglot: none of {', '.join(_BACKGROUND)} in {root}, as a folder or a zip file")


def _open_part(root: Path, part: str) -> FolderSource | ZipSource:
    folder, archive = root / part, root / f"{part}.zip"
    if folder.is_dir():
        found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
        source: FolderSource | ZipSource = FolderSource(folder, [path for path in found if _wanted(path)])
    elif archive.is_file():
        members = sorted(name for name in ZipSource(archive, []).names() if name.endswith(".png") and _wanted(name))
        source = ZipSource(archive, members)
    else:
        raise DataError(f"omniglot: {part} is missing in {root}; put the folder or {part}.zip there")
    if not len(source):
        raise DataError(f"omniglot: no drawings in {part} of {root}")
    for name in _names(source):
        parts = name.split("/")
        if len(parts) < 3 or not _DRAWING.fullmatch(parts[-1]):
            raise DataError(f"omniglot: {name!r} in {part}: expected alphabet/characterNN/NNNN_NN.png")
    return source


def _wanted(path: str) -> bool:
    return not any(part.startswith((".", "__MACOSX")) for part in path.split("/"))


def _names(source: FolderSource | ZipSource) -> Sequence[str]:
    return source.members if isinstance(source, ZipSource) else source.paths


def _drawings(source: FolderSource | ZipSource) -> list[str]:
    return ["/".join(name.split("/")[-3:]) for name in _names(source)]


def _labels(drawing: str) -> tuple[str, str]:
    """Character and alphabet; a character's name holds its alphabet's, since numbers start again in each."""
    alphabet, character, _ = drawing.split("/")
    return f"{alphabet}/{character}", alphabet
