"""`Uploads`: the files of pictures that clients added, and what they say of them."""

from __future__ import annotations

import hashlib
import io
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from pertinent.errors import InputError
from pertinent.files import write_bytes
from pertinent.index._where import Value
from pertinent.store import StoreLabels

_SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "JPEG2000": ".jp2"}


@dataclass
class NewItem:
    """A picture to be added; without a name it gets one made from its bytes, so that to send it again changes nothing.

    Raises:
        InputError: a name that cannot be an address.
    """

    data: bytes = field(repr=False)
    name: str | None
    words: Sequence[str]
    metadata: dict[str, Value]

    @property
    def id(self) -> str:
        """Name of the item."""
        return hashlib.sha256(self.data).hexdigest()[:32] if self.name is None else self.name

    def check(self, labels: StoreLabels) -> None:
        """Raise InputError for a name that cannot stand in an address, or labels other than the collection's kind."""
        if not self.id.isprintable() or self.id.endswith("/image") or {"", ".", ".."} & {*self.id.split("/")}:
            raise InputError(
                f"id: {self.id[:100]!r} cannot stand in an address; leave out control characters, empty parts, "
                ". and .. between slashes, and /image at the end"
            )
        levels = len(labels.class_names) if labels.kind in ("classes", "tree") else 0
        if levels and self.words and len(self.words) != levels:
            names = ", ".join(labels.level_names)
            raise InputError(f"labels: expected {levels}, fine first ({names}), or none; got {len(self.words)}")


class Uploads:
    """A folder with a file for each picture that was added.

    Args:
        folder: made when the first one comes; None where none can come.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def keep(self, data: bytes, form: str | None) -> Path:
        """Write a picture's bytes as they are under a new name; on the disk when this returns.

        Args:
            data: that Pillow can read.
            form: its name of the format.
        """
        suffix = _SUFFIXES.get(form or "", f".{(form or 'bin').lower()}")
        assert self.folder is not None
        path = self.folder / f"{uuid.uuid4().hex}{suffix}"
        write_bytes(path, data)
        _sync(self.folder)
        return path

    def find(self, place: str) -> str:
        """Where a picture is, if the collection was moved since it was added."""
        if self.folder is None or Path(place).parent.name != self.folder.name:
            return place
        path = self.folder / Path(place).name
        return str(path) if path.is_file() else place

    def forget(self, place: str) -> None:
        """Delete a file if it is one of these."""
        path = Path(self.find(place))
        if path.parent == self.folder:
            path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Have the names of a folder's files on the disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def form_of(data: bytes) -> str | None:
    """Pillow's name of a picture's format."""
    with Image.open(io.BytesIO(data)) as picture:
        return picture.format
