"""Any list of pictures with their labels in a CSV file."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pertinent.data.datasets._parts import (
    check_parents,
    labelled_table,
    open_pictures,
    require_split,
    root_folder,
    vocabulary,
    write_example_picture,
)
from pertinent.data.table import ImageTable
from pertinent.errors import DataError, InputError, suggest

__all__ = ["CSVFile"]


class CSVFile:
    """A CSV file with a picture's path, its labels from fine to coarse or its tags, and perhaps its split.

    Two or more label columns make a tree, one makes classes, none leaves the pictures without labels; an empty label
    is -1. Class ids are shared by all splits. Pictures lie under `root` or in a zip file in `root`.

    Args:
        root: folder of the file and the pictures.
        file: the list, UTF-8, comma separated, with a header; relative to `root`.
        path_column: column of the pictures' paths, relative to `root`.
        label_columns: columns of labels, fine to coarse; default every column that has no other use.
        split_column: column of the split's name; default `split` if there is such a column. Without one, the only split
            is `all`.
        tag_column: column of tags; makes the labels tags, so it excludes `label_columns`.
        tag_separator: stands between two tags.

    Raises:
        DataError: a file, column, picture or value is missing or wrong; names it and the line.
        InputError: options that exclude each other.
    """

    def __init__(
        self,
        root: Path | str | None,
        *,
        file: str = "labels.csv",
        path_column: str = "path",
        label_columns: Sequence[str] | None = None,
        split_column: str | None = None,
        tag_column: str | None = None,
        tag_separator: str = ";",
    ) -> None:
        self.root = root_folder(root, "csv")
        if tag_column is not None and label_columns is not None:
            raise InputError("csv: give tag_column or label_columns, not both")
        if isinstance(label_columns, str) or not tag_separator:
            raise InputError("csv: label_columns is a list of names, and tag_separator at least one character")
        self.file = self.root / file
        columns, rows = _read(self.file)
        if split_column is None and "split" in columns:
            split_column = "split"
        taken = [path_column, *([split_column] if split_column else []), *([tag_column] if tag_column else [])]
        if label_columns is None:
            label_columns = [] if tag_column else [name for name in columns if name not in taken]
        for name in (*taken, *label_columns):
            if name not in columns:
                raise DataError(f"csv: {self.file} has no column {name!r}{suggest(name, columns)}")
        self._levels = list(label_columns)
        self._members = _by_split(self.file, rows, path_column, split_column)
        self.splits: Sequence[str] = list(self._members)
        self._path_column, self._tag_column, self._separator = path_column, tag_column, tag_separator
        check_parents(([row[name] for name in self._levels] for _, row in rows), self._levels, "csv")
        self._vocabularies = [vocabulary(row[name] for _, row in rows) for name in self._levels]
        self._tags = vocabulary(tag for _, row in rows for tag in self._tags_of(row))

    def split(self, name: str) -> ImageTable:
        """Read one split; ids are the listed paths.

        Raises:
            DataError: listed pictures are missing.
        """
        require_split(name, self.splits)
        rows = self._members[name]
        paths = [row[self._path_column] for row in rows]
        source = open_pictures(self.root, paths)
        if self._tag_column is None:
            words = [[row[level] for level in self._levels] for row in rows]
            return labelled_table(paths, source, words, self._levels, self._vocabularies)
        number = {tag: column for column, tag in enumerate(self._tags)}
        flags = np.zeros((len(rows), len(self._tags)), dtype=np.bool_)
        for index, row in enumerate(rows):
            flags[index, [number[tag] for tag in self._tags_of(row)]] = True
        return ImageTable(paths, source, "tags", flags, [self._tag_column], [self._tags])

    @classmethod
    def example(cls, root: Path) -> None:
        """Write `labels.csv` with columns path, product, kind, split, and 2 pictures of 3 products in 2 splits."""
        lines = ["path,product,kind,split"]
        for number in range(12):
            product, kind = (("gala", "apple"), ("fuji", "apple"), ("leek", "vegetable"))[number % 3]
            write_example_picture(root / "images" / f"{number}.png", number)
            lines.append(f"images/{number}.png,{product},{kind},{'train' if number < 6 else 'test'}")
        (root / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _tags_of(self, row: dict[str, str]) -> list[str]:
        if self._tag_column is None:
            return []
        return [tag.strip() for tag in row[self._tag_column].split(self._separator) if tag.strip()]


def _read(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Column names, and for each row its line number and its cells by column."""
    if not path.is_file():
        others = sorted(other.name for other in path.parent.glob("*.csv"))
        hint = suggest(path.name, others) if others else "; there is no CSV file in that folder"
        raise DataError(f"csv: {path} is missing{hint}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"csv: {path} is not a comma-separated file in UTF-8 ({error}); save it as one") from error
    if len(lines) < 2:
        raise DataError(f"csv: {path} needs a header and at least one row")
    columns = lines[0][1]
    if len(set(columns)) != len(columns) or "" in columns:
        raise DataError(f"csv: {path}: every column needs a name of its own, got {', '.join(columns)}")
    for line, cells in lines[1:]:
        if len(cells) != len(columns):
            raise DataError(f"csv: {path} line {line} has {len(cells)} cells for {len(columns)} columns")
    return columns, [(line, dict(zip(columns, cells, strict=True))) for line, cells in lines[1:]]


def _by_split(
    file: Path, rows: list[tuple[int, dict[str, str]]], path_column: str, split_column: str | None
) -> dict[str, list[dict[str, str]]]:
    members: dict[str, list[dict[str, str]]] = defaultdict(list)
    first_line: dict[tuple[str, str], int] = {}
    for line, row in rows:
        split, path = row[split_column] if split_column else "all", row[path_column]
        if not path or not split:
            raise DataError(f"csv: {file} line {line}: {path_column if not path else split_column} is empty")
        if (split, path) in first_line:
            raise DataError(
                f"csv: {file} lists {path!r} twice in split {split!r}, in lines {first_line[split, path]} and {line}; "
                "remove one (several labels of one picture belong in a tag column)"
            )
        first_line[split, path] = line
        members[split].append(row)
    return dict(members)
