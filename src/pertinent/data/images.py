"""Pictures from disk: decoding to upright RGB, and the places they are read from."""

from __future__ import annotations

import io
import os
import stat
import threading
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from pertinent.errors import DataError, ImageError, InputError

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif"}
)

# Pillow knows more formats; some of them start other programs (EPS), so pictures from strangers are held to these.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
_MEMBER_LIMIT = 1 << 30
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes | Path | Image.Image, where: str | None = None) -> Image.Image:
    """Decode one picture as upright 8-bit RGB.

    The EXIF orientation is applied, 16-bit grey is scaled (not clipped), CMYK, palette and grey are converted, and
    transparency is laid on white. The result carries no metadata, so decoding it again changes nothing.

    Args:
        data: the file's bytes, its path, or a Pillow image.
        where: what to call the picture in errors; default the path, or "picture".

    Raises:
        ImageError: no such file, empty, not a picture, truncated, animated or with several pages, of zero size, larger
            than `PIL.Image.MAX_IMAGE_PIXELS`, or with pixels whose range is unknown (32-bit, floating point).
    """
    name = where or (str(data) if isinstance(data, Path) else "picture")
    with _QUIET.muted():
        if isinstance(data, Image.Image):
            return _read(data, name)
        with _open(data, name) as image:
            return _read(image, name)


def _open(data: bytes | Path, name: str) -> Image.Image:
    if _size(data, name) == 0:
        raise ImageError(name, "the file is empty (0 bytes); copy it again or remove it")
    Image.init()
    try:
        stream = data if isinstance(data, Path) else io.BytesIO(data)
        return Image.open(stream, formats=[form for form in _FORMATS if form in Image.OPEN])
    except UnidentifiedImageError as error:
        known = ", ".join(_FORMATS)
        raise ImageError(name, f"not a picture in a format read here ({known}); convert or remove it") from error
    except Image.DecompressionBombError as error:
        raise ImageError(name, f"too many pixels to be read safely ({error}); make it smaller") from error
    except PermissionError as error:
        raise _closed(name, error) from error
    except Exception as error:
        raise _damaged(name, error) from error


def _size(data: bytes | Path, name: str) -> int:
    if isinstance(data, bytes):
        return len(data)
    try:
        status = data.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError(name, "no such file; correct the path or remove the picture from the list") from error
    except (OSError, ValueError) as error:
        raise _closed(name, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(name, "is a folder or a device; give the path of a picture")
    return status.st_size


def _closed(name: str, error: Exception) -> ImageError:
    return ImageError(name, f"cannot be opened ({error}); correct the path or the file's permissions")


def _read(image: Image.Image, name: str) -> Image.Image:
    width, height = image.size
    if min(width, height) == 0:
        raise ImageError(name, f"has no pixels ({width} x {height}); remove it")
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise ImageError(name, f"{width} x {height} is more than the limit of {limit} pixels; make it smaller")
    try:
        # The further frames of an MPO file, which many phones write as .jpg, are previews and depth maps.
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        if frames > 1:
            raise ImageError(name, f"has {frames} frames or pages; save the one wanted as a picture of its own")
        image.load()
        rgb = _to_rgb(image, name)
        turn = _TURNS.get(_orientation(image))
        rgb = rgb if turn is None else rgb.transpose(turn)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # a damaged file makes Pillow's readers raise nearly anything
        raise _damaged(name, error) from error
    rgb.info = {}
    return rgb


def _damaged(name: str, error: Exception) -> ImageError:
    return ImageError(name, f"truncated or damaged ({error or type(error).__name__}); copy it again or remove it")


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        return _from_16_bit(image, name)
    if image.mode in ("F", "LAB", "La"):
        raise ImageError(name, f"pixels of mode {image.mode} cannot be shown as RGB; save it as 8-bit RGB or grey")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _from_16_bit(image: Image.Image, name: str) -> Image.Image:
    grey = np.asarray(image).astype(np.int64)
    if grey.min() < 0 or grey.max() > 65535:
        raise ImageError(name, "32-bit pixels have no defined white; save it with 8 or 16 bits")
    return Image.fromarray(((grey * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # broken metadata says nothing about the pixels, which have been read
        return 1


class _PillowWarnings:
    """Mutes Pillow's warnings while any thread decodes.

    `warnings.catch_warnings` alone is not safe in threads: the last of two to leave would restore the other's filters.
    """

    def __init__(self) -> None:
        self._lock, self._depth, self._filters = threading.Lock(), 0, warnings.catch_warnings()

    @contextmanager
    def muted(self) -> Iterator[None]:
        with self._lock:
            if self._depth == 0:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\b")
            self._depth += 1
        try:
            yield
        finally:
            with self._lock:
                self._depth -= 1
                if self._depth == 0:
                    self._filters.__exit__(None, None, None)


_QUIET = _PillowWarnings()


@dataclass(frozen=True)
class FolderSource:
    """Pictures that lie under one folder.

    Args:
        root: the folder.
        paths: `N` paths relative to it, with `/`.

    Raises:
        DataError: a path is absolute or leads out of the folder with `..`.
    """

    root: Path
    paths: Sequence[str]

    def __post_init__(self) -> None:
        for path in self.paths:
            if PurePosixPath(path).is_absolute():
                raise DataError(f"{path!r} is an absolute path; list paths relative to {self.root}")
            if not path or ".." in path.replace("\\", "/").split("/"):
                raise DataError(f"{path!r} leads out of {self.root}; list paths relative to that folder")

    def read(self, index: int) -> Image.Image:
        """Decode picture `index`; raises ImageError."""
        return decode(self.root / self.paths[index])

    def where(self, index: int) -> str:
        """Path of picture `index`."""
        return str(self.root / self.paths[index])

    def missing(self) -> list[str]:
        """Paths at which there is no file."""
        root = str(self.root)
        return [path for path in self.paths if not os.path.isfile(os.path.join(root, path))]

    def __len__(self) -> int:
        return len(self.paths)


class ZipSource:
    """Pictures inside one zip file, opened on first use in every process.

    A handle is never shared over a fork nor pickled: two processes would move the same file position.

    Args:
        archive: the zip file.
        members: `N` names inside it.
    """

    def __init__(self, archive: Path, members: Sequence[str]) -> None:
        self.archive, self.members = archive, members
        self._opened: tuple[int, zipfile.ZipFile] | None = None

    def read(self, index: int) -> Image.Image:
        """Decode picture `index`; raises ImageError, or DataError when the zip file itself is damaged."""
        name = self.where(index)
        archive = self._zip()
        try:
            member = archive.getinfo(self.members[index])
            if member.file_size > _MEMBER_LIMIT:
                raise ImageError(name, f"unpacks to {member.file_size} bytes; make the picture smaller")
            data = archive.read(member)
        except KeyError as error:
            raise ImageError(name, "the zip file has no such member; correct the list or add the picture") from error
        except (ImageError, MemoryError):
            raise
        except Exception as error:  # wrong checksum, encryption, unknown compression, broken stream
            raise _damaged(name, error) from error
        return decode(data, name)

    def where(self, index: int) -> str:
        """Path of the zip file and the member's name."""
        return f"{self.archive}/{self.members[index]}"

    def names(self) -> list[str]:
        """Every file in the zip file, wanted or not."""
        return [name for name in self._zip().namelist() if not name.endswith("/")]

    def missing(self) -> list[str]:
        """Members that the zip file does not have."""
        there = set(self.names())
        return [name for name in self.members if name not in there]

    def _zip(self) -> zipfile.ZipFile:
        if self._opened is None or self._opened[0] != os.getpid():
            try:
                self._opened = os.getpid(), zipfile.ZipFile(self.archive)
            except FileNotFoundError as error:
                raise DataError(f"{self.archive}: no such zip file") from error
            except (zipfile.BadZipFile, OSError, ValueError) as error:
                raise DataError(f"{self.archive}: not a readable zip file ({error}); copy it again") from error
        return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def __len__(self) -> int:
        return len(self.members)


@dataclass(frozen=True)
class ArraySource:
    """Pictures held in memory.

    Args:
        pixels: `(N, H, W, 3)` uint8, RGB.

    Raises:
        InputError: another shape or type.
    """

    pixels: NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.pixels.shape[3] != 3 or self.pixels.dtype != np.uint8:
            raise InputError(f"pictures must be (N, H, W, 3) uint8, got {self.pixels.shape} {self.pixels.dtype}")

    def read(self, index: int) -> Image.Image:
        """Picture `index`."""
        return Image.fromarray(self.pixels[index])

    def where(self, index: int) -> str:
        """Position in the array."""
        return f"picture {index} of an array"

    def __len__(self) -> int:
        return len(self.pixels)
