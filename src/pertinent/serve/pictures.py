"""Pictures that clients send, and the collection's own: decoded, cut, made ready for the network, made small."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from PIL import Image
from torch import Tensor

from pertinent.data.images import decode
from pertinent.data.places import picture_file
from pertinent.errors import ImageError, InputError
from pertinent.models.views import Looks
from pertinent.serve.problems import Problem

# A picture so many times longer than wide would grow beyond all bounds when its shorter side is scaled up.
LONGEST = 100
# A file of the collection is sent whole up to this size.
FILE_BYTES = 64 * 2**20
LARGEST_THUMBNAIL = 1024
QUALITY = 85
TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".avif": "image/avif",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".jp2": "image/jp2",
    ".ppm": "image/x-portable-pixmap",
    ".pgm": "image/x-portable-graymap",
}

Region = tuple[float, float, float, float]


@contextmanager
def pixel_limit(pixels: int) -> Iterator[None]:
    """Let no picture of this process have more pixels."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, pixels
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def parse_region(text: str) -> Region:
    """`left,top,right,bottom` in pixels of the upright picture; raises InputError."""
    try:
        left, top, right, bottom = (float(word) for word in text.split(","))
    except ValueError as error:
        raise InputError(
            f"region: expected four numbers left,top,right,bottom, such as 10,20,200,180; got {text[:60]!r}"
        ) from error
    if not all(map(math.isfinite, (left, top, right, bottom))) or left >= right or top >= bottom:
        raise InputError(f"region: right must be more than left and bottom more than top, got {text[:60]!r}")
    return left, top, right, bottom


def prepare(data: bytes, name: str, region: Region | None, looks: Looks) -> list[Tensor]:
    """The pixels of a picture's views from the bytes of its file.

    Args:
        data: as it was sent.
        name: what to call it in errors.
        region: the part to use, as the boxes of a data set.
        looks: of the encoder.

    Raises:
        ImageError: no picture, damaged, too large, too long, or with nothing in the region.
    """
    picture = decode(data, name)
    if region is not None:
        picture = _cut(picture, name, region)
    if max(picture.size) > LONGEST * min(picture.size):
        raise ImageError(name, f"{picture.width} x {picture.height} pixels: more than {LONGEST} times longer than wide")
    return looks(picture)


def _cut(picture: Image.Image, name: str, region: Region) -> Image.Image:
    left, top, right, bottom = (round(edge) for edge in region)
    box = (max(left, 0), max(top, 0), min(right, picture.width), min(bottom, picture.height))
    if box[0] >= box[2] or box[1] >= box[3]:
        raise ImageError(name, f"{picture.width} x {picture.height} pixels have no part in the region {region}")
    return picture.crop(box)


def address(item: str) -> str:
    """Where the service has an item's picture."""
    return f"/v1/items/{quote(item, safe='', errors='replace')}/image"


def file_of(place: str) -> tuple[bytes, str]:
    """An item's picture file as it is, and its media type.

    Raises:
        Problem: it is not there, too large to be sent, or of no type that is known by its name.
    """
    data, suffix = _read(place)
    kind = TYPES.get(suffix)
    if kind is None:
        raise Problem(
            415, "the type of this picture file is not known by its name", "ask for it with w, such as ?w=256"
        )
    return data, kind


def thumbnail(place: str, width: int) -> bytes:
    """An item's picture as a JPEG of at most `width` pixels a side.

    Raises:
        Problem: it is not there.
        ImageError: it cannot be read.
    """
    picture = decode(_read(place)[0], "the picture of this item")
    scale = min(1.0, width / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    file = io.BytesIO()
    picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _read(place: str) -> tuple[bytes, str]:
    found = picture_file(place, FILE_BYTES)
    if found is None:
        raise Problem(
            404,
            "the picture of this item is not where it was when it was embedded",
            "start the service where the pictures can be found, or embed the collection anew",
        )
    if len(found[0]) > FILE_BYTES:
        raise Problem(413, "the picture file of this item is too large to be sent whole", "ask for it with w")
    return found
