"""The journal of an index: changes on disk, one record each, which a crash at any moment leaves readable.

A record is its length, a checksum of its bytes, a checksum of these two, and its bytes. It counts once the disk has all
of it; one that a crash tore is the last, and was never acknowledged. When its writer opens and closes it, the length
that is whole is noted beside it: what is missing or wrong before that was damaged, not torn.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from pertinent.errors import StorageError
from pertinent.files import is_open, storage_errors, write_bytes

JOURNAL, LOCK, SEALED = "journal", "lock", "sealed"
HEAD, SEAL = struct.Struct("<QII"), struct.Struct("<QI")


def frame(payload: bytes) -> bytes:
    """A record of some bytes."""
    size, check = len(payload), zlib.crc32(payload)
    return HEAD.pack(size, check, zlib.crc32(struct.pack("<QI", size, check))) + payload


def records(path: Path, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Bytes of each whole record from `start` on, with the place in the file where it ends.

    Raises:
        StorageError: a record is damaged, and not because a crash tore the last one.
    """
    whole = _sealed(path.parent)
    end = start
    if path.is_file():
        with storage_errors(path, "reading"), path.open("rb") as file:
            for end, payload in _records(path, file, start):
                yield end, payload
    if end < whole:
        raise _damaged(path, end)


def _records(path: Path, file: BinaryIO, start: int) -> Iterator[tuple[int, bytes]]:
    """Records up to the end, or to one that a crash may have torn."""
    size = os.fstat(file.fileno()).st_size
    file.seek(start)
    while (place := file.tell()) < size:
        head = file.read(HEAD.size)
        if len(head) < HEAD.size:
            return
        length, check, head_check = HEAD.unpack(head)
        if zlib.crc32(head[: HEAD.size - 4]) != head_check:
            # A file may have grown before its bytes came, and then holds zeros to the end.
            if not any(head) and not any(file.read()):
                return
            raise _damaged(path, place)
        end = place + HEAD.size + length
        payload = file.read(length) if end <= size else b""
        if len(payload) < length:
            return
        if zlib.crc32(payload) != check:
            if end == size:
                return
            raise _damaged(path, place)
        yield end, payload


def seal(folder: Path, length: int) -> None:
    """Note beside the journal of a folder that so many bytes of it are whole; raises StorageError."""
    number = struct.pack("<Q", length)
    write_bytes(folder / SEALED, number + struct.pack("<I", zlib.crc32(number)))


def _sealed(folder: Path) -> int:
    """How many bytes of the journal were noted as whole."""
    path = folder / SEALED
    if not path.is_file():
        return 0
    with storage_errors(path, "reading"):
        data = path.read_bytes()
    if len(data) != SEAL.size or zlib.crc32(data[:8]) != SEAL.unpack(data)[1]:
        raise StorageError(f"{path} is damaged; delete it if {folder / JOURNAL} is as it was left")
    return int(SEAL.unpack(data)[0])


class Writer:
    """The one that may change an index: holds the lock of its journal until it is closed, or its process ends.

    Args:
        folder: of the journal; made when it is not there.
        length: how much of the journal is known to be whole; what a crash left beyond is cut off.
        same: tells, once nobody else can change it, whether the index is still the one that was opened.

    Raises:
        StorageError: another process or another `Index` changes it, or has changed it since; or it cannot be written.
    """

    def __init__(self, folder: Path, length: int, same: Callable[[], bool]) -> None:
        self.path, self.length = folder / JOURNAL, length
        self._lock = lock(folder)
        try:
            if not same() or any(True for _ in records(self.path, length)):
                raise StorageError(f"{folder.parent} was changed since it was opened here; open it again")
            seal(folder, length)
            with storage_errors(self.path, "opening"):
                self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                os.ftruncate(self._file, length)
                _sync_folder(folder)
        except BaseException:
            os.close(self._lock)
            raise

    def append(self, payload: bytes) -> None:
        """Write a record; it is on disk when this returns, or not there at all.

        Raises:
            StorageError: it cannot be written.
        """
        record = memoryview(frame(payload))
        try:
            with storage_errors(self.path, "writing"):
                written = 0
                while written < len(record):
                    written += os.pwrite(self._file, record[written:], self.length + written)
                os.fsync(self._file)
        except BaseException:
            self.rollback(self.length)
            raise
        self.length += len(record)

    def rollback(self, length: int) -> None:
        """Take back what was written beyond a length."""
        self.length = length
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, length)
            os.fsync(self._file)

    def close(self) -> None:
        """Let others change the index."""
        # Where it cannot be written, damage to the last records passes for a tear. Another index may lie there by now.
        with contextlib.suppress(StorageError, OSError):
            if is_open(self.path, self._file):
                seal(self.path.parent, self.length)
        os.close(self._file)
        os.close(self._lock)


@contextlib.contextmanager
def recorded(writer: Writer | None, payload: bytes) -> Iterator[None]:
    """Write a record, where there is a journal, and take it back if what follows fails."""
    if writer is None:
        yield
        return
    before = writer.length
    writer.append(payload)
    try:
        yield
    except BaseException:
        writer.rollback(before)
        raise


def lock(folder: Path) -> int:
    """Take the lock of a journal's folder: a descriptor to close. Raises StorageError when another holds it."""
    try:
        import fcntl
    except ImportError:  # pragma: no cover
        # Windows has none; there nothing keeps two writers apart.
        return os.open(os.devnull, os.O_RDONLY)
    path = folder / LOCK
    with storage_errors(path, "locking"):
        folder.mkdir(exist_ok=True)
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it may have put another folder in the place of this one.
            free = is_open(path, held)
        except BlockingIOError:
            free = False
        except BaseException:
            os.close(held)
            raise
    if not free:
        os.close(held)
        raise StorageError(
            f"{folder.parent} is being changed by another process, or by another Index of this one; close that first"
        )
    return held


def _damaged(path: Path, place: int) -> StorageError:
    return StorageError(
        f"{path} is damaged at byte {place}: the record that was written there is gone or changed; "
        f"bring the file back from a copy, or delete {path.parent} and lose what was changed since the index was built"
    )


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
