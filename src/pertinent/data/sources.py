"""Where data sets are published, and bringing their files into a folder."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, NonNegativeInt, field_validator, model_validator

from pertinent.config import Settings, parse, read_yaml
from pertinent.data.archives import unpack
from pertinent.data.download import fetch
from pertinent.data.ledger import Ledger
from pertinent.data.progress import Listener, silent
from pertinent.data.table import LabelKind
from pertinent.errors import UnknownNameError
from pertinent.files import UNFINISHED

_TABLE = Path(__file__).with_suffix(".yaml")


class SourceFile(Settings):
    """One file of a data set as it is published.

    Attributes:
        url: where it is; `{number}` is replaced where there are `numbers`.
        file: its name in the data set's folder; default the last part of `url`.
        sha256: what its publisher says; None where they say nothing.
        md5: the same, of publishers who give this older sum.
        unpack: for an archive, the folder to unpack it into, relative to the data set's.
        strip: leading folders of its members to leave out.
        flatten: put all its members into that folder itself.
        recalled: the address is not one that the publisher writes.
        numbers: first and last of several files.
    """

    url: Annotated[str, Field(pattern="^https://")]
    file: str = ""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    md5: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = None
    unpack: str | None = None
    strip: NonNegativeInt = 0
    flatten: bool = False
    recalled: bool = False
    numbers: tuple[int, int] | None = None

    @field_validator("file", "unpack")
    @classmethod
    def _inside(cls, value: str | None) -> str | None:
        if value is not None and (value.startswith("/") or ".." in value.split("/")):
            raise ValueError("must lie in the data set's folder")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> SourceFile:
        if self.unpack is None and (self.strip or self.flatten):
            raise ValueError("strip and flatten are of archives: say unpack")
        if self.numbers is not None and (self.file or self.sha256 or self.md5 or "{number}" not in self.url):
            raise ValueError("numbers go with a {number} in url, and without file, sha256 and md5")
        return self

    @property
    def name(self) -> str:
        """Its path in the data set's folder."""
        return self.file or urlsplit(self.url).path.rsplit("/", 1)[-1]

    def each(self) -> Iterator[SourceFile]:
        """Itself, or the files that its numbers stand for."""
        if self.numbers is None:
            yield self
            return
        for number in range(self.numbers[0], self.numbers[1] + 1):
            yield self.model_copy(update={"url": self.url.replace("{number}", str(number)), "numbers": None})


class Source(Settings):
    """Where one data set is published.

    Attributes:
        page: where its publisher tells of it.
        licence: what they say about use.
        labels: kinds of the reader's splits.
        splits: of the reader with its default options.
        files: what can be downloaded, lists before pictures; empty where one has to ask.
        by_hand: what cannot be downloaded by us, and how to get it.
    """

    page: str
    licence: str
    labels: Sequence[LabelKind]
    splits: Sequence[str]
    files: Sequence[SourceFile] = ()
    by_hand: str = ""

    @property
    def hosts(self) -> list[str]:
        """The servers that the files come from."""
        return list(dict.fromkeys(urlsplit(file.url).hostname or "" for file in self.files))

    def each(self) -> list[SourceFile]:
        """All files, one by one."""
        return [one for file in self.files for one in file.each()]

    def folders(self, root: Path) -> set[Path]:
        """The folders that its files are downloaded into."""
        return {root, *((root / file.name).parent for file in self.each())}

    def half_unpacked(self, root: Path) -> list[Path]:
        """What a killed process left of unpacking an archive."""
        archives = [file for file in self.each() if file.unpack is not None]
        targets = {root / (file.unpack or "") for file in archives}
        names = {target.name for target in targets} | {Path(file.name).name for file in archives}
        places = targets | {target.parent for target in targets}
        return sorted(
            path
            for path in {path for place in places for path in place.glob(".*")}
            if path.is_dir() and (rest := UNFINISHED.fullmatch(path.name)) and rest["name"] in names
        )


@functools.cache
def sources() -> dict[str, Source]:
    """Every data set that is known to be published, by the name of its reader."""
    return {name: parse(Source, row, f"{_TABLE.name}: {name}") for name, row in read_yaml(_TABLE).items()}


def source(name: str) -> Source:
    """Where one data set is published.

    Raises:
        UnknownNameError: nothing is known of it.
    """
    if name not in sources():
        raise UnknownNameError("published data set", name, sources())
    return sources()[name]


def is_done(file: SourceFile, root: Path) -> bool:
    """Tell whether a file is there as it was downloaded, or was unpacked; its bytes are not looked at."""
    path = root / file.name
    known = Ledger(path.parent).read().get(path.name)
    if file.unpack is not None:
        return known is not None and known.unpacked and (root / file.unpack).is_dir()
    return known is not None and path.is_file() and path.stat().st_size == known.bytes


def is_intact(file: SourceFile, root: Path) -> bool:
    """Tell whether a file is there with the bytes that were downloaded."""
    path = root / file.name
    known = Ledger(path.parent).read().get(path.name)
    return known is not None and path.is_file() and not list(known.faults(path))


def obtain(file: SourceFile, root: Path, listener: Listener = silent) -> None:
    """Download one file into a data set's folder, unpack it if it is an archive, and then delete the archive.

    An archive that was in the folder before stays. What an interruption leaves undone is done by the next call.

    Args:
        file: what to bring.
        root: the data set's folder.
        listener: hears what `fetch` and `unpack` tell.

    Raises:
        DataError, StorageError: see `fetch` and `unpack`.
    """
    path = root / file.name
    fetch(file.url, path, sha256=file.sha256, md5=file.md5, listener=listener)
    if file.unpack is None:
        return
    unpack(path, root / file.unpack, strip=file.strip, flatten=file.flatten, listener=listener)
    ledger = Ledger(path.parent)
    known = ledger.read()[path.name]
    ledger.note(path.name, dataclasses.replace(known, unpacked=True))
    if known.ours:
        path.unlink()
