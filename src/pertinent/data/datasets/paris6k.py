"""Paris Buildings (Philbin et al., CVPR 2008), the classic protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pertinent.data.datasets.landmarks import LandmarkList, write_example

__all__ = ["Paris6k"]


class Paris6k(LandmarkList):
    """Paris6k: 6,392 photographs of Paris and 55 queries, judged by the classic protocol (ok, junk).

    The queries are photographs of the gallery, cut to a box. Splits `test`, `gallery`, `queries`, as for `landmarks`.

    Args:
        root: the folder that holds `jpg/` and `gnd_paris6k.pkl`, or folders `paris6k` that do.

    Raises:
        DataError: the ground truth or pictures are missing.
    """

    reader: ClassVar[str] = "paris6k"
    folders: ClassVar[Sequence[str]] = ("", "paris6k")
    expected: ClassVar[Mapping[str, int]] = {"gallery": 6392, "queries": 55}
    origin: ClassVar[str] = (
        "gnd_paris6k.pkl comes from cmp.felk.cvut.cz/cnnimageretrieval/data/test/paris6k, "
        "the pictures from www.robots.ox.ac.uk/~vgg/data/parisbuildings (paris_1-v1.tgz, paris_2-v1.tgz)"
    )
    example_options: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, root: Path | str | None) -> None:
        super().__init__(root, truth="gnd_paris6k.pkl")

    @classmethod
    def example(cls, root: Path) -> None:
        """Write `gnd_paris6k.pkl` and `jpg/` with 6 pictures and 2 queries that are in the gallery."""
        write_example(root, "gnd_paris6k.pkl", classic=True)
