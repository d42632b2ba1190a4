"""`ImageTable`: the pictures of one split with their ids and their labels of a declared kind."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pertinent.errors import DataError, ImageError

LabelKind = Literal["none", "classes", "tree", "tags", "judged"]
Box = tuple[float, float, float, float]


class ImageSource(Protocol):
    """Where pictures come from: a folder, a zip file or an array."""

    def read(self, index: int) -> Image.Image:
        """Decode picture `index` as upright RGB; raises ImageError naming the file."""
        ...

    def where(self, index: int) -> str:
        """Tell a person where picture `index` lies: a path, or `archive.zip/member`."""
        ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Judgement:
    """What a person said of one query: positions in the table of easy, hard and junk items.

    Benchmarks of the classic protocol have one list of good items, `ok`, instead of easy and hard ones.
    """

    query: int
    easy: tuple[int, ...] = ()
    hard: tuple[int, ...] = ()
    junk: tuple[int, ...] = ()
    ok: tuple[int, ...] = ()


@dataclass(frozen=True)
class ImageTable:
    """Pictures, ids and labels of one split.

    Attributes:
        ids: `N` unique names, stable between runs.
        source: opens picture `i` of `N`.
        kind: what `labels` are; decides the Relevance.
        labels: `(N,)` int64 for classes, `(N, L)` int64 for a tree (column 0 finest), `(N, C)` bool for tags.
        level_names: a word for each label column (tree, classes: `["product", "kind", "group"]`).
        class_names: for each label column the names of its classes, indexed by label; for tags one list.
        judgements: for kind `judged`; of another kind, the item that a picture which is a query only is a copy of, as
            its `junk`.
        probes: how many pictures, the last ones, are queries only: searched with, never found. Where there are any, the
            others are no queries, unless judgements say so.
        boxes: by row the part of a picture to use, (left, top, right, bottom) in its own pixels; the rest use all.
    """

    ids: Sequence[str]
    source: ImageSource
    kind: LabelKind = "none"
    labels: NDArray[np.int64] | NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0,), np.int64))
    level_names: Sequence[str] = ()
    class_names: Sequence[Sequence[str]] = ()
    judgements: Sequence[Judgement] = ()
    probes: int = 0
    boxes: Mapping[int, Box] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.source):
            raise DataError(f"{len(self.ids)} ids for {len(self.source)} pictures")
        if len(set(self.ids)) != len(self.ids):
            raise DataError("picture ids are not unique")
        wanted = {"classes": 1, "tree": 2, "tags": 2}.get(self.kind)
        if wanted is not None and (self.labels.ndim != wanted or len(self.labels) != len(self.ids)):
            raise DataError(f"labels of kind {self.kind} have shape {self.labels.shape} for {len(self.ids)} pictures")
        if not 0 <= self.probes <= len(self.ids):
            raise DataError(f"{self.probes} pictures cannot be queries only in a table of {len(self.ids)}")

    def read(self, index: int) -> Image.Image:
        """Decode picture `index`, cut to its box; raises ImageError for a damaged one, or a box outside of it."""
        picture = self.source.read(index)
        if index not in self.boxes:
            return picture
        box = self.boxes[index]
        left, top, right, bottom = (round(edge) for edge in box)
        left, top, right, bottom = max(left, 0), max(top, 0), min(right, picture.width), min(bottom, picture.height)
        if left >= right or top >= bottom:
            raise ImageError(
                self.source.where(index), f"{picture.width} x {picture.height} pixels have no part in the box {box}"
            )
        return picture.crop((left, top, right, bottom))

    def __len__(self) -> int:
        return len(self.ids)

    def label_words(self, index: int) -> list[str]:
        """Names of picture `index`'s labels: one per level (fine first; empty where unlabelled), or one per tag."""
        if self.kind == "tags":
            return [self.class_names[0][tag] for tag in np.flatnonzero(self.labels[index]).tolist()]
        if self.kind in ("classes", "tree"):
            row = np.atleast_1d(self.labels[index])
            return [self.class_names[level][label] if label >= 0 else "" for level, label in enumerate(row.tolist())]
        return []

    def subset(self, rows: Sequence[int] | NDArray[np.int64]) -> ImageTable:
        """The same table with only these rows, in this order; judgements do not survive."""
        if self.kind == "judged" or self.probes:
            raise DataError("a table of judgements, or of queries and items, cannot be cut: its rows are told by place")
        rows = np.asarray(rows, dtype=np.int64)
        labels = self.labels[rows] if self.kind != "none" else self.labels
        return ImageTable(
            [self.ids[int(i)] for i in rows],
            _Rows(self.source, rows),
            self.kind,
            labels,
            self.level_names,
            self.class_names,
            boxes={new: self.boxes[old] for new, old in enumerate(rows.tolist()) if old in self.boxes},
        )

    def fingerprint(self) -> str:
        """sha256 over ids and labels: two tables with the same fingerprint rank the same things."""
        digest = hashlib.sha256("\n".join(self.ids).encode())
        digest.update(
            self.kind.encode() + str(self.labels.shape).encode() + np.ascontiguousarray(self.labels).tobytes()
        )
        digest.update(repr(tuple(self.judgements)).encode())
        if self.probes:
            digest.update(f"probes {self.probes}".encode())
        if self.boxes:
            digest.update(repr(sorted(self.boxes.items())).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class _Rows:
    source: ImageSource
    rows: NDArray[np.int64]

    def read(self, index: int) -> Image.Image:
        return self.source.read(int(self.rows[index]))

    def where(self, index: int) -> str:
        return self.source.where(int(self.rows[index]))

    def __len__(self) -> int:
        return len(self.rows)


class Dataset(Protocol):
    """What every file in `data/datasets` offers: named splits, each an ImageTable.

    The constructor takes `root` (a folder, or None where no files are needed) and the data set's own options.
    """

    splits: Sequence[str]

    def split(self, name: str) -> ImageTable:
        """Read one split; raises DataError naming the file that is missing or wrong."""
        ...

    @classmethod
    def example(cls, root: Path) -> None:
        """Write a tiny valid copy of the layout into `root`; documents the format and feeds the tests."""
        ...
