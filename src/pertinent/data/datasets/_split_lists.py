"""Data sets that are a folder of lists, one a split, all of the same pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from pertinent.data.datasets._lists import (
    Listing,
    find_folder,
    find_pictures,
    first_seen,
    listed_table,
    read_list,
)
from pertinent.data.datasets._parts import require_split, root_folder, write_example_picture
from pertinent.data.table import ImageTable
from pertinent.errors import DataError


class SplitLists:
    """Reads the splits of a published folder of lists; the splits here are those whose list is there.

    Classes are numbered as they first appear over the labelled lists, in the order of `labelled`.

    Args:
        root: the data set's folder, or the folder around it.
        reader: named in errors.
        folders: where below `root` the data set may lie.
        labelled: list of each split whose lines are `path label`, relative to the data set's folder.
        plain: list of each split whose lines are paths.
        origin: where the data set comes from.

    Raises:
        DataError: there is none of the lists.
    """

    def __init__(
        self,
        root: Path | str | None,
        reader: str,
        *,
        folders: Sequence[str],
        labelled: Mapping[str, str],
        plain: Mapping[str, str],
        origin: str,
    ) -> None:
        files = {**labelled, **plain}
        self._folder = find_folder(root_folder(root, reader), folders, list(files.values()), reader, origin)
        self._files = {name: self._folder / file for name, file in files.items()}
        self._labelled, self._reader, self._origin = labelled, reader, origin
        self.splits: Sequence[str] = [name for name, path in self._files.items() if path.is_file()]

    def split(self, name: str) -> ImageTable:
        """Read one split; raises DataError when its list is missing or wrong, or its pictures are missing."""
        require_split(name, list(self._files))
        if name not in self.splits:
            raise DataError(
                f"{self._reader}: {self._files[name]} is missing; the splits here are {', '.join(self.splits)}; "
                f"{self._origin}"
            )
        listing = self._read(name)
        source = find_pictures(self._folder, listing.paths, ("",), self._reader, self._origin)
        return listed_table(listing, source, self._names if listing.labels is not None else (), "landmark")

    @cached_property
    def _names(self) -> list[str]:
        return first_seen(*(self._read(name).labels for name in self._labelled if name in self.splits))

    def _read(self, name: str) -> Listing:
        # Some of the published lists have a box after the label, which these data sets' users leave alone.
        return read_list(self._files[name], self._reader, name in self._labelled, self._origin, boxes=True)


def write_example_lists(root: Path, labelled: Mapping[str, str], plain: Mapping[str, str]) -> None:
    """Write every list with 4 pictures of its own, of 2 landmarks; and the pictures."""
    for first, file in enumerate([*labelled.values(), *plain.values()]):
        numbers = range(4 * first, 4 * first + 4)
        lines = [f"images/{number}.jpg" + (f" {number % 2}" if file in labelled.values() else "") for number in numbers]
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        for number in numbers:
            write_example_picture(root / f"images/{number}.jpg", number)
