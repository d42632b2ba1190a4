"""Writing files so that a crash, a full disk or Ctrl-C never leaves half of one behind."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from pertinent.errors import StorageError

# What a file or folder NAME is called while it is written, and the old one while it is replaced.
UNFINISHED = re.compile(r"\.(?P<name>.+)\.(?P<mark>old|[a-z0-9_]{8})")


@contextlib.contextmanager
def storage_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn an operating-system error into a StorageError that names the path and what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"{doing} {path} failed: {reason}; free space or choose another folder, then run the same command again "
            "(what was written before is intact)"
        ) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file in one step: a temporary file beside it, flushed to disk, then renamed over it.

    Raises:
        StorageError: the folder cannot be written or the disk is full; the old file is untouched.
    """
    with new_file(path) as file:
        file.write(data)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file piece by piece, in one step all the same; see `write_bytes`."""
    with storage_errors(path, "writing"):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text in one step; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON in one step; see `write_bytes`."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def finite(value: Any) -> Any:
    """Nested values with None for every NaN and infinity: JSON has none of these, and null says the same to all."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        StorageError: missing, unreadable or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StorageError(f"{path} does not exist; check the path") from error
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} cannot be read ({error}); it is damaged or not JSON: make it again") from error


def read_versioned(path: Path, what: str, version: int) -> dict[str, Any]:
    """Read a JSON file that describes the folder it lies in and states its `format`.

    Raises:
        StorageError: missing, unreadable, damaged, or of another format than `version`.
    """
    value = read_json(path)
    if not isinstance(value, dict) or value.get("format") != version:
        found = value.get("format") if isinstance(value, dict) else None
        raise StorageError(f"{path.parent} has {what} format {found}, this version reads {version}; make it again")
    return value


def write_tensors(path: Path, tensors: dict[str, Any]) -> None:
    """Write tensors as safetensors; raises OSError, as every other writing does, for example when the disk is full."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path)
    except SafetensorError as error:
        raise OSError(str(error)) from error


@contextlib.contextmanager
def new_folder(path: Path, own: Collection[str] = ()) -> Iterator[Path]:
    """Fill a folder in one step: yields a temporary folder that takes the place of `path` when the block ends well.

    Args:
        path: the folder.
        own: names that an old folder may hold although the new one does not.

    Raises:
        StorageError: the folder cannot be written, the disk is full, or an old folder holds other files than the new
            one; the old folder is untouched.
    """
    with storage_errors(path, "writing"):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        try:
            yield temporary
            os.chmod(temporary, 0o755)
            _sync_files(temporary)
            refuse_strangers(path, {*own, *(file.name for file in temporary.iterdir())})
            _swap(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def refuse_strangers(path: Path, own: Collection[str]) -> None:
    """Raise StorageError when a folder that is to be replaced holds anything but its `own` files: it is somebody's."""
    if path.exists() and not path.is_dir():
        raise StorageError(f"{path} is a file; choose another folder")
    # The file manager of macOS leaves this one wherever it looks.
    strangers = sorted({file.name for file in path.iterdir()} - {*own, ".DS_Store"}) if path.exists() else []
    if strangers:
        raise StorageError(
            f"{path} holds files that are not ours to replace ({', '.join(strangers[:3])}); choose another folder"
        )


def recover_folder(path: Path) -> None:
    """Put back a folder that a crash in the midst of replacing it left aside."""
    aside = _aside(path)
    if aside.is_dir() and not path.exists():
        with storage_errors(path, "recovering"):
            aside.rename(path)


def clear_unfinished(folder: Path, names: Collection[str] | None = None) -> None:
    """Delete what a killed process left half-written; a whole folder that it was about to replace comes back.

    Args:
        folder: where to look, not deeper.
        names: of the files and folders whose remains to look for; None looks for those of any.
    """
    for path in sorted(folder.glob(".*")):
        found = UNFINISHED.fullmatch(path.name)
        if found is None or (names is not None and found["name"] not in names):
            continue
        if found["mark"] == "old":
            recover_folder(folder / found["name"])
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def reserve(path: Path) -> None:
    """Take the whole of a sparse file from the disk: a memory map that outgrows a full disk would kill the process.

    Does nothing where the system or the file system cannot reserve. Raises OSError when the disk is full.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise


def is_open(path: Path, handle: int) -> bool:
    """Whether a path is that of an open file, not of one that somebody put in its place since."""
    return path.exists() and os.path.samestat(os.fstat(handle), path.stat())


def sha256_file(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_files(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())


def _swap(temporary: Path, path: Path) -> None:
    # A folder cannot be renamed over a filled one, so the old one steps aside first and comes back if need be.
    if not path.exists():
        temporary.rename(path)
        return
    aside = _aside(path)
    shutil.rmtree(aside, ignore_errors=True)
    path.rename(aside)
    try:
        temporary.rename(path)
    except BaseException:
        if not path.exists():
            aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")
