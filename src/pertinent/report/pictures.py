"""Pictures inside a page: each is embedded once as a CSS background, however often it is shown."""

from __future__ import annotations

import base64
import hashlib
import io

from PIL import Image, ImageOps

_QUALITY = 80
_FEW_COLOURS = 64


class Pictures:
    """Thumbnails of one page, told apart by their pixels and named by CSS class."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._thumbnails: dict[str, Image.Image] = {}

    def add(self, image: Image.Image, size: int) -> str:
        """Keep a picture for showing at `size` pixels or smaller and return its CSS class."""
        flat = _flatten(image)
        digest = hashlib.blake2b(repr(flat.size).encode() + flat.tobytes(), digest_size=16).hexdigest()
        name = self._names.setdefault(digest, f"p{len(self._names)}")
        kept = self._thumbnails.get(name)
        if kept is None or max(kept.size) < min(size, max(flat.size)):
            self._thumbnails[name] = ImageOps.contain(flat, (size, size)) if max(flat.size) > size else flat
        return name

    def css(self) -> str:
        """Return one rule a picture, with the picture as a data URI."""
        return "\n".join(
            f".{name}{{background-image:url({_data_uri(kept)})}}" for name, kept in self._thumbnails.items()
        )


def _flatten(image: Image.Image) -> Image.Image:
    """Return the picture in RGB on white, since a transparent one would vanish on a dark page."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _data_uri(image: Image.Image) -> str:
    """Encode as WebP: without loss for drawings, where it is also smaller, with loss for photographs."""
    drawing = image.getcolors(maxcolors=_FEW_COLOURS) is not None
    file = io.BytesIO()
    image.save(file, "WEBP", lossless=drawing, quality=_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")
