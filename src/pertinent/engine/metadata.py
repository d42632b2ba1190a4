"""Metadata of items from a file that people keep: CSV, or JSON lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pertinent.errors import InputError
from pertinent.files import storage_errors
from pertinent.index._where import Value, check_value

ID = "id"
TRUTH = {"true": True, "false": False}


def read_metadata(path: Path) -> dict[str, dict[str, Value]]:
    """Metadata by the ids of items.

    A CSV file has a line of names, one of which is `id`. A column whose every cell is a number, or true or false, holds
    these, any other holds text: 007 is text. An empty cell says nothing. A file of JSON lines has an object a line, of
    text, numbers, true and false; null says nothing.

    Raises:
        StorageError: it cannot be read.
        InputError: another ending, a line without an id, an id twice, or a value that metadata cannot hold.
    """
    readers = {".csv": _csv, ".jsonl": _json_lines}
    if path.suffix.lower() not in readers:
        raise InputError(f"metadata come from a file that ends in {' or '.join(readers)}, got {path}")
    found: dict[str, dict[str, Value]] = {}
    with storage_errors(path, "reading"), path.open(encoding="utf-8-sig", newline="") as file:
        try:
            rows = list(readers[path.suffix.lower()](path, file))
        except UnicodeDecodeError as error:
            raise InputError(f"{path} is not UTF-8: {error}") from error
    for number, row in rows:
        name = row.pop(ID, None)
        if not isinstance(name, str) or not name:
            raise InputError(f"{path}:{number} has no {ID!r}, which must be text; got {name!r}")
        if name in found:
            raise InputError(f"{path}:{number} tells of {name!r} for the second time")
        found[name] = {key: value for key, value in row.items() if value is not None}
    for values in found.values():
        for key, value in values.items():
            check_value(key, value)
    return found


def _csv(path: Path, file: Iterable[str]) -> list[tuple[int, dict[str, Any]]]:
    try:
        reader = csv.reader(file, strict=True)
        lines = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise InputError(f"{path} is no CSV: {error}") from error
    if not lines or ID not in lines[0][1]:
        raise InputError(f"{path} needs a first line of names, one of them {ID!r}")
    names = lines[0][1]
    if len(set(names)) < len(names):
        raise InputError(f"{path} names a column twice: {', '.join(names)}")
    wrong = next((number for number, row in lines if len(row) != len(names)), None)
    if wrong is not None:
        raise InputError(f"{path}:{wrong} has not the {len(names)} cells that the first line names")
    columns = zip(*(row for _, row in lines[1:]), strict=True)
    typed = [column if name == ID else _typed(column) for name, column in zip(names, columns, strict=False)]
    rows = zip(*typed, strict=True)
    return [(line[0], dict(zip(names, row, strict=True))) for line, row in zip(lines[1:], rows, strict=True)]


def _typed(cells: tuple[str, ...]) -> list[Value | None]:
    """The cells of a column as what all of them are."""
    for read in (_truth, _whole, _number):
        try:
            return [read(cell) if cell else None for cell in cells]
        except (ValueError, KeyError):
            continue
    return [cell or None for cell in cells]


def _truth(cell: str) -> bool:
    return TRUTH[cell.lower()]


def _whole(cell: str) -> int:
    if str(int(cell)) != cell:
        raise ValueError(cell)
    return int(cell)


def _number(cell: str) -> float:
    # 007 and 1_000 are names that people write with digits; nan and inf are no numbers here.
    digits = cell.lstrip("+-")
    if not digits[:1].isdigit() or "_" in cell or (digits[0] == "0" and digits[1:2].isdigit()):
        raise ValueError(cell)
    return float(cell)


def _json_lines(path: Path, file: Iterable[str]) -> list[tuple[int, dict[str, Any]]]:
    rows = []
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}:{number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f'{path}:{number} must be an object such as {{"id": "a", "year": 2020}}')
        rows.append((number, row))
    return rows
