"""Near duplicates within stores and between them: pairs, groups, which picture to keep, and labels that contradict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pertinent.engine.events import Listener, Rate, silent
from pertinent.engine.overlaps import UNKNOWN, Overlap, OverlapTally
from pertinent.errors import InputError, StorageError, UnknownNameError
from pertinent.files import sha256_file
from pertinent.functional.components import roots
from pertinent.functional.near_pairs import Step, near_codes, near_pairs
from pertinent.functional.packed import PackedCodes, pack_signs
from pertinent.store import EmbeddingStore

KEEP = ("first", "largest")
"""Rules for which picture of a group to keep."""


@dataclass(frozen=True)
class Place:
    """One stored picture: the name of its store, its id, where it lies, and its labels as words and as one text."""

    store: str
    id: str
    where: str
    words: Sequence[str]
    label: str


@dataclass(frozen=True)
class Pair:
    """Two pictures, by position, that are near each other.

    `same_file` is None where the files are not there to tell; `conflict` means that both are labelled, and not alike.
    """

    first: int
    second: int
    score: float
    same_file: bool | None
    conflict: bool
    leak: bool


@dataclass(frozen=True)
class Group:
    """Pictures, by position, that hang together by pairs; the first is the one to keep."""

    members: tuple[int, ...]
    conflict: bool
    leak: bool

    @property
    def dropped(self) -> tuple[int, ...]:
        """All but the one to keep."""
        return self.members[1:]


@dataclass(frozen=True)
class Duplicates:
    """What `find_duplicates` found. Positions count through all stores, in the order in which they were given.

    Attributes:
        stores: by name.
        above: the cosine that pairs reach.
        bits: the most bits in which codes differ; None where vectors were compared.
        pairs: conflicts between stores first, then conflicts, then leaks, then the rest; nearest first.
        groups: in the same order, larger ones first.
        overlaps: for each store and each two of them.
    """

    stores: Mapping[str, EmbeddingStore]
    above: float
    bits: int | None
    pairs: Sequence[Pair]
    groups: Sequence[Group]
    overlaps: Sequence[Overlap]
    starts: NDArray[np.int64] = field(repr=False)

    def place(self, position: int) -> Place:
        """The picture at a position."""
        number, row = self.row(position)
        name, store = list(self.stores.items())[number]
        words = [word for word in store.labels.words(row) if word]
        return Place(name, store.ids[row], store.places[row], words, store.labels.between.join(words))

    def row(self, position: int) -> tuple[int, int]:
        """The number of its store, and its row there."""
        number = int(np.searchsorted(self.starts, position, side="right")) - 1
        return number, position - int(self.starts[number])

    @cached_property
    def dropped(self) -> NDArray[np.int64]:
        """Positions of all pictures but the one to keep of each group, ascending."""
        return np.sort(np.array([place for group in self.groups for place in group.dropped], np.int64))

    @property
    def dropped_rows(self) -> list[NDArray[np.int64]]:
        """Their rows in each store."""
        cuts = np.searchsorted(self.dropped, self.starts[1:])
        return [rows - start for rows, start in zip(np.split(self.dropped, cuts), self.starts, strict=True)]

    @property
    def same_files(self) -> dict[tuple[str, str], int]:
        """Listed pairs of the same file to the last byte, by the names of their stores, where files were there."""
        names, counts = list(self.stores), dict[tuple[str, str], int]()
        for pair in self.pairs:
            if pair.same_file is not None:
                key = (names[self.row(pair.first)[0]], names[self.row(pair.second)[0]])
                counts[key] = counts.get(key, 0) + pair.same_file
        return counts

    @property
    def n_pairs(self) -> int:
        """Pairs in all, listed or not."""
        return sum(overlap.pairs for overlap in self.overlaps)

    @property
    def leaks(self) -> list[Overlap]:
        """Pairs of stores that share pictures."""
        return [overlap for overlap in self.overlaps if overlap.first != overlap.second and overlap.pairs]


def find_duplicates(
    stores: Mapping[str, EmbeddingStore],
    *,
    above: float = 0.95,
    bits: int | None = None,
    keep: str = "first",
    between_only: bool = False,
    listener: Listener = silent,
) -> Duplicates:
    """Find every pair of pictures whose vectors have a cosine of at least `above`, within stores and between them.

    Args:
        stores: by name, made by one encoder; queries-only rows count like the others.
        above: cosine, in (0, 1].
        bits: compare the signs of the vectors instead: at most so many of them differ.
        keep: of each group, the `first` of the first store that it touches, or there the `largest` in pixels.
        between_only: pairs between stores only, such as those of training and test.
        listener: hears `compare` events with `done` and `total` comparisons, pairs `found`, `rate` and `eta`.

    Raises:
        InputError: stores of other encoders or lengths, a value out of range, or `between_only` with one store.
        UnknownNameError: no such rule to keep by.
        StorageError: `largest`, and a picture is not there to be measured.
    """
    _check(stores, keep, between_only)
    tally = OverlapTally(list(stores.values()))
    together = [(a, b) for a, b in combinations_with_replacement(range(len(stores)), 2) if a != b or not between_only]
    sizes = [len(store) for store in stores.values()]
    total = sum(sizes[a] * (sizes[a] - 1) // 2 if a == b else sizes[a] * sizes[b] for a, b in together)
    rate, comparer = Rate(total), _Comparer(list(stores.values()), above, bits)
    for a, b in together:
        for pairs, compared in comparer.steps(a, b):
            tally.add(a, b, pairs)
            paced = rate.add(compared)
            listener({"event": "compare", "done": rate.done, "total": total, "found": tally.found, **paced})
    groups = _groups(tally, keep)
    digests = _digests(tally, [group.members for group in groups])
    first, second, scores = tally.listed()
    other, apart = tally.conflicts(first, second), tally.number_of(first) != tally.number_of(second)
    order = np.lexsort((second, first, -scores, ~apart, ~other))
    listed = [
        Pair(i, j, score, _same(digests, i, j), conflict, leak)
        for i, j, score, conflict, leak in zip(
            *(column[order].tolist() for column in (first, second, scores, other, apart)), strict=True
        )
    ]
    return Duplicates(stores, above, bits, listed, groups, tally.overlaps(list(stores), together), tally.starts)


def _check(stores: Mapping[str, EmbeddingStore], keep: str, between_only: bool) -> None:
    if keep not in KEEP:
        raise UnknownNameError("rule to keep by", keep, KEEP)
    if between_only and len(stores) < 2:
        raise InputError("there is one store, and nothing between; name two or more")
    (name, first), *others = stores.items()
    for other_name, other in others:
        if (first.encoder, first.dim) != (other.encoder, other.dim):
            raise InputError(
                f"{name} and {other_name} were made by different encoders ({_about(first)}; {_about(other)}), so their "
                "vectors cannot be compared; embed both with one"
            )


def _about(store: EmbeddingStore) -> str:
    return f"{'unknown' if store.encoder is None else store.encoder[:16]}, {store.dim} numbers"


class _Comparer:
    """Steps through the pairs of two stores, or of one."""

    def __init__(self, stores: list[EmbeddingStore], above: float, bits: int | None) -> None:
        self.stores, self.above, self.bits = stores, above, bits
        self.codes: dict[int, PackedCodes] = {}

    def steps(self, a: int, b: int) -> Iterator[Step]:
        if self.bits is not None:
            return near_codes(self._packed(a), None if a == b else self._packed(b), bits=self.bits)
        vectors = [self.stores[number].vectors for number in (a, b)]
        return near_pairs(vectors[0], None if a == b else vectors[1], above=self.above)

    def _packed(self, number: int) -> PackedCodes:
        if number not in self.codes:
            store = self.stores[number]
            packed = store.codes if "codes" in store.manifest else pack_signs(store.vectors)
            self.codes[number] = PackedCodes.of(packed, store.dim)
        return self.codes[number]


def _groups(tally: OverlapTally, keep: str) -> list[Group]:
    root = roots(tally.parents)
    order = np.argsort(root, kind="stable")
    order = order[np.bincount(root, minlength=len(root))[root[order]] > 1]
    cuts = np.flatnonzero(np.diff(root[order])) + 1
    groups = []
    for members in np.split(order, cuts) if len(order) else []:
        numbers, labels = tally.number_of(members), tally.labels[members]
        known = np.unique(labels[labels != UNKNOWN])
        best = _to_keep(tally, members[numbers == numbers[0]], keep)
        chosen = (best, *(place for place in members.tolist() if place != best))
        groups.append(Group(chosen, len(known) > 1, bool(numbers[-1] != numbers[0])))
    return sorted(groups, key=lambda group: (not group.conflict, not group.leak, -len(group.members), group.members))


def _to_keep(tally: OverlapTally, members: NDArray[np.int64], keep: str) -> int:
    if keep == "first" or len(members) == 1:
        return int(members[0])
    sizes = [_pixels(tally.where(place)) for place in members.tolist()]
    return int(members[sizes.index(max(sizes))])


def _pixels(path: Path) -> int:
    try:
        with Image.open(path) as picture:
            return picture.width * picture.height
    except (OSError, Image.DecompressionBombError) as error:
        raise StorageError(f"{path} cannot be measured ({error}); keep the first instead of the largest") from error


def _digests(tally: OverlapTally, groups: Sequence[Sequence[int]]) -> dict[int, str]:
    """Of grouped pictures that are files: their sha256; their size in bytes where nothing near has the same."""
    digests: dict[int, str] = {}
    for members in groups:
        by_size: dict[int, list[int]] = defaultdict(list)
        for place in members:
            path = tally.where(place)
            if path.is_file():
                by_size[path.stat().st_size].append(place)
        for size, places in by_size.items():
            for place in places:
                digests[place] = sha256_file(tally.where(place)) if len(places) > 1 else f"{size} bytes"
    return digests


def _same(digests: Mapping[int, str], first: int, second: int) -> bool | None:
    return digests[first] == digests[second] if first in digests and second in digests else None
