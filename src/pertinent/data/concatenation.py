"""Put tables one after the other, for example a benchmark and a million distractors."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pertinent.data.table import ImageSource, ImageTable, Judgement
from pertinent.errors import DataError, InputError

Labels = NDArray[np.int64] | NDArray[np.bool_]


def concatenate(tables: Sequence[ImageTable]) -> ImageTable:
    """Join tables into one: their pictures in order, then the pictures that are queries only.

    Classes and tags are joined by their names. A table without labels adds pictures that are relevant to nothing:
    distractors. An id that is in several tables gets the number of its table, from 0, in front: `0/a.jpg`, `1/a.jpg`;
    the other ids stay. Boxes and judgements move with their pictures.

    Args:
        tables: one or more, of one kind but for those without labels.

    Raises:
        InputError: no table.
        DataError: tables of different kinds, with different levels, or of classic and revisited judgements; ids that
            are not unique even so.
    """
    if not tables:
        raise InputError("concatenate needs at least one table, got none")
    first = _leader(tables)
    order, places = _places(tables)
    names, labels = _join_labels(tables, first)
    ids = _join_ids(tables)
    boxes = {
        int(place[row]): box for table, place in zip(tables, places, strict=True) for row, box in table.boxes.items()
    }
    return ImageTable(
        [ids[row] for row in order.tolist()],
        _Joined([table.source for table in tables], order),
        first.kind,
        labels if first.kind in ("none", "judged") else labels[order],
        first.level_names,
        names,
        [_move(asked, place) for table, place in zip(tables, places, strict=True) for asked in table.judgements],
        sum(table.probes for table in tables),
        boxes,
    )


def queries_and_items(queries: ImageTable, items: ImageTable) -> ImageTable:
    """One table of items and, behind them, queries that search in them and are never found.

    Args:
        queries: of the same kind as the items; judged ones are told apart by their own table already.
        items: the gallery, or database; a query with the id of an item is that picture, which it is not to find.

    Raises:
        DataError: judged tables, or what `concatenate` raises.
    """
    if "judged" in (queries.kind, items.kind) or queries.probes or items.probes:
        raise DataError("this table tells its queries from its items already; it needs no gallery")
    place = {name: row for row, name in enumerate(items.ids)}
    copies = [Judgement(len(items) + row, junk=(place[name],)) for row, name in enumerate(queries.ids) if name in place]
    return replace(concatenate([items, queries]), probes=len(queries), judgements=copies)


def _leader(tables: Sequence[ImageTable]) -> ImageTable:
    """The first table with labels, or the first of all; every table fits it."""
    labelled = [table for table in tables if table.kind != "none"]
    if not labelled:
        return tables[0]
    first = labelled[0]
    for table in labelled:
        if table.kind != first.kind:
            raise DataError(f"tables of kind {first.kind} and {table.kind} cannot be joined; give tables of one kind")
        if table.kind != "tags" and list(table.level_names) != list(first.level_names):
            raise DataError(
                f"tables with the levels {', '.join(first.level_names)} and {', '.join(table.level_names)} "
                "cannot be joined; name the levels alike"
            )
        if table.kind != "judged" and len(table.class_names) != _columns(table):
            raise DataError("a table has no names for its classes, by which tables are joined; give class_names")
    asked = [judgement for table in labelled for judgement in table.judgements]
    if any(one.ok for one in asked) and any(one.easy or one.hard for one in asked):
        raise DataError("classic and revisited judgements cannot be joined; measure them one by one")
    return first


def _columns(table: ImageTable) -> int:
    return table.labels.shape[1] if table.kind == "tree" else 1


def _places(tables: Sequence[ImageTable]) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Which row of all tables, counted through, stands where; and for each table where its rows stand."""
    starts = list(accumulate((len(table) for table in tables), initial=0))
    middles = [start + len(table) - table.probes for start, table in zip(starts, tables, strict=False)]
    items = [np.arange(start, middle) for start, middle in zip(starts, middles, strict=False)]
    probes = [np.arange(middle, end) for middle, end in zip(middles, starts[1:], strict=True)]
    order = np.concatenate([*items, *probes]).astype(np.int64)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return order, np.split(place, starts[1:-1])


def _join_ids(tables: Sequence[ImageTable]) -> list[str]:
    counts = Counter(chain.from_iterable(table.ids for table in tables))
    return [name if counts[name] == 1 else f"{at}/{name}" for at, table in enumerate(tables) for name in table.ids]


def _join_labels(tables: Sequence[ImageTable], first: ImageTable) -> tuple[list[list[str]], Labels]:
    """Names of each level's classes over all tables, in the order in which they appear; and all labels."""
    if first.kind in ("none", "judged"):
        return [list(words) for words in first.class_names], first.labels
    levels = range(len(first.class_names))
    numbers = [
        {word: number for number, word in enumerate(dict.fromkeys(chain(*(_words(table, level) for table in tables))))}
        for level in levels
    ]
    new = [[_renumbered(_words(table, level), numbers[level]) for level in levels] for table in tables]
    names = [list(known) for known in numbers]
    if first.kind == "tags":
        return names, _join_tags(tables, [mine[0] for mine in new], len(names[0]))
    joined = np.concatenate([_relabelled(table, mine, first) for table, mine in zip(tables, new, strict=True)])
    _check_parents(joined, names)
    return names, joined


def _words(table: ImageTable, level: int) -> Sequence[str]:
    return table.class_names[level] if table.class_names else ()


def _renumbered(words: Sequence[str], numbers: dict[str, int]) -> NDArray[np.int64]:
    """New numbers of a table's classes; last one for unlabelled, which label -1 finds."""
    return np.array([*(numbers[word] for word in words), -1], np.int64)


def _relabelled(table: ImageTable, new: list[NDArray[np.int64]], first: ImageTable) -> NDArray[np.int64]:
    if table.kind == "none":
        return np.full((len(table), *first.labels.shape[1:]), -1, np.int64)
    columns = table.labels.reshape(len(table), -1).T
    moved = [numbers[column] for numbers, column in zip(new, columns, strict=True)]
    return np.stack(moved, axis=1).reshape(table.labels.shape)


def _join_tags(tables: Sequence[ImageTable], new: Sequence[NDArray[np.int64]], count: int) -> NDArray[np.bool_]:
    joined = np.zeros((sum(len(table) for table in tables), count), np.bool_)
    start = 0
    for table, columns in zip(tables, new, strict=True):
        if table.kind != "none":
            joined[start : start + len(table), columns[:-1]] = table.labels
        start += len(table)
    return joined


def _check_parents(labels: NDArray[np.int64], names: Sequence[Sequence[str]]) -> None:
    """Refuse a class that is under one parent in one table and under another in the next: two things of one name."""
    for level in range(labels.shape[1] - 1 if labels.ndim == 2 else 0):
        pairs = np.unique(labels[labels[:, level] >= 0, level : level + 2], axis=0)
        twice = pairs[1:, 0][pairs[1:, 0] == pairs[:-1, 0]]
        if twice.size:
            raise DataError(
                f"class {names[level][int(twice[0])]!r} is under different parents; rename it in one of the tables"
            )


def _move(asked: Judgement, place: NDArray[np.int64]) -> Judgement:
    lists = (tuple(place[list(rows)].tolist()) for rows in (asked.easy, asked.hard, asked.junk, asked.ok))
    return Judgement(int(place[asked.query]), *lists)


@dataclass(frozen=True)
class _Joined:
    """Several sources as one, row `i` being row `order[i]` of all of them counted through."""

    sources: Sequence[ImageSource]
    order: NDArray[np.int64]

    def read(self, index: int) -> Image.Image:
        source, row = self._find(index)
        return source.read(row)

    def where(self, index: int) -> str:
        source, row = self._find(index)
        return source.where(row)

    def _find(self, index: int) -> tuple[ImageSource, int]:
        ends = list(accumulate(len(source) for source in self.sources))
        row = int(self.order[index])
        number = bisect_right(ends, row)
        return self.sources[number], row - (ends[number - 1] if number else 0)

    def __len__(self) -> int:
        return len(self.order)
