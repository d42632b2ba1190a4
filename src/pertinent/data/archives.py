"""Unpacking archives from strangers: nothing outside of the folder, nothing but files, and never half an archive."""

from __future__ import annotations

import contextlib
import lzma
import os
import posixpath
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from pertinent.data.progress import Listener, Progress, silent
from pertinent.errors import DataError, StorageError
from pertinent.files import clear_unfinished, storage_errors

_Kind = Literal["file", "folder", "link", "other"]

_BLOCK = 1 << 20
_LONGEST_PATH = 4096
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # a compression that zipfile does not know
    RuntimeError,  # an encrypted member
)


@dataclass(frozen=True)
class _Member:
    """One thing in an archive.

    Attributes:
        name: as the archive spells it.
        kind: a file, a folder, a link to another member, or anything else.
        size: bytes of a file.
        target: of a link, the member's name that it means.
        reached: bytes of the archive read once this is unpacked.
        content: opens a file's bytes.
    """

    name: str
    kind: _Kind
    size: int
    target: str
    reached: int
    content: Any


def unpack(
    archive: Path | str, folder: Path | str, *, strip: int = 0, flatten: bool = False, listener: Listener = silent
) -> int:
    """Unpack a zip or tar file (plain, gz, bz2, xz) into a folder; returns the number of files.

    All is unpacked into a temporary folder first, so nothing lands in `folder` from an archive that is refused or
    damaged, and an interrupted call is simply repeated. Files that are there already are replaced. Links between
    members become copies.

    Args:
        archive: the file; what it is shows in its bytes, not in its name.
        folder: made if there is none.
        strip: leading folders to leave out of each member's path; what lies above them is not unpacked.
        flatten: put all files into the folder itself, whatever folders they are in.
        listener: hears `unpack` events with `name`, `done`, `total` (bytes of the archive), `rate` and `eta`.

    Raises:
        DataError: not an archive, a damaged one, or a member that is refused, by name: an absolute path, one that leads
            out of the folder, a link to something outside of the archive, a device, two files of one name, a file that
            is a folder as well.
        StorageError: there is no such archive, the folder cannot be written, or the disk is or would be full.
    """
    archive, folder = Path(archive), Path(folder)
    if not archive.is_file():
        raise StorageError(f"{archive} does not exist or is no file; check the path")
    with _temporary(archive, folder) as temporary:
        progress = Progress("unpack", archive.name, archive.stat().st_size, listener)
        count = _Unpacking(archive, temporary, strip, flatten).run(progress)
        with storage_errors(folder, "unpacking into"):
            _move(temporary, folder)
    return count


@contextlib.contextmanager
def _temporary(archive: Path, folder: Path) -> Iterator[Path]:
    """A folder on the same disk as the one to be filled; what a killed process left of one goes first."""
    # A folder that is there may be a disk of its own, so that only what lies inside can be moved in one step.
    place, name = (folder, archive.name) if folder.is_dir() else (folder.parent, folder.name)
    with storage_errors(folder, "unpacking into"):
        place.mkdir(parents=True, exist_ok=True)
        clear_unfinished(place, (name,))
        temporary = Path(tempfile.mkdtemp(dir=place, prefix=f".{name}."))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class _Unpacking:
    def __init__(self, archive: Path, target: Path, strip: int, flatten: bool) -> None:
        self.archive, self.target, self.strip, self.flatten = archive, target, strip, flatten
        self.links: list[tuple[_Member, Path]] = []
        # Where each member of the archive lies now, by its path in the archive; each place is used once.
        self.places: dict[str, Path] = {}
        self.names: dict[Path, str] = {}

    def run(self, progress: Progress) -> int:
        try:
            for member in _members(self.archive):
                self._take(member)
                progress.add(member.reached - progress.done)
            for member, place in self.links:
                self._copy(member, place)
        except _DAMAGED as error:
            raise DataError(
                f"{self.archive} is damaged, incomplete or no archive ({error or type(error).__name__}); "
                "download it again"
            ) from error
        progress.add((progress.total or 0) - progress.done)
        return len(self.names)

    def _take(self, member: _Member) -> None:
        path = self._inside(member.name, member.name)
        if member.kind == "other":
            raise self._refused(member.name, "is a device or another thing that is no file")
        parts = path.split("/") if path else []
        kept = parts[-1:] if self.flatten else parts[self.strip :]
        if not kept:
            return
        place = self.target.joinpath(*kept)
        self._check_kind(member, place)
        with storage_errors(place, "unpacking"):
            if member.kind == "folder":
                if not self.flatten:
                    place.mkdir(parents=True, exist_ok=True)
                return
            place.parent.mkdir(parents=True, exist_ok=True)
        first = self.names.setdefault(place, path)
        if first != path:
            raise self._refused(member.name, f"would have the same place as {first!r}")
        self.places[path] = place
        if member.kind == "link":
            # One that leads out is told as such, before members that would go through it.
            self._inside(member.target, member.name)
            self.links.append((member, place))
        else:
            self._write(member, place)

    def _check_kind(self, member: _Member, place: Path) -> None:
        """Raise DataError where one place would be both a file and a folder."""
        above = next((self.names[parent] for parent in place.parents if parent in self.names), None)
        if above is not None:
            raise self._refused(member.name, f"lies in {above!r}, which is a file of the archive and no folder")
        if member.kind == "folder":
            if place in self.names and not self.flatten:
                raise self._refused(member.name, "is both a file and a folder of the archive")
        elif place.is_dir():
            raise self._refused(member.name, "is both a file and a folder of the archive")

    def _write(self, member: _Member, place: Path) -> None:
        free = shutil.disk_usage(self.target).free
        if member.size > free:
            raise StorageError(
                f"{self.archive}: member {member.name!r} needs {member.size:,} bytes, {free:,} are free; free space "
                "or choose another folder, then run the same command again"
            )
        with member.content() as source, storage_errors(place, "unpacking"), place.open("wb") as file:
            left = member.size
            while left and (block := _read(source, min(left, _BLOCK))):
                file.write(block)
                left -= len(block)
        if left:
            raise EOFError(f"member {member.name!r} ends {left:,} bytes early")

    def _copy(self, member: _Member, place: Path) -> None:
        target = self.places.get(self._inside(member.target, member.name))
        if target is None or not target.is_file():
            raise self._refused(member.name, f"is a link to {member.target!r}, which is no file of the archive")
        with storage_errors(place, "unpacking"):
            shutil.copyfile(target, place)

    def _inside(self, path: str, name: str) -> str:
        """A path of the archive without `.` and `..`; raises DataError when it leads out."""
        plain = path.replace("\\", "/")
        if plain.startswith("/") or plain[1:2] == ":" or "\0" in plain:
            raise self._refused(name, f"has or means the absolute path {path!r}")
        parts = posixpath.normpath(plain).split("/")
        # Even a path that comes back inside is refused when its name goes out on the way, as no honest archive does.
        if parts[0] == ".." or (path == name and ".." in plain.split("/")):
            raise self._refused(name, f"leads out of the folder, to {path!r}")
        return "/".join(part for part in parts if part != ".")

    def _refused(self, name: str, reason: str) -> DataError:
        return DataError(f"{self.archive} is not unpacked: its member {name!r} {reason}; get the archive elsewhere")


def _read(source: IO[bytes], size: int) -> bytes:
    # An OSError of a damaged stream must not be taken for one of the disk.
    try:
        return source.read(size)
    except OSError as error:
        raise EOFError(str(error)) from error


def _move(temporary: Path, folder: Path) -> None:
    """Put the finished files in their places: in one step where there is no folder yet, one by one where there is."""
    if not folder.exists():
        os.chmod(temporary, 0o755)
        temporary.rename(folder)
        return
    for parent, _, names in os.walk(temporary):
        place = folder / Path(parent).relative_to(temporary)
        place.mkdir(parents=True, exist_ok=True)
        for name in names:
            os.replace(os.path.join(parent, name), place / name)


def _members(archive: Path) -> Iterator[_Member]:
    try:
        with archive.open("rb") as raw:
            yield from _zip_members(raw) if zipfile.is_zipfile(archive) else _tar_members(raw)
    except OSError as error:
        raise EOFError(str(error)) from error


def _zip_members(raw: IO[bytes]) -> Iterator[_Member]:
    reached = 0
    with zipfile.ZipFile(raw) as opened:
        for info in opened.infolist():
            reached += info.compress_size
            mode = stat.S_IFMT(info.external_attr >> 16)
            kind: _Kind = "folder" if info.is_dir() else "file" if mode in (0, stat.S_IFREG) else "other"
            target = ""
            if mode == stat.S_IFLNK and info.file_size <= _LONGEST_PATH:
                kind, target = "link", _relative(info.filename, opened.read(info).decode("utf-8", "replace"))
            yield _Member(info.filename, kind, info.file_size, target, reached, lambda i=info: opened.open(i))


def _tar_members(raw: IO[bytes]) -> Iterator[_Member]:
    with tarfile.open(fileobj=raw, mode="r:*", tarinfo=_Header) as opened:
        for info in opened:
            kind: _Kind = "folder" if info.isdir() else "file" if info.isreg() else "other"
            target = ""
            if info.issym():
                kind, target = "link", _relative(info.name, info.linkname)
            elif info.islnk():
                kind, target = "link", info.linkname
            yield _Member(info.name, kind, info.size, target, raw.tell(), lambda i=info: opened.extractfile(i))


def _relative(name: str, target: str) -> str:
    """What a symbolic link means, as a path of the archive."""
    return posixpath.join(posixpath.dirname(name.replace("\\", "/")), target)


class _Header(tarfile.TarInfo):
    """A member's header; a damaged one is an error also after the first, where tarfile takes it for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        try:
            return super().frombuf(buf, encoding, errors)
        except (tarfile.EOFHeaderError, tarfile.EmptyHeaderError):  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"damaged header: {error}") from error
