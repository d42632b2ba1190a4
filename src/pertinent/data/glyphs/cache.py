"""Where rendered pictures are kept between runs: one array and one manifest a split, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import StorageError
from pertinent.files import reserve

_LOG = logging.getLogger(__name__)


def cache_folder() -> Path:
    """The folder named by the variable PERTINENT_CACHE, or `pertinent` in the user's own cache folder."""
    if named := os.environ.get("PERTINENT_CACHE"):
        return Path(named).expanduser()
    if sys.platform == "win32":
        home = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        home = Path.home() / "Library" / "Caches"
    else:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "pertinent"


def fingerprint(settings: dict[str, Any]) -> str:
    """Sixteen hexadecimal digits that change with any of the settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def load(array: Path) -> dict[str, Any] | None:
    """Read the manifest beside an array; None when either is missing or they are not what was written."""
    try:
        stored: dict[str, Any] = json.loads(array.with_suffix(".json").read_text(encoding="utf-8"))
        manifest: dict[str, Any] = stored["manifest"]
        if stored["sha256"] == _digest(array, manifest):
            return manifest
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        pass
    _LOG.warning("%s is damaged and will be made again", array)
    return None


def save(array: Path, pictures: Iterable[NDArray[np.uint8]], shape: tuple[int, ...], manifest: dict[str, Any]) -> None:
    """Write pictures one by one into an array file, and a manifest beside it; both appear only when whole.

    Raises:
        StorageError: the folder cannot be written, or the disk is full.
    """
    try:
        array.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=array.parent, prefix=".making-") as work:
            draft = Path(work) / array.name
            rows = np.lib.format.open_memmap(draft, mode="w+", dtype=np.uint8, shape=shape)
            reserve(draft)
            for row, picture in enumerate(pictures):
                rows[row] = picture
            rows.flush()
            del rows
            stored = {"sha256": _digest(draft, manifest), "manifest": manifest}
            draft.with_suffix(".json").write_text(json.dumps(stored), encoding="utf-8")
            os.replace(draft, array)
            os.replace(draft.with_suffix(".json"), array.with_suffix(".json"))
    except OSError as error:
        raise StorageError(
            f"cannot keep pictures in {array.parent}: {error}; name another folder with `root` or PERTINENT_CACHE"
        ) from error


def _digest(array: Path, manifest: dict[str, Any]) -> str:
    with array.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(json.dumps(manifest).encode())
    return digest.hexdigest()
