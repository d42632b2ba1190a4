"""Landmarks-clean (Gordo et al., ECCV 2016), the cleaned part of the Landmarks data set (Babenko et al., ECCV 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pertinent.data.datasets._split_lists import SplitLists, write_example_lists
from pertinent.data.table import ImageTable

__all__ = ["LandmarksClean"]

_LABELLED = {
    "train": "annotations/annotation_clean_train.txt",
    "val": "annotations/annotation_clean_val.txt",
    "extra": "annotations/extra_landmark_images.txt",
}
_ORIGIN = "the lists come from NAVER LABS Europe's page on Deep Image Retrieval; the pictures lie beside annotations/"


class LandmarksClean:
    """Landmarks-clean: web photographs of 586 landmarks, verified by their geometry.

    Splits `train` and `val` (annotation_clean_train.txt, annotation_clean_val.txt) and `extra`
    (extra_landmark_images.txt), those whose list is there, of kind classes. Landmarks are numbered as they first
    appear in the lists, in this order. Lines are `path label`, and perhaps four numbers, a box, which is left alone.
    The published lists give addresses of pictures: put the paths of your copies in their place.

    Args:
        root: the folder that holds `annotations/`, or a folder `landmarks` that does.

    Raises:
        DataError: none of the lists is there.
    """

    def __init__(self, root: Path | str | None) -> None:
        self._lists = SplitLists(
            root, "landmarks_clean", folders=("", "landmarks"), labelled=_LABELLED, plain={}, origin=_ORIGIN
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
        write_example_lists(root, _LABELLED, {})
