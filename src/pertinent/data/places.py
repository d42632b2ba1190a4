"""Where a picture lies, as stores note it: a file, a member of a zip file, or a row of an array."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

ROW = re.compile(r"(.+\.npy)\[(\d+)\](?: \(.*\))?", re.DOTALL)
"""Row of an array of pictures `(N, H, W, 3)` uint8, and perhaps what it is called."""


def picture_file(place: str, most: int) -> tuple[bytes, str] | None:
    """A picture's file as it is, and the suffix of its name; a row of an array becomes a PNG.

    Args:
        place: as `EmbeddingStore.places` has it.
        most: of a larger file this many bytes and one are read.

    Returns:
        None where nothing can be read.
    """
    path = Path(place)
    try:
        if path.is_file():
            with path.open("rb") as file:
                return file.read(most + 1), path.suffix.lower()
        for archive in [parent for parent in path.parents if parent.is_file()][:1]:
            with zipfile.ZipFile(archive) as opened, opened.open(path.relative_to(archive).as_posix()) as file:
                return file.read(most + 1), path.suffix.lower()
        row = ROW.fullmatch(place)
        return None if row is None else (_png(Path(row[1]), int(row[2])), ".png")
    except (OSError, ValueError, KeyError, IndexError, EOFError, RuntimeError, NotImplementedError):
        return None
    except zipfile.BadZipFile:
        return None


def _png(path: Path, row: int) -> bytes:
    pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"{path} holds no pictures")
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[row])).save(file, "PNG")
    return file.getvalue()
