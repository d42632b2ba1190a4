"""Stanford Online Products (Oh Song et al., CVPR 2016): products in categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pertinent.data.datasets._lists import find_folder, find_pictures, read_text
from pertinent.data.datasets._parts import root_folder, write_example_picture
from pertinent.data.datasets._unseen import Listed, TrainingClasses, check_tree, numbered
from pertinent.data.table import ImageTable
from pertinent.errors import DataError, InputError

__all__ = ["SOP"]

Level = Literal["fine", "coarse"]

_ORIGIN = "it is in Stanford_Online_Products.zip of cvgl.stanford.edu/projects/lifted_struct"
_FILES = {"train": "Ebay_train.txt", "test": "Ebay_test.txt"}
_HEADER = ("image_id", "class_id", "super_class_id", "path")
_LEVELS = ("product", "category")


class SOP:
    """Stanford Online Products: photographs of 22,634 products in 12 categories (a tree of 2 levels).

    The layout is the published one: `Ebay_train.txt` and `Ebay_test.txt`, with lines `image_id class_id
    super_class_id path`, and the pictures at `path`. A category is named as its folder is, without `_final`, a product
    by its category and its published number. Products are numbered in the order of theirs; those of test are never seen
    in training, the categories are the same.

    Args:
        root: the folder of `Stanford_Online_Products`, or that folder; the lists may be in `Info_Files`, the pictures
            in `images` or a zip file.
        level: `fine` gives classes of products, `coarse` of categories; default the tree of both.
        holdout: share of the training products that become the split `val`, to choose by; then `train` has the others,
            and `trainval` all.

    Raises:
        DataError: a list is missing or a line is wrong; names it.
        InputError: another level, or the share is not 0 to below 1.
    """

    expected: Mapping[str, int] = MappingProxyType({"train": 59_551, "test": 60_502})
    """How many pictures were published, by split."""

    def __init__(self, root: Path | str | None, *, level: Level | None = None, holdout: float = 0.0) -> None:
        if level not in (None, *get_args(Level)):
            raise InputError(f"sop: level must be 'fine' or 'coarse', or left out for the tree; got {level!r}")
        places = [f"{folder}{part}" for part in ("", "Info_Files") for folder in ("", "Stanford_Online_Products/")]
        lists = find_folder(root_folder(root, "sop"), places, list(_FILES.values()), "sop", _ORIGIN)
        self._folder = lists.parent if lists.name == "Info_Files" else lists
        parts = {name: _read(lists / file) for name, file in _FILES.items()}
        sizes = [len(paths) for paths, _ in parts.values()]
        paths = [path for part, _ in parts.values() for path in part]
        self._tree = _tree(paths, np.concatenate([ids for _, ids in parts.values()]))
        self._listed = self._tree if level is None else self._tree.column(0 if level == "fine" else 1)
        self._is_test = np.repeat([False, True], sizes)
        products = self._tree.labels[:, 0]
        training = np.unique(products[~self._is_test]).tolist()
        both = np.intersect1d(training, products[self._is_test])
        if both.size:
            product = self._tree.class_names[0][both[0]]
            raise DataError(f"sop: {lists} has {product} in train and in test; they must have no product in common")
        names = {label: self._tree.class_names[0][label] for label in training}
        self._training = TrainingClasses(names, holdout, "sop")
        self.splits: Sequence[str] = (*self._training.splits, "test")
        self.expected = self._training.published(type(self).expected)

    def split(self, name: str) -> ImageTable:
        """Read one split; ids are the listed paths.

        Raises:
            DataError: listed pictures are missing.
        """
        self._training.require(name, self.splits)
        products = self._tree.labels[:, 0]
        rows = np.flatnonzero(self._is_test) if name == "test" else self._training.rows(name, products)
        part = self._listed.part(rows, f"sop: {name}")
        return part.table(find_pictures(self._folder, part.paths, ("", "images"), "sop", _ORIGIN))

    @classmethod
    def example(cls, root: Path) -> None:
        """Write a tiny copy of the layout: 4 training and 2 test products in 2 categories, 2 pictures of each."""
        folder, image = root / "Stanford_Online_Products", 0
        for split, products in (("train", (1, 2, 3, 4)), ("test", (5, 6))):
            lines = [" ".join(_HEADER)]
            for product in products:
                category = 1 + product % 2
                for number in range(2):
                    image += 1
                    path = f"{('bicycle', 'sofa')[category - 1]}_final/{1000 + product}_{number}.png"
                    write_example_picture(folder / path, image)
                    lines.append(f"{image} {product} {category} {path}")
            (folder / _FILES[split]).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _read(path: Path) -> tuple[list[str], NDArray[np.int64]]:
    """Paths of one list, and of each the published numbers of its product and its category."""
    lines = [line.split() for line in read_text(path, "sop", _ORIGIN).splitlines()]
    if not lines or tuple(lines[0]) != _HEADER:
        raise DataError(f"sop: {path} must begin with the line {' '.join(_HEADER)!r}; {_ORIGIN}")
    paths, ids = [], []
    for number, words in enumerate(lines[1:], 2):
        if not words:
            continue
        if len(words) != 4 or not (words[1].isdecimal() and words[2].isdecimal()):
            raise DataError(f"sop: {path} line {number}: expected '{' '.join(_HEADER)}', got {' '.join(words)!r}")
        paths.append(words[3])
        ids.append((int(words[1]), int(words[2])))
    if not paths:
        raise DataError(f"sop: {path} lists no pictures")
    return paths, np.array(ids, np.int64)


def _tree(paths: Sequence[str], ids: NDArray[np.int64]) -> Listed:
    products, fine = numbered(ids[:, 0])
    categories, coarse = numbered(ids[:, 1])
    above = dict(zip(fine.tolist(), coarse.tolist(), strict=True))
    folders = {
        label: path.split("/")[0].removesuffix("_final") for label, path in zip(coarse.tolist(), paths, strict=True)
    }
    if len(set(folders.values())) < len(categories):
        raise DataError(f"sop: {len(categories)} categories lie in folders {', '.join(sorted(set(folders.values())))}")
    product_names = [f"{folders[above[label]]} {number}" for label, number in enumerate(products.tolist())]
    names = [product_names, [folders[label] for label in range(len(categories))]]
    labels = np.stack([fine, coarse], axis=1)
    check_tree(labels, names, _LEVELS, "sop")
    return Listed(paths, labels, _LEVELS, names)
