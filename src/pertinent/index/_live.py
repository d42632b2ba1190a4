"""What the databases share: rows that are checked before they are sent, and what they found, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError, StorageError
from pertinent.functional.neighbours import NOBODY, blocks

if TYPE_CHECKING:
    from pertinent.index._where import Value, Where

STRUCTURES = ("hnsw", "flat")
MARK = "pertinent"

Found = tuple[NDArray[np.float32], NDArray[np.int64]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Graph:
    """How items are found: by a graph (`hnsw`) and its three numbers, or by comparing all (`flat`)."""

    structure: str
    links: int
    build: int
    search: int

    def __post_init__(self) -> None:
        if self.structure not in STRUCTURES:
            raise InputError(f"structure must be one of {', '.join(STRUCTURES)}; got {self.structure!r}")
        for name, least, most in (("links", 2, 100), ("build", 4, 1000), ("search", 1, 1000)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise InputError(f"{name} must be a whole number from {least} to {most}, got {value!r}")
        if self.build < 2 * self.links:
            raise InputError(f"build must be at least twice links, got {self.build} and {self.links}")


@dataclass(frozen=True)
class Rows:
    """Items as a database holds them, one entry an item in each."""

    positions: Sequence[int]
    ids: Sequence[str]
    vectors: NDArray[np.float32]
    words: Sequence[Sequence[str]]
    metadata: Sequence[Mapping[str, Value]]

    @classmethod
    def of(
        cls,
        positions: Sequence[int] | NDArray[np.int64],
        ids: Sequence[str],
        vectors: NDArray[np.float32],
        *,
        words: Sequence[Sequence[str]] | None,
        metadata: Sequence[Mapping[str, Value]] | None,
        dim: int,
    ) -> Rows:
        """Check that all belong together; raises InputError where they do not."""
        count = len(positions)
        words = [()] * count if words is None else words
        metadata = [{}] * count if metadata is None else metadata
        if not count == len(ids) == len(vectors) == len(words) == len(metadata):
            given = f"{len(ids)} ids, {len(vectors)} vectors, {len(words)} words and {len(metadata)} metadata"
            raise InputError(f"expected one of each for {count} items, got {given}")
        check_vectors(vectors, dim)
        for texts in (ids, *words, *metadata, *(item.values() for item in metadata)):
            check_texts(texts)
        return cls([int(place) for place in positions], ids, vectors, words, metadata)

    def __len__(self) -> int:
        return len(self.positions)

    def batches(self, size: int) -> Iterator[Rows]:
        """The same rows, `size` at a time."""
        for rows in blocks(len(self), size):
            parts = (getattr(self, name)[rows] for name in ("positions", "ids", "vectors", "words", "metadata"))
            yield Rows(*parts)


def check_vectors(vectors: NDArray[np.float32], dim: int) -> None:
    """Raise InputError unless vectors are `(N, dim)`."""
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise InputError(f"expected vectors of {dim} numbers, got shape {vectors.shape}")


def check_texts(texts: Iterable[Any]) -> None:
    """Raise InputError for a text that databases cannot hold; other values are left alone."""
    for text in texts:
        if isinstance(text, str) and ("\0" in text or (not text.isascii() and text != _readable(text))):
            raise InputError(f"databases cannot hold {text[:100]!r}: it has a zero byte, or half of a character")


def _readable(text: str) -> str:
    return text.encode("utf-8", "ignore").decode("utf-8")


def check_where(where: Where | None) -> None:
    """Raise InputError for a filter whose texts no database can hold."""
    if where:
        values = [value for key in where.metadata for _, value in where.values(key)]
        check_texts((*where.labels, *where.ids_not, *where.metadata, *values))


def best(found: Sequence[Sequence[tuple[int, float]]], k: int) -> Found:
    """The k best of what was found for each query, best first, equal scores by position.

    Args:
        found: positions and scores of each query, in any order.
        k: how many; no more columns than the longest row has come back.

    Returns:
        scores and positions, `(Q, k)` each; a shorter row ends with -inf and -1.
    """
    width = min(k, max(map(len, found), default=0))
    scores = np.full((len(found), width), -np.inf, np.float32)
    positions = np.full((len(found), width), NOBODY, np.int64)
    for row, hits in enumerate(found):
        places = np.array([place for place, _ in hits], np.int64)
        values = np.array([score for _, score in hits], np.float32)
        order = np.lexsort((places, -values))[:width]
        scores[row, : len(order)], positions[row, : len(order)] = values[order], places[order]
    return scores, positions


def is_ours(mark: Any, identity: str | None = None) -> bool:
    """Whether what a table says of itself is the mark of an index, or of the one of this identity."""
    ours = isinstance(mark, dict) and isinstance(mark.get(MARK), dict)
    return ours and identity in (None, mark[MARK].get("identity"))


def is_replaced(mark: Any, replace: bool | str, shown: str, what: str) -> bool:
    """Whether there is a table that a new index is to replace.

    Args:
        mark: what the table says of itself; None where there is no table.
        replace: true for any index, or the identity of the one to replace.
        shown: the table's URL, without secrets.
        what: what the database calls a table.

    Raises:
        StorageError: there is one that is not to be replaced.
    """
    if mark is None:
        return False
    if not is_ours(mark):
        raise StorageError(f"{shown}: a {what} of that name is not an index of Pertinent; choose another name")
    if replace is not True and not (replace and is_ours(mark, str(replace))):
        raise StorageError(
            f"{shown}: the {what} holds an index already; choose another name, or replace it with replace=true"
        )
    return True


def check_mark(mark: Any, identity: str, dim: int, shown: str, what: str) -> None:
    """Raise StorageError unless a table's mark is that of the index of this identity and dimension."""
    if not is_ours(mark, identity) or mark[MARK].get("dim") != dim:
        found = "is missing" if mark is None else "holds something else than this index"
        raise StorageError(f"{shown}: the {what} {found}; build the index again")
