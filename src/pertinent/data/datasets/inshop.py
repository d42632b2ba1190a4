"""In-Shop Clothes Retrieval, of DeepFashion (Liu et al., CVPR 2016)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pertinent.data.datasets._lists import find_folder, find_pictures, read_text
from pertinent.data.datasets._parts import root_folder, write_example_picture
from pertinent.data.datasets._unseen import Listed, TrainingClasses
from pertinent.data.table import ImageTable, Judgement
from pertinent.errors import DataError

__all__ = ["InShop"]

_ORIGIN = (
    "it comes on request from mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html, the list in Eval, "
    "the pictures in Img/img.zip"
)
_LIST = "list_eval_partition.txt"
_HEADER = ("image_name", "item_id", "evaluation_status")
_AROUND = ("", "Inshop_Clothes/", "In-shop Clothes Retrieval Benchmark/")
_STATUSES = ("train", "query", "gallery")


class InShop:
    """In-Shop Clothes: photographs of 7,982 clothing items; queries find others of their item in a gallery.

    The layout is the published one: `Eval/list_eval_partition.txt` (or beside `Img`), with lines `image_name item_id
    evaluation_status`, and the pictures at `Img/img/...`, `img/...`, or in a zip file in `Img` or beside it.

    Splits `train`, `query` and `gallery` are those of the list, of kind classes; items are numbered over all of them.
    `test` is of kind judged: the gallery, then the queries, which are searched with and never found, with all pictures
    of their item as `ok`.

    Args:
        root: the folder of `Eval` and `Img`, or the folder around it.
        holdout: share of the training items that become the split `val`, to choose by; then `train` has the others,
            and `trainval` all.

    Raises:
        DataError: the list is missing, short or wrong.
        InputError: the share is not 0 to below 1.
    """

    expected: Mapping[str, int] = MappingProxyType({"train": 25_882, "query": 14_218, "gallery": 12_612})
    """How many pictures were published, by split."""

    galleries: ClassVar[Mapping[str, str]] = {"query": "gallery"}
    """In which split the pictures of a split search, where that is another."""

    def __init__(self, root: Path | str | None, *, holdout: float = 0.0) -> None:
        places = [f"{around}{part}" for part in ("Eval", "") for around in _AROUND]
        lists = find_folder(root_folder(root, "inshop"), places, [_LIST], "inshop", _ORIGIN)
        self._folder = lists.parent if lists.name == "Eval" else lists
        paths, items, statuses = _read(lists / _LIST)
        names = sorted(set(items))
        number = {name: label for label, name in enumerate(names)}
        labels = np.array([number[item] for item in items], np.int64)
        self._listed = Listed(paths, labels[:, None], ["item"], [names])
        self._status = np.array(statuses)
        trained = np.unique(labels[self._status == "train"])
        both = np.intersect1d(trained, labels[self._status != "train"])
        if both.size:
            raise DataError(f"inshop: {lists / _LIST} has {names[both[0]]} in train and in query or gallery")
        self._training = TrainingClasses({label: names[label] for label in trained.tolist()}, holdout, "inshop")
        self.splits: Sequence[str] = (*self._training.splits, "query", "gallery", "test")
        self.expected = self._training.published(type(self).expected)

    def split(self, name: str) -> ImageTable:
        """Read one split; ids are the listed paths.

        Raises:
            DataError: listed pictures are missing.
        """
        self._training.require(name, self.splits)
        if name == "test":
            return self._test()
        labels = self._listed.labels[:, 0]
        rows = self._rows(name) if name in _STATUSES[1:] else self._training.rows(name, labels)
        return self._table(rows, name)

    def _test(self) -> ImageTable:
        gallery, queries = self._rows("gallery"), self._rows("query")
        labels = self._listed.labels[:, 0]
        same: dict[int, list[int]] = defaultdict(list)
        for position, label in enumerate(labels[gallery].tolist()):
            same[label].append(position)
        asked = labels[queries].tolist()
        judgements = [Judgement(len(gallery) + row, ok=tuple(same[label])) for row, label in enumerate(asked)]
        both = self._table(np.concatenate([gallery, queries]), "test")
        return ImageTable(both.ids, both.source, "judged", judgements=judgements, probes=len(queries))

    def _rows(self, status: str) -> NDArray[np.int64]:
        return np.flatnonzero(self._status == status)

    def _table(self, rows: NDArray[np.int64], name: str) -> ImageTable:
        part = self._listed.part(rows, f"inshop: {name}")
        zipped = not (self._folder / "Img" / "img").is_dir() and any((self._folder / "Img").glob("*.zip"))
        root = self._folder / "Img" if zipped else self._folder
        return part.table(find_pictures(root, part.paths, ("Img", ""), "inshop", _ORIGIN))

    @classmethod
    def example(cls, root: Path) -> None:
        """Write a tiny copy of the layout: 4 training items, 2 others with a query and 2 gallery pictures each."""
        folder = root / "Inshop_Clothes"
        rows = [(f"id_{1 + number // 2:08}", "train", 1 + number % 2) for number in range(8)]
        rows += [
            (f"id_{item:08}", ("query", "gallery", "gallery")[view], view + 1) for item in (5, 6) for view in range(3)
        ]
        lines = [str(len(rows)), " ".join(_HEADER)]
        for number, (item, status, view) in enumerate(rows):
            path = f"img/WOMEN/Dresses/{item}/{view:02}_1_front.png"
            write_example_picture(folder / "Img" / path, number)
            lines.append(f"{path} {item} {status}")
        (folder / "Eval").mkdir()
        (folder / "Eval" / _LIST).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _read(path: Path) -> tuple[list[str], list[str], list[str]]:
    """Paths, items and statuses."""
    lines = [line.split() for line in read_text(path, "inshop", _ORIGIN).splitlines()]
    if len(lines) < 2 or len(lines[0]) != 1 or not lines[0][0].isdecimal() or tuple(lines[1]) != _HEADER:
        raise DataError(f"inshop: {path} must begin with the number of pictures and '{' '.join(_HEADER)}'; {_ORIGIN}")
    rows = []
    for number, words in enumerate(lines[2:], 3):
        if not words:
            continue
        if len(words) != 3 or words[2] not in _STATUSES:
            raise DataError(
                f"inshop: {path} line {number}: expected 'path item status' with status {', '.join(_STATUSES)}, "
                f"got {' '.join(words)!r}"
            )
        rows.append(words)
    if len(rows) != int(lines[0][0]) or not rows:
        raise DataError(f"inshop: {path} says that it has {lines[0][0]} pictures and lists {len(rows)}; copy it again")
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]
