"""NUS-WIDE (Chua et al., CIVR 2009) with its 21 most frequent concepts, as the hashing papers deal it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pertinent.data.datasets.tag_list import TagList, write_example_lists

__all__ = ["NUSWide"]


class NUSWide(TagList):
    """NUS-WIDE-21: web photographs with 21 concepts, split by the hashing papers' lists.

    Splits `train` (10,500), `query` (2,100) and `database`, those whose list is there; `test` also means `query`, and
    `gallery` means `database`. The database of DeepHash's lists holds the training pictures; other copies may not. With
    `held_out`, that share of `train` becomes the split `held_out`. Lists of 81 concepts are for the reader `tag_list`.

    Args:
        root: the folder that holds `train.txt`, `test.txt`, `database.txt` (lines `images/NAME.jpg 0 1 ...`) and
            `images/`, or a folder `nus_wide` or `nuswide_21` that does.
        tags: file with the 21 names, one a line; default `tag 1`, ..., since the lists do not tell.
        held_out: share of `train` to keep for choosing between epochs; default none.

    Raises:
        DataError: there is no list, a line is wrong; names it.
        InputError: `held_out` is not a share, or there is no `train` to take it from.
    """

    reader: ClassVar[str] = "nuswide"
    folders: ClassVar[Sequence[str]] = ("", "nus_wide", "nuswide_21")
    files: ClassVar[Mapping[str, str]] = {"train": "train.txt", "query": "test.txt", "database": "database.txt"}
    count: ClassVar[int | None] = 21
    origin: ClassVar[str] = (
        "the lists are those of github.com/swuxyj/DeepHash-pytorch (data/nuswide_21), the pictures come from "
        "https://lms.comp.nus.edu.sg/wp-content/uploads/2019/research/nuswide/NUS-WIDE.html"
    )
    expected: Mapping[str, int] = {"train": 10_500, "query": 2_100}
    """How many pictures the published splits have."""

    def __init__(self, root: Path | str | None, *, tags: str | None = None, held_out: float = 0.0) -> None:
        super().__init__(root, tags=tags, held_out=held_out)
        if held_out:
            self.expected = {"query": self.expected["query"]} if self.expected else {}

    @classmethod
    def example(cls, root: Path) -> None:
        """Write the three lists with 4 pictures each, and the pictures."""
        write_example_lists(root, tags=21)
