"""Landmarks18, the lists of Google-Landmarks of 2018 that Deep Image Retrieval uses (Revaud et al., ICCV 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pertinent.data.datasets._split_lists import SplitLists, write_example_lists
from pertinent.data.table import ImageTable

__all__ = ["Landmarks18"]

_LABELLED = {
    name: f"lists/{name}.txt"
    for name in ("train", "train_all", "train_lite", "train_mid", "train_5K", "val", "val_distractors")
}
_PLAIN = {name: f"lists/{name}.txt" for name in ("index", "index_new", "test", "train_pca", "missing_index")}
_ORIGIN = "the lists come with Deep Image Retrieval, the pictures from Google-Landmarks; both lie in one folder"


class Landmarks18:
    """Landmarks18: Google-Landmarks of 2018 in the lists of Deep Image Retrieval.

    Of kind classes are `train`, `train_all`, `train_lite`, `train_mid`, `train_5K`, `val` and `val_distractors`;
    without labels `index`, `index_new`, `test`, `train_pca` and `missing_index`. The splits are those whose list is
    there. Landmarks are numbered as they first appear in the lists, in this order.


    Args:
        root: the folder that holds `lists/`, or a folder `landmarks18` that does.

    Raises:
        DataError: none of the lists is there.
    """

    def __init__(self, root: Path | str | None) -> None:
        self._lists = SplitLists(
            root, "landmarks18", folders=("", "landmarks18"), labelled=_LABELLED, plain=_PLAIN, origin=_ORIGIN
        )
        self.splits: Sequence[str] = self._lists.splits

    def split(self, name: str) -> ImageTable:
        """Read one split; ids are the listed paths.

        Raises:
            DataError: its list is missing, a line is wrong, or listed pictures are missing.
        """
        return self._lists.split(name)

    @classmethod
    def example(cls, root: Path) -> None:
        """Write every list with 4 pictures of its own, of 2 landmarks; and the pictures."""
        write_example_lists(root, _LABELLED, _PLAIN)
