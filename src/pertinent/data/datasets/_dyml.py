"""Dynamic Metric Learning (Sun et al., CVPR 2021): pictures labelled fine, middle and coarse, in CSV files.

The published files lack the line break after their header, so that the first picture stands in it.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pertinent.data.datasets._lists import Place, find_folder, find_pictures, read_text, refuse_twice
from pertinent.data.datasets._parts import root_folder, write_example_picture
from pertinent.data.datasets._unseen import Listed, check_tree, numbered
from pertinent.data.images import FolderSource, ZipSource
from pertinent.errors import DataError
from pertinent.files import sha256_file

LEVELS = ("fine", "middle", "coarse")
ORIGIN = "it comes from github.com/SupetZYK/DynamicMetricLearning"

_NAME = "fname"
_TREE_COLUMNS = tuple(f"{level}_id" for level in LEVELS)
_LABEL = re.compile(r"(?:fine|middle|coarse|label)_id|labels?")


@dataclass(frozen=True)
class Labels:
    """What one file says: names of pictures, and `(N, L)` published class numbers."""

    names: Sequence[str]
    numbers: NDArray[np.int64]


def dyml_folder(root: Path | str | None, reader: str) -> Path:
    """The folder that has `train/label.csv`: `root`, or one in it that is named as the data set is."""
    kind = reader.removeprefix("dyml_")
    names = ("", reader, f"DyML-{kind}", f"DyML-{kind.title()}", f"DyML_{kind.title()}")
    return find_folder(root_folder(root, reader), names, ["train/label.csv"], reader, ORIGIN)


def read_labels(path: Path, columns: int, reader: str) -> Labels:
    """Read a file of `fname, coarse_id, middle_id, fine_id` (3 columns of labels) or `fname, labels` (1).

    A header with the first picture glued to it is taken apart, and that picture kept.

    Returns:
        Labels in the order fine, middle, coarse.

    Raises:
        DataError: the file is missing, or its header or a line is wrong.
    """
    lines = [[cell.strip() for cell in line.split(",")] for line in read_text(path, reader, ORIGIN).splitlines()]
    header, first = _take_apart(lines[0] if lines else [], columns, path, reader)
    rows = [(number, row) for number, row in enumerate([first, *lines[1:]], 1) if row and row != [""]]
    for number, row in rows:
        if len(row) != columns + 1 or not row[0] or not all(cell.isdecimal() for cell in row[1:]):
            raise DataError(f"{reader}: {path} line {number}: expected '{', '.join(header)}', got {', '.join(row)!r}")
    if not rows:
        raise DataError(f"{reader}: {path} lists no pictures")
    refuse_twice(((number, row[0]) for number, row in rows), Place(reader, path, "line"))
    at = [header.index(name) for name in _TREE_COLUMNS] if columns == len(LEVELS) else [1]
    return Labels(
        [row[0] for _, row in rows], np.array([[int(row[place]) for place in at] for _, row in rows], np.int64)
    )


def tree(labels: Labels, prefix: str, reader: str) -> Listed:
    """The pictures of a file with labels of all levels; `prefix` begins the names of its classes."""
    columns = [numbered(labels.numbers[:, level]) for level in range(len(LEVELS))]
    names = [[f"{prefix}{number}" for number in found.tolist()] for found, _ in columns]
    listed = Listed(labels.names, np.stack([numbers for _, numbers in columns], axis=1), LEVELS, names)
    check_tree(listed.labels, names, LEVELS, reader)
    return listed


def copies(queries: FolderSource | ZipSource, gallery: FolderSource | ZipSource) -> dict[int, int]:
    """The position of the same file in the gallery, for each query that it has; of several, each is used once."""
    # Most sizes are of one side only, so few files are read.
    sizes = set(_sizes(queries)) & set(_sizes(gallery))
    there: dict[str, list[int]] = defaultdict(list)
    for row, digest in reversed(list(_digests(gallery, sizes))):
        there[digest].append(row)
    return {row: there[digest].pop() for row, digest in _digests(queries, sizes) if there[digest]}


def open_part(folder: Path, part: str, names: Iterable[str], reader: str) -> FolderSource | ZipSource:
    """The pictures of one file, which lie below `part`."""
    return find_pictures(folder, [f"{part}/{name}" for name in names], ("",), reader, ORIGIN)


def write_example_file(
    path: Path, columns: Sequence[str], pictures: str, rows: Sequence[Sequence[int]], first: int
) -> None:
    """Write a file as it is published, with its first picture in the header, and its pictures."""
    lines = [f"{number}.jpg, {', '.join(map(str, row))}" for number, row in enumerate(rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(", ".join([_NAME, *columns]) + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    for number in range(len(rows)):
        write_example_picture(path.parent / pictures / f"{number}.jpg", first + number)


def write_example_train(root: Path) -> None:
    """Write `train/label.csv` and its 8 pictures: 4 fine classes in 3 middle and 2 coarse ones."""
    rows = [
        (coarse, middle, fine) for coarse, middle, fine in ((0, 0, 7), (0, 0, 10), (0, 2, 3), (1, 5, 4)) for _ in "ab"
    ]
    write_example_file(root / "train" / "label.csv", _TREE_COLUMNS[::-1], "imgs", rows, 0)


def _take_apart(cells: Sequence[str], columns: int, path: Path, reader: str) -> tuple[list[str], list[str]]:
    """The header's names, and the row that is glued to it, or nothing."""
    names, rest = list(cells[: columns + 1]), list(cells[columns + 1 :])
    # The picture's name begins where that of the last column ends.
    known = [re.escape(name) for name in _TREE_COLUMNS] if columns == len(LEVELS) else [_LABEL.pattern]
    found = re.match("|".join(known), names[-1]) if names else None
    if found is not None:
        glued, names[-1] = names[-1][found.end() :], found.group()
        is_known = sorted(names[1:]) == sorted(_TREE_COLUMNS) if columns == len(LEVELS) else True
        if names[0] == _NAME and is_known and bool(glued) == bool(rest):
            return names, [glued, *rest] if glued else []
    wanted = ", ".join([_NAME, *(_TREE_COLUMNS[::-1] if columns == len(LEVELS) else ["labels"])])
    raise DataError(f"{reader}: {path} must begin with '{wanted}', got {', '.join(cells)!r}; {ORIGIN}")


def _sizes(source: FolderSource | ZipSource) -> list[int]:
    if isinstance(source, FolderSource):
        return [(source.root / path).stat().st_size for path in source.paths]
    with zipfile.ZipFile(source.archive) as archive:
        return [archive.getinfo(member).file_size for member in source.members]


def _digests(source: FolderSource | ZipSource, sizes: set[int]) -> Iterator[tuple[int, str]]:
    """Row and sha256 of the files of these sizes."""
    rows = [row for row, size in enumerate(_sizes(source)) if size in sizes]
    if isinstance(source, FolderSource):
        for row in rows:
            yield row, sha256_file(source.root / source.paths[row])
        return
    with zipfile.ZipFile(source.archive) as archive:
        for row in rows:
            yield row, hashlib.sha256(archive.read(source.members[row])).hexdigest()
