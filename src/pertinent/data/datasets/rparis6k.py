"""Revisited Paris (Radenovic et al., CVPR 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pertinent.data.datasets.landmarks import LandmarkList, write_example

__all__ = ["RParis6k"]


class RParis6k(LandmarkList):
    """RParis6k: 6,322 photographs of Paris and 70 queries, judged easy, hard or junk.

    The pictures are those of `paris6k`. Splits `test`, `gallery`, `queries`, as for `landmarks`.

    Args:
        root: the folder that holds `jpg/` and `gnd_rparis6k.pkl`, or folders `rparis6k` or `paris6k` that do.

    Raises:
        DataError: the ground truth or pictures are missing.
    """

    reader: ClassVar[str] = "rparis6k"
    folders: ClassVar[Sequence[str]] = ("", "rparis6k", "paris6k")
    expected: ClassVar[Mapping[str, int]] = {"gallery": 6322, "queries": 70}
    origin: ClassVar[str] = (
        "gnd_rparis6k.pkl comes from cmp.felk.cvut.cz/cnnimageretrieval/data/test/rparis6k, "
        "the pictures from www.robots.ox.ac.uk/~vgg/data/parisbuildings (paris_1-v1.tgz, paris_2-v1.tgz)"
    )
    example_options: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, root: Path | str | None) -> None:
        super().__init__(root, truth="gnd_rparis6k.pkl")

    @classmethod
    def example(cls, root: Path) -> None:
        """Write `gnd_rparis6k.pkl` and `jpg/` with 6 pictures and 2 queries."""
        write_example(root, "gnd_rparis6k.pkl", classic=False)
