"""Grocery Store data set (Klasson et al., WACV 2019): products, kinds and groups."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from pertinent.data.datasets._parts import (
    check_parents,
    labelled_table,
    open_pictures,
    require_split,
    root_folder,
    vocabulary,
    write_example_picture,
)
from pertinent.data.table import ImageTable
from pertinent.errors import DataError

__all__ = ["Grocery"]

_SPLITS = ("train", "val", "test")
_LEVELS = ("product", "kind", "group")
_CLASS_COLUMNS = ("Class Name (str)", "Class ID (int)", "Coarse Class Name (str)", "Coarse Class ID (int)")


class Grocery:
    """Grocery Store: photographs of 81 products, in 43 kinds and 3 groups (a tree of 3 levels).

    The layout is that of GroceryStoreDataset: `train.txt`, `val.txt`, `test.txt` with lines `path, fine id, coarse id`,
    and `classes.csv` with the names; the group is the second component of the path. Lists and pictures lie in `root` or
    `root/dataset`; pictures may also be inside a zip file in `root`.

    Args:
        root: the data set's folder.

    Raises:
        DataError: a file is missing or a line is wrong; names it.
    """

    def __init__(self, root: Path | str | None) -> None:
        self.root = root_folder(root, "grocery")
        self._lists = self.root / "dataset" if (self.root / "dataset" / "classes.csv").is_file() else self.root
        self.splits: Sequence[str] = [name for name in _SPLITS if self._list(name).is_file()]
        if not self.splits:
            raise DataError(f"grocery: no train.txt, val.txt or test.txt in {self._lists}")
        products, kinds, self._kind_of = _read_classes(self._lists / "classes.csv")
        rows = {name: self._read_split(name, products, kinds) for name in self.splits}
        everything = [names for split in rows.values() for _, names in split]
        check_parents(everything, _LEVELS, "grocery")
        self._rows = rows
        self._class_names = [_in_order(products), _in_order(kinds), vocabulary(names[2] for names in everything)]

    def split(self, name: str) -> ImageTable:
        """Read `train`, `val` or `test`; ids are the listed paths.

        Raises:
            DataError: the split's list is missing, or pictures that it lists are.
        """
        require_split(name, _SPLITS)
        if name not in self.splits:
            raise DataError(f"grocery: {self._list(name)} is missing; the splits here are {', '.join(self.splits)}")
        paths = [path for path, _ in self._rows[name]]
        source = open_pictures(self.root, paths, ("", "dataset"))
        return labelled_table(paths, source, [names for _, names in self._rows[name]], _LEVELS, self._class_names)

    def _list(self, split: str) -> Path:
        return self._lists / f"{split}.txt"

    def _read_split(
        self, split: str, products: dict[int, str], kinds: dict[int, str]
    ) -> list[tuple[str, tuple[str, str, str]]]:
        rows = []
        for number, line in enumerate(self._list(split).read_text(encoding="utf-8").splitlines(), 1):
            where = f"grocery: {self._list(split)} line {number}"
            parts = [part.strip() for part in line.split(",")]
            if parts == [""]:
                continue
            components = parts[0].split("/")
            if len(parts) != 3 or not (parts[1].isdecimal() and parts[2].isdecimal()) or len(components) < 3:
                raise DataError(f"{where}: expected 'split/Group/.../picture, fine id, coarse id', got {line!r}")
            fine, coarse = int(parts[1]), int(parts[2])
            if fine not in products or coarse not in kinds:
                raise DataError(f"{where}: classes.csv has no fine id {fine} or no coarse id {coarse}")
            if self._kind_of[fine] != coarse:
                raise DataError(
                    f"{where}: product {products[fine]!r} is under kind {kinds[coarse]!r} here "
                    f"and under {kinds[self._kind_of[fine]]!r} in classes.csv; correct one of them"
                )
            rows.append((parts[0], (products[fine], kinds[coarse], components[1])))
        if not rows:
            raise DataError(f"grocery: {self._list(split)} lists no pictures")
        return rows

    @classmethod
    def example(cls, root: Path) -> None:
        """Write a tiny copy of the layout: 3 products, 2 kinds, 2 groups, 2 pictures of each product and split."""
        products = [("Gala", 0, "Apple", 0, "Fruit"), ("Fuji", 1, "Apple", 0, "Fruit"), ("Leek", 2, "Leek", 1, "Roots")]
        lines = [",".join(_CLASS_COLUMNS), *(",".join(map(str, row[:4])) for row in products)]
        root.mkdir(parents=True, exist_ok=True)
        (root / "classes.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for first, split in enumerate(_SPLITS):
            listed = []
            for product, fine, kind, coarse, group in products:
                for number in range(2):
                    path = f"{split}/{group}/{kind}/{product}/{product}_{number:03}.png"
                    write_example_picture(root / path, 6 * first + 2 * fine + number)
                    listed.append(f"{path}, {fine}, {coarse}\n")
            (root / f"{split}.txt").write_text("".join(listed), encoding="utf-8")


def _read_classes(path: Path) -> tuple[dict[int, str], dict[int, str], dict[int, int]]:
    """Product names by fine id, kind names by coarse id, and the coarse id of every fine id."""
    if not path.is_file():
        raise DataError(f"grocery: {path} is missing; it names the classes")
    products: dict[int, str] = {}
    kinds: dict[int, str] = {}
    kind_of: dict[int, int] = {}
    with path.open(encoding="utf-8-sig", newline="") as stream:
        for number, row in enumerate(csv.DictReader(stream), 2):
            product, fine, kind, coarse = (str(row.get(column)).strip() for column in _CLASS_COLUMNS)
            if not (fine.isdecimal() and coarse.isdecimal()):
                raise DataError(f"grocery: {path} line {number}: expected columns {', '.join(_CLASS_COLUMNS)}")
            if products.setdefault(int(fine), product) != product or kinds.setdefault(int(coarse), kind) != kind:
                raise DataError(f"grocery: {path} line {number}: id {fine} or {coarse} has two names")
            kind_of[int(fine)] = int(coarse)
    for what, names in (("fine", products), ("coarse", kinds)):
        if sorted(names) != list(range(len(names))) or len(set(names.values())) != len(names) or not names:
            raise DataError(f"grocery: {path}: the {what} ids must be 0, 1, 2, ... and each have its own name")
    return products, kinds, kind_of


def _in_order(names: dict[int, str]) -> list[str]:
    return [names[label] for label in range(len(names))]
