"""Lists of pictures in a text file or in JSON, with or without labels, with or without queries of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pertinent.data.datasets._lists import Listing, find_pictures, first_seen, listed_table, read_list
from pertinent.data.datasets._parts import require_split, root_folder, write_example_picture
from pertinent.data.splitting import Parts, balanced_split, hash_split
from pertinent.data.table import ImageTable
from pertinent.errors import DataError, InputError

__all__ = ["ImageList"]


class ImageList:
    """Your list of pictures: lines `path` or `path label`, or JSON `{path: label}`; perhaps a second list of queries.

    The splits are `all`; or, with `queries`, `gallery` and `query`; or, with `split_by`, `train`, `val` and `test` (no
    `val` without a share for it). A class has one number in all of them: the classes are numbered as they first appear,
    first in `file`, then in `queries`. Ids are the listed paths. A blank line is no picture.

    Args:
        root: folder of the lists.
        file: the list, relative to `root`; JSON when it ends with `.json`.
        queries: a second list, of the queries, written in the same way.
        images: folder of the pictures, relative to `root`; they may also lie in a zip file in `root`.
        labels: whether the lists have labels. Default: they have when every line has two words; a path with spaces
            then needs JSON. False takes every line as a path.
        split_by: `hash` deals every picture by the md5 of its path; `balanced` the pictures of every class in the same
            shares. See `data/splitting.py`.
        train_share: share of train, needed with `split_by`.
        val_share: share of val; default 0. Test takes the rest.

    Raises:
        DataError: a list is missing, a line or an entry is wrong, a path is listed twice; names it.
        InputError: options that exclude or need each other, shares outside of 0 to 1.
    """

    example_options: ClassVar[Mapping[str, Any]] = {"file": "gallery.txt", "queries": "queries.txt"}

    def __init__(
        self,
        root: Path | str | None,
        *,
        file: str,
        queries: str | None = None,
        images: str = "",
        labels: bool | None = None,
        split_by: Literal["hash", "balanced"] | None = None,
        train_share: float | None = None,
        val_share: float | None = None,
    ) -> None:
        self.root = root_folder(root, "image_list")
        _check_options(queries, split_by, train_share, val_share)
        self._images = images
        listing = read_list(self.root / file, "image_list", labels, "file=LIST names the list")
        self._parts = {"all": listing}
        if queries is not None:
            asked = read_list(self.root / queries, "image_list", labels, "queries=LIST names the list")
            if (asked.labels is None) != (listing.labels is None):
                raise DataError(
                    f"image_list: of {file} and {queries} one has labels, the other has not; give both some"
                )
            self._parts = {"gallery": listing, "query": asked}
        if split_by is not None:
            self._parts = _deal(listing, split_by, train_share or 0.0, val_share or 0.0)
        self._names = first_seen(*(part.labels for part in (listing, *self._parts.values())))
        self.splits: Sequence[str] = list(self._parts)

    def split(self, name: str) -> ImageTable:
        """Read one split.

        Raises:
            DataError: listed pictures are missing, or the split has none.
        """
        require_split(name, self.splits)
        part = self._parts[name]
        if not part.paths:
            raise DataError(f"image_list: split {name!r} has no pictures; give it a larger share")
        source = find_pictures(self.root, part.paths, (self._images,), "image_list")
        return listed_table(part, source, self._names, "class")

    @classmethod
    def example(cls, root: Path) -> None:
        """Write `gallery.txt` and `queries.txt` with lines `path label`, and 6 + 2 pictures of 3 classes."""
        classes = ("bridge", "tower", "gate")
        for file, rows in (("gallery", range(6)), ("queries", range(6, 8))):
            for number in rows:
                write_example_picture(root / f"{file}/{number}.png", number)
            lines = [f"{file}/{number}.png {classes[number % 3]}\n" for number in rows]
            (root / f"{file}.txt").write_text("".join(lines), encoding="utf-8")


def _check_options(queries: str | None, split: str | None, train: float | None, val: float | None) -> None:
    if split not in (None, "hash", "balanced"):
        raise InputError(f"image_list: split_by must be 'hash' or 'balanced', got {split!r}")
    if split is not None and queries is not None:
        raise InputError("image_list: give queries or split_by, not both")
    if (split is None) != (train is None) or (split is None and val is not None):
        raise InputError("image_list: split_by needs train_share, and train_share and val_share need split_by")


def _deal(listing: Listing, split: str, train: float, val: float) -> dict[str, Listing]:
    if split == "hash":
        parts: Parts = hash_split(listing.paths, train, val)
    elif listing.labels is None:
        raise InputError("image_list: split_by=balanced needs labels; split_by=hash does not")
    else:
        parts = balanced_split(listing.paths, listing.labels, train, val)
    return {
        name: Listing(
            [listing.paths[row] for row in rows.tolist()],
            None if listing.labels is None else [listing.labels[row] for row in rows.tolist()],
        )
        for name, rows in parts.items()
        if name != "val" or val
    }
