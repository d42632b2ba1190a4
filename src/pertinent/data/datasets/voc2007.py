"""PASCAL VOC2007 (Everingham et al., IJCV 2010), the objects of a picture as its tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pertinent.data.datasets._voc import VOC, write_example_devkit

__all__ = ["VOC2007"]


class VOC2007(VOC):
    """VOC2007: 9,963 photographs tagged with the 20 classes of the objects in them.

    Splits `train`, `val`, `trainval`, `test`, those whose list is there. The hashing papers learn on `trainval`, and
    rank it for `query`, which means `test`; `database` and `gallery` mean `trainval`. Ids are the pictures' numbers.

    Args:
        root: the folder above `VOCdevkit`, that folder, or `VOC2007` in it.
        difficult: whether an object that is marked difficult counts; default yes, as in HyP².

    Raises:
        DataError: no list, or a list, an annotation or a picture is missing or wrong; names it.
    """

    reader: ClassVar[str] = "voc2007"
    sets: ClassVar[Sequence[str]] = ("train", "val", "trainval", "test")
    also: ClassVar[Mapping[str, str]] = {"query": "test", "database": "trainval", "gallery": "trainval"}
    expected: Mapping[str, int] = {"train": 2501, "val": 2510, "trainval": 5011, "test": 4952}
    """How many pictures the published splits have."""
    galleries: ClassVar[Mapping[str, str]] = {"test": "trainval"}
    """In which split the pictures of a split search, where that is another."""
    origin: ClassVar[str] = (
        "VOCtrainval_06-Nov-2007.tar and VOCtest_06-Nov-2007.tar come from thor.robots.ox.ac.uk/pascal/VOC/voc2007"
    )

    def __init__(self, root: Path | str | None, *, difficult: bool = True) -> None:
        super().__init__(root, difficult=difficult)

    @classmethod
    def example(cls, root: Path) -> None:
        """Write `VOCdevkit/VOC2007` with 4 pictures in train, in val and in test."""
        sets = {"train": range(1, 5), "val": range(5, 9), "trainval": range(1, 9), "test": range(9, 13)}
        write_example_devkit(root, "VOC2007", sets)
