"""The steps of transform words that do the same to every picture; sizes are `(width, height)` as Pillow's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from PIL import Image

from pertinent.data._step import (
    COLOURS,
    CROPS,
    FILTERS,
    GREY,
    LARGEST,
    Colour,
    Numbers,
    Size,
    Step,
    as_colour,
    as_crop,
    as_filter,
    is_number,
    is_size,
    is_whole,
    may_resize,
    pair,
    rounded,
)

if TYPE_CHECKING:
    from torch import Tensor


def padded(picture: Image.Image, size: Size, colour: Colour) -> Image.Image:
    """The picture in the middle of a plain one of another size; what lies outside is cut off."""
    if picture.size == size:
        return picture
    result = Image.new("RGB", size, colour)
    result.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2))
    return result


@dataclass(frozen=True)
class Identity(Step):
    """Leaves the picture as it is."""

    def __call__(self, picture: Image.Image) -> Image.Image:
        return picture


@dataclass(frozen=True)
class Pad(Step):
    """Pads the short side, on both ends alike, up to `size` pixels; the long side stays."""

    keeps_size: ClassVar[bool] = False

    size: int
    color: Colour = GREY

    def __post_init__(self) -> None:
        self._require_whole("size")
        self._settle("color", as_colour(self.color), COLOURS)

    def __call__(self, picture: Image.Image) -> Image.Image:
        return padded(picture, self._size(picture.size), self.color)

    def _size(self, size: Size) -> Size:
        width, height = size
        return (width, max(height, self.size)) if width >= height else (max(width, self.size), height)


@dataclass(frozen=True)
class PadSquare(Step):
    """Pads to a square of side `size`, by default the long side; what is longer is cut off on both ends alike."""

    keeps_size: ClassVar[bool] = False

    size: int | None = None
    color: Colour = GREY

    def __post_init__(self) -> None:
        if self.size is not None:
            self._require_whole("size")
        self._settle("color", as_colour(self.color), COLOURS)

    def __call__(self, picture: Image.Image) -> Image.Image:
        return padded(picture, pair(self.size or max(picture.size)), self.color)

    @property
    def fixed_size(self) -> Size | None:
        return None if self.size is None else pair(self.size)


@dataclass(frozen=True)
class Scale(Step):
    """Resizes to a side in pixels (the shorter, or with `largest` the longer), by a factor, or to `(width, height)`.

    A whole number is a side, a number with a point a factor of at most 4. `interpolation` None is bilinear. With
    `(width, height)` and nothing forbidden the size is exact; Deep Image Retrieval skips a picture whose shorter side
    has that length already.
    """

    keeps_size: ClassVar[bool] = False

    size: int | float | Size
    interpolation: str | None = None
    largest: bool = False
    can_upscale: bool = True
    can_downscale: bool = True

    def __post_init__(self) -> None:
        factor = isinstance(self.size, float) and is_number(self.size, 0, 4) and self.size > 0
        expected = f"a side from 1 to {LARGEST} (a whole number), a factor above 0.0 up to 4.0, or (width, height)"
        self._require("size", is_whole(self.size) or factor or is_size(self.size), expected)
        self._require_flags("largest", "can_upscale", "can_downscale")
        if self.interpolation is not None:
            self._settle("interpolation", as_filter(self.interpolation), f"one of {', '.join(FILTERS)}, in quotes")

    def __call__(self, picture: Image.Image) -> Image.Image:
        size = self._size(picture.size)
        if self._exact or may_resize(picture.size, size, self.can_upscale, self.can_downscale):
            return picture.resize(size, FILTERS[self.interpolation or "bilinear"])
        return picture

    @property
    def fixed_size(self) -> Size | None:
        return self.size if isinstance(self.size, tuple) and self._exact else None

    @property
    def _exact(self) -> bool:
        return isinstance(self.size, tuple) and self.can_upscale and self.can_downscale

    def _size(self, size: Size) -> Size:
        width, height = size
        if isinstance(self.size, tuple):
            return self.size
        if isinstance(self.size, float):
            return rounded(self.size * width), rounded(self.size * height)
        if width >= height if self.largest else width <= height:
            return self.size, rounded(self.size * height / width)
        return rounded(self.size * width / height), self.size


@dataclass(frozen=True)
class CenterCrop(Step):
    """Cuts a square, or `(height, width)`, out of the middle; a smaller picture is padded with black."""

    keeps_size: ClassVar[bool] = False

    size: int | Size

    def __post_init__(self) -> None:
        self._settle("size", as_crop(self.size), CROPS)

    def __call__(self, picture: Image.Image) -> Image.Image:
        height, width = pair(self.size)
        # Towards 0 for a negative margin, which is where the official code puts the padding of odd sizes.
        left, top = int(0.5 + (picture.width - width) / 2), int(0.5 + (picture.height - height) / 2)
        return picture.crop((left, top, left + width, top + height))

    @property
    def fixed_size(self) -> Size | None:
        height, width = pair(self.size)
        return width, height


@dataclass(frozen=True)
class ToTensor(Step):
    """Makes a float32 tensor `(3, H, W)` of the picture, from 0 to 1."""

    def __call__(self, picture: Image.Image) -> Tensor:
        from torchvision.transforms.v2.functional import pil_to_tensor

        pixels: Tensor = pil_to_tensor(picture).float()
        return pixels.div(255).contiguous()


@dataclass(frozen=True)
class Normalize(Step):
    """Subtracts the mean of each channel from a tensor and divides by its deviation."""

    mean: Numbers
    std: Numbers

    def __post_init__(self) -> None:
        for name, low in (("mean", -math.inf), ("std", 0.0)):
            value = getattr(self, name)
            fits = isinstance(value, tuple) and len(value) == 3 and all(is_number(one, low) for one in value)
            self._require(name, fits and (name == "mean" or min(value) > 0), "three numbers, those of std above 0")

    def __call__(self, pixels: Tensor) -> Tensor:
        mean, std = (pixels.new_tensor(numbers).view(3, 1, 1) for numbers in (self.mean, self.std))
        return (pixels - mean) / std
