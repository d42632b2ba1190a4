"""R1M, the distractors of Revisited Oxford and Paris (Radenovic et al., CVPR 2018)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pertinent.data.datasets._lists import find_folder, find_pictures, read_list
from pertinent.data.datasets._parts import require_split, root_folder, write_example_picture
from pertinent.data.table import ImageTable

__all__ = ["R1M"]

_LIST = "revisitop1m.txt"
_FOLDERS = ("", "revisitop1m")
_ORIGIN = "list and pictures come from ptak.felk.cvut.cz/revisitop/revisitop1m (100 archives under jpg)"


class R1M:
    """R1M: a million photographs that show neither Oxford nor Paris, to make those benchmarks harder.

    Without labels, as split `all`; `concatenate` puts them into a benchmark's gallery. Ids are the listed paths.

    Args:
        root: the folder that holds `revisitop1m.txt` and `jpg/`, or a folder `revisitop1m` that does.

    Raises:
        DataError: the list is missing.
    """

    expected: ClassVar[Mapping[str, int]] = {"all": 1_001_001}
    """How many pictures there are."""

    def __init__(self, root: Path | str | None) -> None:
        self.root = root_folder(root, "r1m")
        self.splits: Sequence[str] = ["all"]
        self._list = find_folder(self.root, _FOLDERS, [_LIST], "r1m", _ORIGIN) / _LIST

    def split(self, name: str) -> ImageTable:
        """Read `all`.

        Raises:
            DataError: listed pictures are missing, or one is listed twice.
        """
        require_split(name, self.splits)
        paths = read_list(self._list, "r1m", labels=False).paths
        return ImageTable(paths, find_pictures(self._list.parent, paths, ("jpg",), "r1m", _ORIGIN))

    @classmethod
    def example(cls, root: Path) -> None:
        """Write `revisitop1m.txt` and `jpg/` with 4 pictures."""
        paths = [f"{number // 2}/{number}.jpg" for number in range(4)]
        for number, path in enumerate(paths):
            write_example_picture(root / "jpg" / path, number)
        (root / _LIST).write_text("\n".join(paths) + "\n", encoding="utf-8")
