"""DyML-Product, of Dynamic Metric Learning (Sun et al., CVPR 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pertinent.data.datasets._dyml import (
    dyml_folder,
    open_part,
    read_labels,
    tree,
    write_example_file,
    write_example_train,
)
from pertinent.data.datasets._unseen import TrainingClasses
from pertinent.data.table import ImageTable

__all__ = ["DyMLProduct"]

_PARTS = {"train": "train", "test": "mini-bmk_all_in_one"}


class DyMLProduct:
    """DyML-Product: pictures of products labelled fine, middle and coarse (a tree of 3 levels).

    The layout is the published one: `train/label.csv` with `train/imgs/`, and `mini-bmk_all_in_one/label.csv` with its
    `imgs/`; lines `fname, coarse_id, middle_id, fine_id`. The published header has the first picture glued to it, which
    is kept. Classes are named by their published numbers, those of test `test/7`, as the two are numbered apart.

    Args:
        root: the folder of `train`, or the folder around it.
        holdout: share of the fine training classes that become the split `val`, to choose by; then `train` has the
            others, and `trainval` all.

    Raises:
        DataError: a file is missing, a line is wrong, or a class is under two others; names it.
        InputError: the share is not 0 to below 1.
    """

    def __init__(self, root: Path | str | None, *, holdout: float = 0.0) -> None:
        self._folder = dyml_folder(root, "dyml_product")
        self._listed = {
            name: tree(
                read_labels(self._folder / part / "label.csv", 3, "dyml_product"),
                "" if name == "train" else "test/",
                "dyml_product",
            )
            for name, part in _PARTS.items()
        }
        classes = dict(enumerate(self._listed["train"].class_names[0]))
        self._training = TrainingClasses(classes, holdout, "dyml_product")
        self.splits: Sequence[str] = (*self._training.splits, "test")

    def split(self, name: str) -> ImageTable:
        """Read one split; ids are the listed names.

        Raises:
            DataError: listed pictures are missing.
        """
        self._training.require(name, self.splits)
        listed, part = (
            self._listed["test" if name == "test" else "train"],
            _PARTS["test" if name == "test" else "train"],
        )
        if name != "test":
            listed = listed.part(self._training.rows(name, listed.labels[:, 0]), f"dyml_product: {name}")
        return listed.table(open_part(self._folder / part, "imgs", listed.paths, "dyml_product"))

    @classmethod
    def example(cls, root: Path) -> None:
        """Write a tiny copy of the layout: 8 training and 6 test pictures, with the published headers."""
        write_example_train(root)
        columns = ("coarse_id", "middle_id", "fine_id")
        rows = [(0, 0, 1), (0, 0, 1), (0, 1, 2), (0, 1, 2), (3, 2, 9), (3, 2, 9)]
        write_example_file(root / _PARTS["test"] / "label.csv", columns, "imgs", rows, 20)
