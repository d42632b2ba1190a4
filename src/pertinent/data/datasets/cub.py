"""Caltech-UCSD Birds-200-2011 (Wah et al., 2011)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from pertinent.data.datasets._class_folders import class_folders
from pertinent.data.datasets._lists import find_pictures, read_text
from pertinent.data.datasets._parts import root_folder, write_example_picture
from pertinent.data.datasets._unseen import Listed, TrainingClasses, numbered
from pertinent.data.table import ImageTable
from pertinent.errors import DataError

__all__ = ["CUB"]

_ORIGIN = "it is in CUB_200_2011.tgz of data.caltech.edu/records/65de6-vp158"
_FOLDERS = ("", "CUB_200_2011", "CUB_200_2011/CUB_200_2011")
_CLASS = re.compile(r"(\d{3})\..+")
_LAST_TRAINING_CLASS = 100


class CUB:
    """CUB-200-2011: photographs of birds of 200 species; the first 100 train, the other 100 test.

    The layout is the published one: `images.txt`, `image_class_labels.txt` and `images/001.Black_footed_Albatross/`
    in `root` or in `root/CUB_200_2011`; pictures may be in a zip file there. Without `images.txt` every folder named
    `001.Name` is a class, in `root` or in one of `images`, `train`, `test`, `val` of it, as copies have it: the split
    is by class all the same. Classes are numbered in the order of their published numbers, over both splits.

    Args:
        root: the folder of `CUB_200_2011`, or that folder.
        holdout: share of the training classes that become the split `val`, to choose by; then `train` has the others,
            and `trainval` all.
        boxes: cut every picture to its bird, by `bounding_boxes.txt`.

    Raises:
        DataError: neither lists nor class folders are there, or a list is wrong.
        InputError: the share is not 0 to below 1.
    """

    expected: Mapping[str, int] = MappingProxyType({"train": 5_864, "test": 5_924})
    """How many pictures were published, by split."""

    def __init__(self, root: Path | str | None, *, holdout: float = 0.0, boxes: bool = False) -> None:
        self._folder = _find(root_folder(root, "cub"))
        numbers, paths, self._source_paths, edges = _read(self._folder, boxes)
        found, labels = numbered(numbers)
        folder_of = dict(zip(labels.tolist(), (path.split("/")[0] for path in paths), strict=True))
        names = [folder_of[label] for label in range(len(found))]
        self._listed = Listed(paths, labels[:, None], ["species"], [names], edges)
        self._is_test = numbers > _LAST_TRAINING_CLASS
        training = {label: names[label] for label in np.flatnonzero(found <= _LAST_TRAINING_CLASS).tolist()}
        self._training = TrainingClasses(training, holdout, "cub")
        self.splits: Sequence[str] = (*self._training.splits, "test")
        self.expected = self._training.published(type(self).expected)

    def split(self, name: str) -> ImageTable:
        """Read one split; ids are `001.Name/picture.jpg`.

        Raises:
            DataError: listed pictures are missing.
        """
        self._training.require(name, self.splits)
        fine = self._listed.labels[:, 0]
        rows = np.flatnonzero(self._is_test) if name == "test" else self._training.rows(name, fine)
        part = self._listed.part(rows, f"cub: {name}")
        paths = [self._source_paths[row] for row in rows.tolist()]
        return part.table(find_pictures(self._folder, paths, ("images", ""), "cub", _ORIGIN))

    @classmethod
    def example(cls, root: Path) -> None:
        """Write a tiny copy of the layout: 4 training and 2 test classes of 2 pictures each, with boxes."""
        folder = root / "CUB_200_2011"
        names = {1: "Albatross", 2: "Ani", 50: "Grebe", 100: "Pelican", 101: "Pelican_White", 200: "Yellowthroat"}
        lines: dict[str, list[str]] = {"images": [], "image_class_labels": [], "bounding_boxes": []}
        for image, (number, name) in enumerate([(number, name) for number, name in names.items() for _ in range(2)], 1):
            path = f"{number:03}.{name}/{name}_{image:04}.png"
            write_example_picture(folder / "images" / path, image)
            lines["images"].append(f"{image} {path}")
            lines["image_class_labels"].append(f"{image} {number}")
            lines["bounding_boxes"].append(f"{image} {image}.0 2.0 16.0 12.0")
        for file, rows in lines.items():
            (folder / f"{file}.txt").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def _find(root: Path) -> Path:
    for place in _FOLDERS:
        if (root / place / "images.txt").is_file():
            return root / place
    return next((root / place for place in reversed(_FOLDERS) if (root / place).is_dir()), root)


def _read(
    folder: Path, boxes: bool
) -> tuple[NDArray[np.int64], Sequence[str], Sequence[str], NDArray[np.float64] | None]:
    """Of each picture its published class number, its id, its path and its box."""
    if not (folder / "images.txt").is_file():
        if boxes:
            raise DataError(f"cub: boxes=true needs images.txt and bounding_boxes.txt in {folder}; {_ORIGIN}")
        paths = class_folders(folder, ("", "images", "train", "test", "val"), _CLASS)
        if not paths:
            raise DataError(f"cub: {folder} has neither images.txt nor folders of pictures like 001.Name; {_ORIGIN}")
        ids = ["/".join(path.split("/")[-2:]) for path in paths]
        return np.array([int(name[:3]) for name in ids], np.int64), ids, paths, None
    listed = _by_image(folder / "images.txt")
    wrong = next((path for path in listed.values() if path.count("/") != 1), None)
    if wrong is not None:
        raise DataError(f"cub: {folder / 'images.txt'}: expected 001.Name/picture.jpg, got {wrong!r}")
    numbers = _values(folder / "image_class_labels.txt", listed, 1)[:, 0].astype(np.int64)
    corners = _values(folder / "bounding_boxes.txt", listed, 4) if boxes else None
    ids = list(listed.values())
    return numbers, ids, ids, None if corners is None else _edges(corners)


def _by_image(path: Path) -> dict[int, str]:
    """What stands behind each image's number, in the order of the lines."""
    values: dict[int, str] = {}
    for number, line in enumerate(read_text(path, "cub", _ORIGIN).splitlines(), 1):
        image, _, value = line.strip().partition(" ")
        if not line.strip():
            continue
        if not image.isdecimal() or not value or int(image) in values:
            raise DataError(f"cub: {path} line {number}: expected a new image number and a value, got {line!r}")
        values[int(image)] = value.strip()
    if not values:
        raise DataError(f"cub: {path} lists nothing; {_ORIGIN}")
    return values


def _values(path: Path, images: Mapping[int, str], count: int) -> NDArray[np.float64]:
    """The numbers of each of these images, `(N, count)`."""
    lines = _by_image(path)
    if lines.keys() != images.keys():
        odd = min(lines.keys() ^ images.keys())
        raise DataError(f"cub: {path} and images.txt do not name the same images, see image {odd}; {_ORIGIN}")
    values = []
    for image in images:
        try:
            values.append([float(word) for word in lines[image].split()])
        except ValueError:
            values.append([])
        if len(values[-1]) != count:
            raise DataError(f"cub: {path} image {image}: expected {count} numbers, got {lines[image]!r}")
    return np.array(values)


def _edges(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Left, top, width, height as left, top, right, bottom."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
