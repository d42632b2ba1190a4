"""The pictures of a kapture, the format of visual localisation tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pertinent.data.datasets._lists import find_pictures
from pertinent.data.datasets._parts import require_split, root_folder, write_example_picture
from pertinent.data.table import ImageTable
from pertinent.errors import DataError

__all__ = ["Kapture"]


class Kapture:
    """The pictures that `sensors/records_camera.txt` lists, from `sensors/records_data`, without labels.

    Embeddings of them can be written back as global features: `pertinent embed MODEL kapture:all --kapture NAME`.

    Args:
        root: the kapture's folder.

    Raises:
        DataError: the list is missing or not one, or a listed picture is missing.
    """

    splits: Sequence[str] = ("all",)

    def __init__(self, root: Path | str | None) -> None:
        self.root = root_folder(root, "kapture")

    def split(self, name: str) -> ImageTable:
        """Read the list; ids are the pictures' paths as it says, each once."""
        require_split(name, self.splits)
        listed = self.root / "sensors" / "records_camera.txt"
        if not listed.is_file():
            raise DataError(f"kapture: {listed} is missing; root is the folder that holds sensors/")
        paths = list(dict.fromkeys(_paths(listed)))
        if not paths:
            raise DataError(f"kapture: {listed} lists no picture")
        return ImageTable(paths, find_pictures(self.root / "sensors", paths, ("records_data",), "kapture"))

    @classmethod
    def example(cls, root: Path) -> None:
        """Write two cameras with two pictures each."""
        lines = ["# kapture format: 1.1", "# timestamp, device_id, image_path"]
        for number in range(4):
            path = f"cam{number % 2}/{number:04d}.png"
            write_example_picture(root / "sensors" / "records_data" / path, number)
            lines.append(f"{number // 2}, cam{number % 2}, {path}")
        (root / "sensors" / "records_camera.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _paths(listed: Path) -> list[str]:
    found = []
    for number, line in enumerate(listed.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) < 3:
            raise DataError(f"kapture: {listed} line {number} needs timestamp, camera, path; got {line!r}")
        found.append(cells[2])
    return found
