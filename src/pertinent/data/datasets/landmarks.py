"""Benchmarks in the layout of Oxford and Paris: a folder of pictures and a ground truth of queries."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from pertinent.data.datasets._lists import find_folder, find_pictures
from pertinent.data.datasets._parts import require_split, root_folder, write_example_picture
from pertinent.data.ground_truth import GroundTruth, read_ground_truth
from pertinent.data.images import IMAGE_SUFFIXES, FolderSource, ZipSource
from pertinent.data.table import ImageTable, Judgement

__all__ = ["LandmarkList"]

_SPLITS = ("test", "gallery", "queries")


class LandmarkList:
    """A landmark benchmark of your own: pictures, queries with boxes, and who judged what easy, hard, junk or ok.

    Split `test` is the benchmark, of kind judged: the gallery, then the queries, which are searched with and never
    found. `gallery` and `queries` are its two parts without the judgements. A query's picture is cut to its box.

    Ids are paths relative to the folder of pictures; a query's begins with `query/`, and ends with `#2`, `#3`, ...
    where one picture is asked with several boxes.

    Args:
        root: the benchmark's folder.
        truth: the ground truth, a pickle as the published `gnd_NAME.pkl` or JSON of the same content: `imlist`,
            `qimlist`, and `gnd` with for each query `bbx` and `easy`, `hard`, `junk` (revisited) or `ok`, `junk`
            (classic). Relative to `root`.
        images: folder of the pictures, relative to `root`; they may also lie in a zip file in `root`.
        suffix: ending of the listed names that have none.

    Attributes:
        truth: the ground truth as read.

    Raises:
        DataError: the ground truth is missing or not one; names it.
    """

    reader: ClassVar[str] = "landmarks"
    folders: ClassVar[Sequence[str]] = ("",)
    """Where below `root` the ground truth and the folder of pictures may lie."""
    expected: ClassVar[Mapping[str, int]] = {}
    """How many pictures the published benchmark has, by split."""
    origin: ClassVar[str] = "truth=FILE names the ground truth, images=FOLDER its pictures"
    example_options: ClassVar[Mapping[str, Any]] = {"truth": "gnd_example.pkl"}

    def __init__(self, root: Path | str | None, *, truth: str, images: str = "jpg", suffix: str = ".jpg") -> None:
        self.root = root_folder(root, self.reader)
        self.splits: Sequence[str] = list(_SPLITS)
        folder = find_folder(self.root, self.folders, [truth], self.reader, self.origin)
        self.truth: GroundTruth = read_ground_truth(folder / truth)
        self._images = [str(PurePosixPath(name, images)) for name in self.folders]
        self._suffix = suffix

    def split(self, name: str) -> ImageTable:
        """Read `test`, `gallery` or `queries`.

        Raises:
            DataError: pictures of this split are missing.
        """
        require_split(name, _SPLITS)
        items, asked = ([self._path(listed) for listed in names] for names in (self.truth.items, self.truth.queries))
        if name == "gallery":
            return ImageTable(items, self._pictures(items))
        boxes = dict(enumerate(self.truth.boxes))
        if name == "queries":
            return ImageTable(_query_ids(asked), self._pictures(asked), boxes=boxes)
        first = len(items)
        return ImageTable(
            [*items, *_query_ids(asked)],
            self._pictures([*items, *asked]),
            "judged",
            judgements=[
                Judgement(first + query, **{word: tuple(places) for word, places in record.items()})
                for query, record in enumerate(self.truth.records)
            ],
            probes=len(asked),
            boxes={first + query: box for query, box in boxes.items()},
        )

    def _path(self, listed: str) -> str:
        return listed if PurePosixPath(listed).suffix.lower() in IMAGE_SUFFIXES else listed + self._suffix

    def _pictures(self, paths: Sequence[str]) -> FolderSource | ZipSource:
        return find_pictures(self.root, paths, self._images, self.reader, self.origin)

    @classmethod
    def example(cls, root: Path) -> None:
        """Write `gnd_example.pkl` and `jpg/` with 6 pictures and 2 queries, judged by the revisited protocol."""
        write_example(root, "gnd_example.pkl", classic=False)


def write_example(root: Path, file: str, *, classic: bool) -> None:
    """Write a ground truth of 6 pictures and 2 queries, and the pictures under `jpg`.

    The classic protocol's queries are pictures of the gallery, the revisited one's are not.
    """
    items = [f"place_{number:06}" for number in range(6)]
    if classic:
        queries, judged = items[:2], [{"ok": [0, 2, 3], "junk": [4]}, {"ok": [1, 5], "junk": []}]
    else:
        queries = ["place_000006", "place_000007"]
        judged = [{"easy": [0, 2], "hard": [3], "junk": [4]}, {"easy": [1], "hard": [], "junk": [5]}]
    for number, name in enumerate(dict.fromkeys([*items, *queries])):
        write_example_picture(root / "jpg" / f"{name}.jpg", number)
    records = [{"bbx": [4.0, 2.0, 28.5 - query, 20.0], **record} for query, record in enumerate(judged)]
    (root / file).write_bytes(pickle.dumps({"imlist": items, "qimlist": queries, "gnd": records}))


def _query_ids(paths: Sequence[str]) -> list[str]:
    asked: Counter[str] = Counter()
    ids = []
    for path in paths:
        asked[path] += 1
        ids.append(f"query/{path}" if asked[path] == 1 else f"query/{path}#{asked[path]}")
    return ids
