"""DyML-Animal, of Dynamic Metric Learning (Sun et al., CVPR 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pertinent.data.datasets._dyml import LEVELS
from pertinent.data.datasets._dyml_levels import DyMLLevels, write_example
from pertinent.data.table import ImageTable

__all__ = ["DyMLAnimal"]


class DyMLAnimal:
    """DyML-Animal: pictures of animals labelled fine, middle and coarse, and tested level by level.

    The layout is the published one: `train/label.csv`, with lines `fname, coarse_id, middle_id, fine_id`, and
    `train/imgs/`; and for each level `bmk_fine/query.csv` and `gallery.csv`, with lines `fname, labels`, and folders
    `query/` and `gallery/` of pictures. The published headers have the first picture glued to them, which is kept.

    `train` is a tree of 3 levels. `query_fine`, `gallery_fine`, and the same of `middle` and `coarse`, are trees of
    their one level, of which the queries are to be ranked against the gallery. A gallery holds its queries too: where
    it has the same file, the query bears the id of that, so that it is left out of its own ranking. Classes are named
    by their published numbers, those of the tests `bmk_fine/7`, as each is numbered apart.

    Args:
        root: the folder of `train`, or the folder around it.
        holdout: share of the fine training classes that become the split `val`, to choose by; then `train` has the
            others, and `trainval` all.

    Raises:
        DataError: a file is missing, a line is wrong, or a class is under two others; names it.
        InputError: the share is not 0 to below 1.
    """

    galleries: ClassVar[Mapping[str, str]] = {f"query_{level}": f"gallery_{level}" for level in LEVELS}
    """In which split the pictures of a split search, where that is another."""

    def __init__(self, root: Path | str | None, *, holdout: float = 0.0) -> None:
        self._reader = DyMLLevels(root, "dyml_animal", holdout)
        self.splits: Sequence[str] = self._reader.splits

    def split(self, name: str) -> ImageTable:
        """Read one split; ids are the listed names, of tests paths such as `bmk_fine/query/0.jpg`.

        Raises:
            DataError: listed pictures are missing.
        """
        return self._reader.split(name)

    @classmethod
    def example(cls, root: Path) -> None:
        """Write a tiny copy of the layout: 8 training pictures, and for each level 2 queries in a gallery of 6."""
        write_example(root)
