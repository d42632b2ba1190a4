"""`Columns`: metadata of many items, a column a key, memory-mapped; a filter compares whole columns.

Letters: N items, C columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import StorageError
from pertinent.files import read_json, write_json
from pertinent.index._where import Key, Value, check_value, value_key

ABSENT = -1
CODES, VALUES = "metadata.npy", "metadata.json"


class Columns:
    """Metadata of N items: for each key the values there are, and which of them an item has.

    Args:
        codes: `(N, C)` int32: number of an item's value in each column, -1 where it has none.
        values: values of each column by its key, in the order of the columns.
    """

    def __init__(self, codes: NDArray[np.int32], values: Mapping[str, Sequence[Value]]) -> None:
        self.codes, self.values = codes, values

    @classmethod
    def of(cls, items: Sequence[Mapping[str, Value]]) -> Columns:
        """Columns of one mapping an item.

        Raises:
            InputError: a value that metadata cannot hold.
        """
        numbers: dict[str, dict[Key, int]] = {}
        cells: list[tuple[int, str, int]] = []
        for row, item in enumerate(items):
            for key, value in item.items():
                check_value(key, value)
                known = numbers.setdefault(key, {})
                cells.append((row, key, known.setdefault(value_key(value), len(known))))
        codes = np.full((len(items), len(numbers)), ABSENT, np.int32)
        columns = {key: column for column, key in enumerate(numbers)}
        for row, key, number in cells:
            codes[row, columns[key]] = number
        return cls(codes, {key: [value for _, value in known] for key, known in numbers.items()})

    @classmethod
    def none(cls, count: int) -> Columns:
        """No metadata of so many items."""
        return cls(np.empty((count, 0), np.int32), {})

    @property
    def keys(self) -> list[str]:
        """Keys that some item has."""
        return list(self.values)

    def item(self, row: int) -> dict[str, Value]:
        """Metadata of one item."""
        if not self.values:
            return {}
        found = zip(self.values.items(), self.codes[row].tolist(), strict=True)
        return {key: values[code] for (key, values), code in found if code != ABSENT}

    def having(self, key: str, wanted: Sequence[Key]) -> NDArray[np.bool_]:
        """`(N,)` the items whose value of a key is one of some."""
        numbers = [self._numbers[key][value] for value in wanted if value in self._numbers[key]]
        column = self.codes[:, self.keys.index(key)]
        return np.isin(column, np.array(numbers, np.int32))

    @cached_property
    def _numbers(self) -> dict[str, dict[Key, int]]:
        return {
            key: {value_key(value): number for number, value in enumerate(values)}
            for key, values in self.values.items()
        }

    def save(self, folder: Path) -> None:
        """Write the columns into a folder."""
        np.save(folder / CODES, self.codes)
        write_json(folder / VALUES, self.values)

    @classmethod
    def open(cls, folder: Path, count: int) -> Columns:
        """Open what `save` wrote, the items by memory map; raises StorageError where it is damaged."""
        path = folder / CODES
        values: Any = read_json(folder / VALUES)
        try:
            codes: NDArray[Any] = np.load(path, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise StorageError(f"{path} is damaged ({error}); build the index again") from error
        if not isinstance(values, dict) or codes.shape != (count, len(values)) or codes.dtype != np.int32:
            raise StorageError(f"{path} is damaged: it holds {codes.dtype} {codes.shape}; build the index again")
        return cls(codes, values)
