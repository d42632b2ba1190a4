"""Pictures and their classes in a JSON file, where a class may be left open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pertinent.data.datasets._lists import (
    Listing,
    Place,
    as_label,
    find_pictures,
    first_seen,
    listed_table,
    read_object,
)
from pertinent.data.datasets._parts import require_split, root_folder, write_example_picture
from pertinent.data.table import ImageTable
from pertinent.errors import DataError

__all__ = ["Clusters"]


class Clusters:
    """Your JSON `{path: class}`, where class `null` means that the picture belongs to no class.

    Split `all` has the pictures with a class, numbered as they first appear; split `null`, when there are any, has the
    others, without labels. Ids are the listed paths.

    Args:
        root: folder of the file.
        file: the JSON file, relative to `root`.
        images: folder of the pictures, relative to `root`; they may also lie in a zip file in `root`.

    Raises:
        DataError: the file is missing or no such object, a path is listed twice, a class is neither a name, a number
            nor null, or no picture has a class.
    """

    example_options: ClassVar[Mapping[str, Any]] = {"file": "clusters.json"}

    def __init__(self, root: Path | str | None, *, file: str, images: str = "") -> None:
        self.root = root_folder(root, "clusters")
        path = self.root / file
        entries = read_object(path, "clusters", "file=LIST names the file")
        place = Place("clusters", path, "entry")
        labelled = [
            (name, as_label(label, place.at(number)))
            for number, (name, label) in enumerate(entries, 1)
            if label is not None
        ]
        if not labelled:
            raise DataError(f"clusters: {path} gives no picture a class")
        self._images = images
        self._parts = {"all": Listing([name for name, _ in labelled], [label for _, label in labelled])}
        left_out = [name for name, label in entries if label is None]
        if left_out:
            self._parts["null"] = Listing(left_out)
        self._names = first_seen(self._parts["all"].labels)
        self.splits: Sequence[str] = list(self._parts)

    def split(self, name: str) -> ImageTable:
        """Read `all` or `null`.

        Raises:
            DataError: listed pictures are missing.
        """
        require_split(name, self.splits)
        part = self._parts[name]
        source = find_pictures(self.root, part.paths, (self._images,), "clusters")
        return listed_table(part, source, self._names, "class")

    @classmethod
    def example(cls, root: Path) -> None:
        """Write `clusters.json` and 5 pictures: 2 classes and one picture without."""
        lines = []
        for number, label in enumerate(('"bridge"', '"tower"', "null", '"tower"', '"bridge"')):
            write_example_picture(root / "images" / f"{number}.png", number)
            lines.append(f'"images/{number}.png": {label}')
        (root / "clusters.json").write_text("{" + ",\n ".join(lines) + "}\n", encoding="utf-8")
