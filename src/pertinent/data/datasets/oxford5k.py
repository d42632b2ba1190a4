"""Oxford Buildings (Philbin et al., CVPR 2007), the classic protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pertinent.data.datasets.landmarks import LandmarkList, write_example

__all__ = ["Oxford5k"]


class Oxford5k(LandmarkList):
    """Oxford5k: 5,063 photographs of Oxford and 55 queries, judged by the classic protocol (ok, junk).

    The queries are photographs of the gallery, cut to a box. Splits `test`, `gallery`, `queries`, as for `landmarks`.

    Args:
        root: the folder that holds `jpg/` and `gnd_oxford5k.pkl`, or folders `oxford5k` that do.

    Raises:
        DataError: the ground truth or pictures are missing.
    """

    reader: ClassVar[str] = "oxford5k"
    folders: ClassVar[Sequence[str]] = ("", "oxford5k")
    expected: ClassVar[Mapping[str, int]] = {"gallery": 5063, "queries": 55}
    origin: ClassVar[str] = (
        "gnd_oxford5k.pkl comes from cmp.felk.cvut.cz/cnnimageretrieval/data/test/oxford5k, "
        "the pictures from www.robots.ox.ac.uk/~vgg/data/oxbuildings (oxbuild_images-v1.tgz)"
    )
    example_options: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, root: Path | str | None) -> None:
        super().__init__(root, truth="gnd_oxford5k.pkl")

    @classmethod
    def example(cls, root: Path) -> None:
        """Write `gnd_oxford5k.pkl` and `jpg/` with 6 pictures and 2 queries that are in the gallery."""
        write_example(root, "gnd_oxford5k.pkl", classic=True)
