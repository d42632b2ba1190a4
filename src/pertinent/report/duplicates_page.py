"""Groups of near duplicates side by side, as a self-contained page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path

from pertinent.engine.duplicates import Duplicates
from pertinent.report.content import Hit
from pertinent.report.page import render, write_page
from pertinent.report.severity import Severity, severities
from pertinent.report.stored_pictures import StoredPictures

MOST_GROUPS, MOST_MEMBERS = 200, 24
"""Groups on a page, and pictures of one; the files that the program writes hold all."""

_OTHER_LABEL, _COPY, _KEPT = range(3)
_PARTS = {
    (True, True): "Between stores, with other labels",
    (False, True): "Within a store, with other labels",
    (True, False): "Between stores",
    (False, False): "Within a store",
}
"""Heading of the groups that touch several stores or not, and whose labels contradict or not; in order of groups."""


@dataclass(frozen=True)
class Member:
    """One picture of a group: the name of its store, its score in its nearest pair, and whether its file has a twin."""

    store: str
    hit: Hit
    same_file: bool


@dataclass(frozen=True)
class ShownGroup:
    """A group with the members that are shown, the one to keep first."""

    number: int
    members: Sequence[Member]
    size: int


def write_duplicates_page(
    found: Duplicates, path: str | Path, pictures: Mapping[str, StoredPictures] | None = None
) -> Path:
    """Write the groups, each with the picture to keep first; return the path.

    Args:
        found: what was found.
        path: the HTML file.
        pictures: reads the pictures of a store, by its name; by default from where the store says that they lie.

    Raises:
        StorageError: a data set no longer holds a picture, or the page cannot be written.
    """
    layout = _Layout(found, {name: (pictures or {}).get(name, StoredPictures()) for name in found.stores})
    numbered = list(enumerate(found.groups, 1))
    sections = []
    for (leak, conflict), heading in _PARTS.items():
        groups = [(number, group) for number, group in numbered if (group.leak, group.conflict) == (leak, conflict)]
        shown = [layout.group(number, group.members) for number, group in groups if number <= MOST_GROUPS]
        sections.append((heading, len(groups), shown))
    page = render(
        "duplicates.html.j2",
        title="Near duplicates",
        found=found,
        sections=[section for section in sections if section[1]],
        scale=_scale(),
        several=len(found.stores) > 1,
    )
    return write_page(page, path)


class _Layout:
    """Lays out groups; `nearest` is the best score of each picture among the listed pairs."""

    def __init__(self, found: Duplicates, readers: Mapping[str, StoredPictures]) -> None:
        self.found, self.readers = found, readers
        self.nearest: dict[int, float] = {}
        self.twins: set[int] = set()
        for pair in found.pairs:
            for place in (pair.first, pair.second):
                self.nearest[place] = max(pair.score, self.nearest.get(place, pair.score))
                if pair.same_file:
                    self.twins.add(place)

    def group(self, number: int, positions: Sequence[int]) -> ShownGroup:
        members = [self._member(position, positions[0]) for position in positions[:MOST_MEMBERS]]
        return ShownGroup(number, members, len(positions))

    def _member(self, position: int, kept: int) -> Member:
        place, label = self.found.place(position), self.found.place(kept).words
        other = bool(place.words and label and set(place.words) != set(label))
        level = _KEPT if position == kept else _OTHER_LABEL if other else _COPY
        image = self.readers[place.store].read(place.id, place.where)
        hit = Hit(place.id, place.where, place.words, self.nearest.get(position, nan), level, image)
        return Member(place.store, hit, position in self.twins)


def _scale() -> list[Severity]:
    """What a picture of a group is, in the colours and marks of the report's severities."""
    words = ("other label", "copy", "to keep")
    return [replace(step, words=said) for step, said in zip(severities(("", "")), words, strict=True)]
