"""What VOC2007 and VOC2012 share: the devkit's folders, and the objects of a picture as its tags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np

from pertinent.data.datasets._lists import Place, find_folder, find_pictures, refuse_twice
from pertinent.data.datasets._parts import root_folder, write_example_picture
from pertinent.data.datasets._tags import (
    HELD_OUT,
    Flags,
    Tagged,
    check_held_out,
    hold_back,
    named_flags,
    read_lines,
    read_names,
    settle_split,
)
from pertinent.data.table import ImageTable
from pertinent.errors import DataError, suggest

# fmt: off
CLASSES = [
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
]
# fmt: on

_SETS = "ImageSets/Main"


class VOC:
    """Reads the splits of one year's devkit whose list is in `ImageSets/Main`.

    The objects come from `Annotations/ID.xml`; without that folder, from the lists `ImageSets/Main/CLASS_SPLIT.txt`.

    Args:
        root: the folder above `VOCdevkit`, that folder, or `VOC<year>` in it.
        difficult: whether an object that is marked difficult counts.
        held_out: share of `train` that becomes the split `held_out`.

    Raises:
        DataError: there is no list of a split.
    """

    reader: ClassVar[str]
    origin: ClassVar[str]
    sets: ClassVar[Sequence[str]]
    """The published splits."""
    also: ClassVar[Mapping[str, str]]
    """What the hashing papers call these splits."""
    expected: Mapping[str, int]

    def __init__(self, root: Path | str | None, *, difficult: bool, held_out: float = 0.0) -> None:
        check_held_out(held_out, self.reader)
        year = self.reader.upper()
        lists = [f"{_SETS}/{name}.txt" for name in self.sets]
        folders = (f"VOCdevkit/{year}", year, "")
        self.root = find_folder(root_folder(root, self.reader), folders, lists, self.reader, self.origin)
        self._difficult, self._share = difficult, held_out
        there = [name for name in self.sets if self._list(name).is_file()]
        self.splits: Sequence[str] = [*there, *([HELD_OUT] if held_out else [])]

    def split(self, name: str) -> ImageTable:
        """Read one split; raises DataError when its list, an annotation or a picture is missing or wrong."""
        # A name of the hashing papers always means the whole list, `train` what is left of it.
        known = [*self.sets, *([HELD_OUT] if self._share else [])]
        part = settle_split(name, known, self.also, self.reader)
        tagged = self._read("train" if part == HELD_OUT else part)
        if self._share and part in ("train", HELD_OUT) and name not in self.also:
            tagged = tagged.take(hold_back(tagged.names, self._share, self.reader)[part])
        paths = [f"{identity}.jpg" for identity in tagged.names]
        source = find_pictures(self.root, paths, ("JPEGImages",), self.reader, self.origin)
        return tagged.table(source, CLASSES)

    def _list(self, name: str) -> Path:
        return self.root / _SETS / f"{name}.txt"

    def _read(self, name: str) -> Tagged:
        names = read_names(self._list(name), self.reader, self.origin)
        folder = self.root / "Annotations"
        if folder.is_dir():
            found = [self._objects(folder / f"{identity}.xml") for identity in names]
            return Tagged(names, named_flags(found, CLASSES))
        columns = [self._presence(self._list(f"{label}_{name}"), names) for label in CLASSES]
        return Tagged(names, np.stack(columns, axis=1))

    def _objects(self, path: Path) -> list[str]:
        """Classes of the objects that an annotation tells of."""
        if not path.is_file():
            raise DataError(f"{self.reader}: {path} is missing; {self.origin}")
        found = []
        for item in _parse(path, self.reader).iterfind("object"):
            label = (item.findtext("name") or "").strip()
            if label not in CLASSES:
                raise DataError(f"{self.reader}: {path} has an object {label!r}{suggest(label, CLASSES)}")
            if self._difficult or (item.findtext("difficult") or "0").strip() == "0":
                found.append(label)
        return found

    def _presence(self, path: Path, names: Sequence[str]) -> Flags:
        """Whether each picture has an object of one class: 1 it has, 0 only difficult ones, -1 none."""
        place = Place(self.reader, path, "line")
        why = f"without the folder Annotations it tells the classes; {self.origin}"
        rows = [(number, line.split()) for number, line in read_lines(path, self.reader, why)]
        for number, words in rows:
            if len(words) != 2 or words[1] not in ("1", "0", "-1"):
                raise DataError(f"{place.at(number)}: expected 'picture flag', a flag of 1, 0 or -1, got {words}")
        refuse_twice(((number, words[0]) for number, words in rows), place)
        flag = {words[0]: int(words[1]) for _, words in rows}
        lacking = [name for name in names if name not in flag]
        if lacking or len(flag) != len(names):
            which = f"{lacking[0]!r} is missing" if lacking else f"it has {len(flag)} for {len(names)}"
            raise DataError(f"{self.reader}: {path} does not list the pictures of its split: {which}; copy it again")
        present: Flags = np.array([flag[name] for name in names]) >= (0 if self._difficult else 1)
        return present


def _parse(path: Path, reader: str) -> Element:
    """The root of an XML file; a document type is refused, since its entities can grow without end or read files."""
    builder, parser = TreeBuilder(), expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise DataError(f"{reader}: {path} declares a document type, which no annotation does; do not trust it")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = builder.start, builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(path.read_bytes(), True)
        root: Element = builder.close()
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise DataError(f"{reader}: {path} is not XML ({error}); copy it again") from error
    return root


def write_example_devkit(root: Path, year: str, sets: Mapping[str, Sequence[int]]) -> None:
    """Write `VOCdevkit/VOC<year>` with lists, annotations and pictures; every third picture has no object."""
    folder = root / "VOCdevkit" / year
    (folder / "Annotations").mkdir(parents=True, exist_ok=True)
    (folder / _SETS).mkdir(parents=True, exist_ok=True)
    for name, numbers in sets.items():
        (folder / _SETS / f"{name}.txt").write_text("".join(f"{number:06}\n" for number in numbers), encoding="utf-8")
    for number in sorted({number for numbers in sets.values() for number in numbers}):
        write_example_picture(folder / f"JPEGImages/{number:06}.jpg", number)
        words = [CLASSES[(7 * number + step) % 20] for step in range(number % 3)]
        (folder / f"Annotations/{number:06}.xml").write_text(_annotation(words), encoding="utf-8")


def _annotation(labels: Iterable[str]) -> str:
    objects = (f"<object><name>{label}</name><difficult>{row}</difficult></object>" for row, label in enumerate(labels))
    return f"<annotation>{''.join(objects)}</annotation>\n"
