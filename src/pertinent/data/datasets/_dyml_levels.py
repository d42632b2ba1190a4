"""The two data sets of Dynamic Metric Learning that are tested level by level, each with pictures of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pertinent.data.datasets._dyml import (
    LEVELS,
    copies,
    dyml_folder,
    open_part,
    read_labels,
    tree,
    write_example_file,
    write_example_train,
)
from pertinent.data.datasets._unseen import Listed, TrainingClasses, numbered
from pertinent.data.table import ImageTable

_SIDES = ("query", "gallery")


class DyMLLevels:
    """`train`, perhaps `val` and `trainval`, and for each level `query_LEVEL` and `gallery_LEVEL`.

    Args:
        root: the folder of `train`, or the folder around it.
        reader: named in errors.
        holdout: share of the fine training classes for `val`.

    Raises:
        DataError: a file is missing or wrong.
        InputError: the share is not 0 to below 1.
    """

    def __init__(self, root: Path | str | None, reader: str, holdout: float) -> None:
        self._reader, self._folder = reader, dyml_folder(root, reader)
        self._train = tree(read_labels(self._folder / "train" / "label.csv", len(LEVELS), reader), "", reader)
        self._training = TrainingClasses(dict(enumerate(self._train.class_names[0])), holdout, reader)
        self._tests = {level: self._test(level) for level in LEVELS}
        tests = (f"{side}_{level}" for level in LEVELS for side in _SIDES)
        self.splits: Sequence[str] = (*self._training.splits, *tests)

    def split(self, name: str) -> ImageTable:
        """Read one split; raises DataError when listed pictures are missing."""
        self._training.require(name, self.splits)
        if name in self._training.splits:
            rows = self._training.rows(name, self._train.labels[:, 0])
            part = self._train.part(rows, f"{self._reader}: {name}")
            return part.table(open_part(self._folder, "train/imgs", part.paths, self._reader))
        side, _, level = name.partition("_")
        listed = self._tests[level]
        sources = {
            part: open_part(self._folder, f"bmk_{level}/{part}", listed[part].paths, self._reader) for part in _SIDES
        }
        ids = {part: [f"bmk_{level}/{part}/{path}" for path in listed[part].paths] for part in _SIDES}
        if side == "query":
            # The gallery holds the queries as well. One name for both keeps a query out of its own ranking.
            for row, place in copies(sources["query"], sources["gallery"]).items():
                ids["query"][row] = ids["gallery"][place]
        mine = listed[side]
        return ImageTable(ids[side], sources[side], "tree", mine.labels, mine.level_names, mine.class_names)

    def _test(self, level: str) -> dict[str, Listed]:
        parts = {side: read_labels(self._folder / f"bmk_{level}" / f"{side}.csv", 1, self._reader) for side in _SIDES}
        found, numbers = numbered(np.concatenate([part.numbers for part in parts.values()]))
        names = [[f"bmk_{level}/{number}" for number in found.tolist()]]
        shares = np.split(numbers, [len(parts["query"].names)])
        return {side: Listed(parts[side].names, own, [level], names) for side, own in zip(_SIDES, shares, strict=True)}


def write_example(root: Path) -> None:
    """Write a tiny copy of the layout: 8 training pictures, and for each level 2 queries in a gallery of 6."""
    write_example_train(root)
    for number, level in enumerate(LEVELS):
        folder, first = root / f"bmk_{level}", 20 + 10 * number
        gallery = [(4,), (4,), (4,), (11,), (11,), (9,)]
        write_example_file(folder / "gallery.csv", ["labels"], "gallery", gallery, first)
        write_example_file(folder / "query.csv", ["labels"], "query", [(4,), (11,)], first)
        # The queries are the gallery's pictures 1 and 3.
        for query, place in enumerate((1, 3)):
            (folder / "query" / f"{query}.jpg").write_bytes((folder / "gallery" / f"{place}.jpg").read_bytes())
