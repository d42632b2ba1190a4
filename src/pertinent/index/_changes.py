"""What was changed since an index was built: records of changes, and the added items they leave.

Letters: n added items, D dim.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError
from pertinent.index._where import Key, Value, check_value, value_key

Vectors = NDArray[np.float32]
HEAD = 8


@dataclass(frozen=True)
class Put:
    """Items that are added, or take the place of those of the same ids.

    Attributes:
        ids: n names, none twice.
        vectors: `(n, D)` float32, finite, as embedded.
        places: n paths or descriptions.
        words: n lists of label words, fine first.
        metadata: n flat mappings.
    """

    ids: list[str]
    vectors: Vectors
    places: list[str]
    words: list[list[str]]
    metadata: list[dict[str, Value]]

    @classmethod
    def of(
        cls,
        ids: Sequence[str],
        vectors: Vectors,
        words: Sequence[Sequence[str]] | None = None,
        places: Sequence[str] | None = None,
        metadata: Sequence[Mapping[str, Value]] | None = None,
    ) -> Put:
        """Items as `Index.put` takes them; raises InputError for what cannot be stored."""
        ids = list(ids)
        wrong = next((name for name in ids if not isinstance(name, str) or not name), None)
        if wrong is not None:
            raise InputError(f"an id must be a word, got {wrong!r}")
        if len(set(ids)) != len(ids):
            twice = next(name for name in ids if ids.count(name) > 1)
            raise InputError(f"{twice!r} is put twice in one call; put each id once")
        for name, given in (("vectors", vectors), ("words", words), ("places", places), ("metadata", metadata)):
            if given is not None and len(given) != len(ids):
                raise InputError(f"expected {name} for each of the {len(ids)} ids, got {len(given)}")
        return cls(
            ids,
            vectors,
            list(map(str, places)) if places is not None else ids,
            [_words(row) for row in words] if words is not None else [[] for _ in ids],
            [_metadata(row) for row in metadata] if metadata is not None else [{} for _ in ids],
        )

    def encode(self) -> bytes:
        """Bytes that `decode` reads."""
        said = {"ids": self.ids, "words": self.words, "metadata": self.metadata}
        return _encode({**said, **({"places": self.places} if self.places != self.ids else {})}, self.vectors)


@dataclass(frozen=True)
class Delete:
    """Items that are no longer found, by the numbers of their rows."""

    rows: list[int]

    def encode(self) -> bytes:
        """Bytes that `decode` reads."""
        return _encode({"delete": self.rows})


Change = Put | Delete

DONE = Delete([])
"""Follows a change that a database has taken in."""


def decode(data: bytes, dim: int) -> Change:
    """The change that `encode` wrote; raises ValueError or KeyError for other bytes."""
    size = int.from_bytes(data[:HEAD], "little")
    said = json.loads(data[HEAD : HEAD + size])
    if "delete" in said:
        return Delete(said["delete"])
    vectors = np.frombuffer(data, np.float32, offset=HEAD + size).reshape(len(said["ids"]), dim)
    return Put(said["ids"], vectors, said.get("places", said["ids"]), said["words"], said["metadata"])


class Added:
    """Added items in the order in which they came; rows are only ever written at the end, so readers need no lock.

    Attributes:
        rows: for each id the rows that had it, counted from the first added item, oldest first.
    """

    def __init__(self, dim: int, compared_dim: int) -> None:
        self.ids: list[str] = []
        self.places: list[str] = []
        self.words: list[list[str]] = []
        self.metadata: list[dict[str, Value]] = []
        self.rows: dict[str, list[int]] = defaultdict(list)
        self.by_word: dict[str, list[int]] = defaultdict(list)
        self.by_value: dict[str, dict[Key, list[int]]] = defaultdict(lambda: defaultdict(list))
        self._given, self._compared = _Growing(dim), _Growing(compared_dim)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def given(self) -> Vectors:
        """`(n, D)` vectors as embedded."""
        return self._given.rows

    @property
    def compared(self) -> Vectors:
        """`(n, K)` vectors as they are compared."""
        return self._compared.rows

    def extend(self, put: Put, compared: Vectors) -> None:
        """Append items."""
        self._given.append(put.vectors)
        self._compared.append(compared)
        for row, (name, words, metadata) in enumerate(zip(put.ids, put.words, put.metadata, strict=True), len(self)):
            self.rows[name].append(row)
            for word in set(words) - {""}:
                self.by_word[word].append(row)
            for key, value in metadata.items():
                self.by_value[key][value_key(value)].append(row)
        self.places += put.places
        self.words += put.words
        self.metadata += put.metadata
        self.ids += put.ids

    def cut(self, count: int) -> None:
        """Forget all but the first items: a change that failed may have left more."""
        for row in reversed(range(count, len(self))):
            self.rows[self.ids[row]].pop()
            for word in set(self.words[row]) - {""}:
                self.by_word[word].pop()
            for key, value in self.metadata[row].items():
                self.by_value[key][value_key(value)].pop()
        for column in (self.ids, self.places, self.words, self.metadata):
            del column[count:]
        self._given.count = self._compared.count = count


class _Growing:
    """Rows with room to spare; a filled row never moves under a reader, who keeps the array that it lies in."""

    def __init__(self, dim: int) -> None:
        self._room, self.count = np.empty((0, dim), np.float32), 0

    @property
    def rows(self) -> Vectors:
        return self._room[: self.count]

    def append(self, rows: Vectors) -> None:
        needed = self.count + len(rows)
        if needed > len(self._room):
            room = np.empty((max(needed, 2 * self.count), self._room.shape[1]), np.float32)
            room[: self.count] = self.rows
            self._room = room
        self._room[self.count : needed] = rows
        self.count = needed


def _encode(said: dict[str, Any], vectors: Vectors | None = None) -> bytes:
    try:
        text = json.dumps(said, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"a text has characters that UTF-8 cannot hold: {error}") from error
    text += b" " * (-(HEAD + len(text)) % 4)  # so that numbers lie where they can be read in place
    return len(text).to_bytes(HEAD, "little") + text + (vectors.tobytes() if vectors is not None else b"")


def _words(row: Sequence[str]) -> list[str]:
    if isinstance(row, str) or not all(isinstance(word, str) for word in row):
        raise InputError(f"the words of an item must be a list of words, got {row!r}")
    return list(row)


def _metadata(row: Mapping[str, Value]) -> dict[str, Value]:
    for key, value in row.items():
        check_value(key, value)
    return dict(row)
