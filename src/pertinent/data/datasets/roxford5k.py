"""Revisited Oxford (Radenovic et al., CVPR 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pertinent.data.datasets.landmarks import LandmarkList, write_example

__all__ = ["ROxford5k"]


class ROxford5k(LandmarkList):
    """ROxford5k: 4,993 photographs of Oxford and 70 queries, judged easy, hard or junk.

    The pictures are those of `oxford5k`. Splits `test`, `gallery`, `queries`, as for `landmarks`.

    Args:
        root: the folder that holds `jpg/` and `gnd_roxford5k.pkl`, or folders `roxford5k` or `oxford5k` that do.

    Raises:
        DataError: the ground truth or pictures are missing.
    """

    reader: ClassVar[str] = "roxford5k"
    folders: ClassVar[Sequence[str]] = ("", "roxford5k", "oxford5k")
    expected: ClassVar[Mapping[str, int]] = {"gallery": 4993, "queries": 70}
    origin: ClassVar[str] = (
        "gnd_roxford5k.pkl comes from cmp.felk.cvut.cz/cnnimageretrieval/data/test/roxford5k, "
        "the pictures from www.robots.ox.ac.uk/~vgg/data/oxbuildings (oxbuild_images-v1.tgz)"
    )
    example_options: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, root: Path | str | None) -> None:
        super().__init__(root, truth="gnd_roxford5k.pkl")

    @classmethod
    def example(cls, root: Path) -> None:
        """Write `gnd_roxford5k.pkl` and `jpg/` with 6 pictures and 2 queries."""
        write_example(root, "gnd_roxford5k.pkl", classic=False)
