"""PASCAL VOC2012 (Everingham et al., IJCV 2015), the objects of a picture as its tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pertinent.data.datasets._voc import VOC, write_example_devkit

__all__ = ["VOC2012"]


class VOC2012(VOC):
    """VOC2012: 11,540 photographs tagged with the 20 classes of the objects in them; those of its test are not public.

    Splits `train`, `val`, `trainval`, those whose list is there. The hashing papers learn on `train`, and rank it for
    `query`, which means `val`; `database` and `gallery` mean the whole of `train`. So choosing between epochs by `val`
    chooses by the test: `held_out=0.1` makes a tenth of `train`, by the hash of the names, the split `held_out`. Ids
    are the pictures' names.

    Args:
        root: the folder above `VOCdevkit`, that folder, or `VOC2012` in it.
        difficult: whether an object that is marked difficult counts; default yes, as in HyP².
        held_out: share of `train` to keep for choosing between epochs; default none.

    Raises:
        DataError: no list, or a list, an annotation or a picture is missing or wrong; names it.
        InputError: `held_out` is not a share.
    """

    reader: ClassVar[str] = "voc2012"
    sets: ClassVar[Sequence[str]] = ("train", "val", "trainval")
    also: ClassVar[Mapping[str, str]] = {"query": "val", "database": "train", "gallery": "train"}
    expected: Mapping[str, int] = {"train": 5717, "val": 5823, "trainval": 11540}
    """How many pictures the published splits have."""
    galleries: ClassVar[Mapping[str, str]] = {"val": "train"}
    """In which split the pictures of a split search, where that is another."""
    origin: ClassVar[str] = "VOCtrainval_11-May-2012.tar comes from thor.robots.ox.ac.uk/pascal/VOC/voc2012"

    def __init__(self, root: Path | str | None, *, difficult: bool = True, held_out: float = 0.0) -> None:
        super().__init__(root, difficult=difficult, held_out=held_out)
        if held_out:
            self.expected = {name: count for name, count in self.expected.items() if name != "train"}

    @classmethod
    def example(cls, root: Path) -> None:
        """Write `VOCdevkit/VOC2012` with 6 pictures in train and 4 in val."""
        sets = {"train": range(1, 7), "val": range(7, 11), "trainval": range(1, 11)}
        write_example_devkit(root, "VOC2012", sets)
