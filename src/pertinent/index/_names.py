"""Many names, memory-mapped: a million of them are open at once, and one is found without reading the others."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import StorageError

PARTS = ("text", "ends", "order")


class Names:
    """N names by number, and numbers by name.

    Args:
        text: all names in UTF-8, one after the other.
        ends: `(N,)` int64, where each ends.
    """

    def __init__(self, text: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self.text, self.ends = text, ends

    @classmethod
    def of(cls, names: Sequence[str]) -> Names:
        """Names of a list."""
        encoded = [name.encode("utf-8") for name in names]
        ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> str:
        return self._bytes(number).decode("utf-8")

    def find(self, name: str) -> int | None:
        """Number of a name, or None."""
        wanted, place = name.encode("utf-8", "surrogatepass"), self._place(name)
        if place < len(self) and self._bytes(number := int(self.order[place])) == wanted:
            return number
        return None

    def near(self, name: str, count: int = 50) -> list[str]:
        """The names that stand around one in the alphabet."""
        place = self._place(name)
        return [self[int(number)] for number in self.order[max(0, place - count // 2) : place + count // 2]]

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Numbers in the order of the names' bytes."""
        names = [self._bytes(number) for number in range(len(self))]
        return np.array(sorted(range(len(self)), key=names.__getitem__), np.int64)

    def save(self, folder: Path, name: str) -> None:
        """Write three arrays into a folder, which `open` finds by `name`."""
        for part in PARTS:
            np.save(folder / f"{name}.{part}.npy", getattr(self, part))

    @classmethod
    def open(cls, folder: Path, name: str, count: int) -> Names:
        """Open what `save` wrote, by memory map; raises StorageError where it is damaged."""
        found = {}
        for part in PARTS:
            path = folder / f"{name}.{part}.npy"
            try:
                found[part] = np.load(path, mmap_mode="r" if path.stat().st_size > 1024 else None)
            except (OSError, ValueError, EOFError) as error:
                raise StorageError(f"{path} is damaged ({error}); build the index again") from error
        text, ends, order = (found[part] for part in PARTS)
        if not len(ends) == len(order) == count or (count and int(ends[-1]) != len(text)):
            raise StorageError(f"the names in {folder} are damaged; build the index again")
        names = cls(text, ends)
        names.order = order
        return names

    def _place(self, name: str) -> int:
        wanted = name.encode("utf-8", "surrogatepass")
        return bisect_left(range(len(self)), wanted, key=lambda place: self._bytes(int(self.order[place])))

    def _bytes(self, number: int) -> bytes:
        start = int(self.ends[number - 1]) if number else 0
        return self.text[start : int(self.ends[number])].tobytes()


def near(name: str, known: Iterable[str], count: int = 1000) -> list[str]:
    """The names that stand around one in the alphabet: enough to suggest another from, however many there are."""
    names = sorted(known)
    place = bisect_left(names, name)
    return names[max(0, place - count // 2) : place + count // 2]
