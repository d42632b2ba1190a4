"""The random steps that transform words name; all draw from torch's default generator and from nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image, ImageOps

from pertinent.data._step import (
    COLOURS,
    CROPS,
    FILTERS,
    GREY,
    Colour,
    Size,
    Step,
    as_colour,
    as_crop,
    as_filter,
    is_number,
    is_whole,
    may_resize,
    pair,
    rounded,
)
from pertinent.errors import InputError, suggest

_TURNING = ("nearest", "bilinear", "bicubic")
_TILTS = ("left", "right", "up", "down")


def _whole(low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included."""
    import torch

    return int(torch.randint(low, high + 1, ()))


def _between(low: float, high: float) -> float:
    import torch

    return low + (high - low) * float(torch.rand((), dtype=torch.float64))


def _log_between(low: float, high: float) -> float:
    """A number whose logarithm is spread evenly: half and double are equally likely."""
    return math.exp(_between(math.log(low), math.log(high)))


def _as_aspects(value: Any) -> tuple[float, float] | None:
    pair_of = (min(value, 1 / value), max(value, 1 / value)) if is_number(value, 0.2) else value
    fits = isinstance(pair_of, tuple) and len(pair_of) == 2 and all(is_number(one) for one in pair_of)
    return pair_of if fits and 0.2 < pair_of[0] <= pair_of[1] < 5 else None


@dataclass(frozen=True)
class RandomStep(Step):
    """A step whose result is drawn anew for every picture."""

    random: ClassVar[bool] = True


@dataclass(frozen=True)
class RandomBorder(RandomStep):
    """Adds a border of `min_size` to `max_size` pixels, one draw for left and right, one for above and below."""

    keeps_size: ClassVar[bool] = False

    min_size: int
    max_size: int
    color: Colour = GREY

    def __post_init__(self) -> None:
        self._require_whole("min_size", "max_size", low=0)
        self._require("max_size", self.max_size >= self.min_size, f"at least min_size {self.min_size}")
        self._settle("color", as_colour(self.color), COLOURS)

    def __call__(self, picture: Image.Image) -> Image.Image:
        above, beside = (_whole(self.min_size, self.max_size) for _ in range(2))
        return ImageOps.expand(picture, (beside, above, beside, above), fill=self.color)


@dataclass(frozen=True)
class RandomScale(RandomStep):
    """Resizes the shorter side (with `largest` the longer) to a length between two, and changes the aspect by `ar`.

    Both are spread evenly in their logarithm. `ar` is the largest factor of width over height, or the smallest and the
    largest, within 0.2 and 5. No result has a side below `min_size` (with `largest`, above `max_size`). A draw that
    would enlarge the picture leaves it as it is, unless `can_upscale`. `interpolation` None is bilinear.
    """

    keeps_size: ClassVar[bool] = False

    min_size: int
    max_size: int
    ar: tuple[float, float] = (1, 1)
    can_upscale: bool = False
    can_downscale: bool = True
    interpolation: str | None = None
    largest: bool = False

    def __post_init__(self) -> None:
        self._require_whole("min_size", "max_size")
        self._require("max_size", self.max_size >= self.min_size, f"at least min_size {self.min_size}")
        self._settle("ar", _as_aspects(self.ar), "a factor, or (smallest, largest), above 0.2 and below 5")
        self._require_flags("can_upscale", "can_downscale", "largest")
        if self.interpolation is not None:
            self._settle("interpolation", as_filter(self.interpolation), f"one of {', '.join(FILTERS)}, in quotes")

    def __call__(self, picture: Image.Image) -> Image.Image:
        side = min(max(rounded(_log_between(self.min_size, self.max_size)), self.min_size), self.max_size)
        aspect = picture.width / picture.height * _log_between(*self.ar)
        wide = picture.width > picture.height if self.largest else picture.width >= picture.height
        # The side that gets its length: the picture's longer or shorter one, whatever the new aspect makes of it.
        if wide is self.largest:
            size = self._held((side, rounded(side / aspect)))
        else:
            size = self._held((rounded(side * aspect), side))
        free = self.can_upscale and self.can_downscale
        if free or may_resize(picture.size, size, self.can_upscale, self.can_downscale):
            return picture.resize(size, FILTERS[self.interpolation or "bilinear"])
        return picture

    def _held(self, size: Size) -> Size:
        """The size within the bounds, at the same aspect: a changed aspect may have put the other side beyond them."""
        width, height = size
        factor = min(1.0, self.max_size / max(size)) if self.largest else max(1.0, self.min_size / min(size))
        return rounded(width * factor), rounded(height * factor)


@dataclass(frozen=True)
class RandomCrop(RandomStep):
    """Cuts a square, or `(height, width)`, out of anywhere; before that `padding` adds black.

    `padding` is one number of pixels for all edges, or four: left, top, right, bottom.
    """

    keeps_size: ClassVar[bool] = False

    size: int | Size
    padding: int | tuple[int, int, int, int] = 0

    def __post_init__(self) -> None:
        self._settle("size", as_crop(self.size), CROPS)
        padding: Any = self.padding
        four = isinstance(padding, tuple) and len(padding) == 4 and all(is_whole(one, 0) for one in padding)
        self._require("padding", is_whole(padding, 0) or four, "pixels, or (left, top, right, bottom) in pixels")

    def __call__(self, picture: Image.Image) -> Image.Image:
        if self.padding:
            picture = ImageOps.expand(picture, self.padding, fill=0)
        height, width = pair(self.size)
        if picture.width < width or picture.height < height:
            raise InputError(
                f"{self}: the picture has {picture.width} x {picture.height} pixels, too few for {width} x {height}; "
                f"put Scale or Pad before it"
            )
        top = _whole(0, picture.height - height)
        left = _whole(0, picture.width - width)
        return picture.crop((left, top, left + width, top + height))

    @property
    def fixed_size(self) -> Size | None:
        height, width = pair(self.size)
        return width, height


@dataclass(frozen=True)
class RandomRotation(RandomStep):
    """Turns the picture about its middle by up to `degrees` either way; its size stays, corners become black."""

    degrees: float
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        self._require("degrees", is_number(self.degrees, 0, 180), "a number from 0 to 180")
        expected = f"one of {', '.join(_TURNING)}, in quotes"
        self._settle("interpolation", as_filter(self.interpolation, _TURNING), expected)

    def __call__(self, picture: Image.Image) -> Image.Image:
        return picture.rotate(_between(-self.degrees, self.degrees), FILTERS[self.interpolation])


@dataclass(frozen=True)
class RandomFlip(RandomStep):
    """Mirrors every other picture, left to right."""

    def __call__(self, picture: Image.Image) -> Image.Image:
        return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if _whole(0, 1) else picture


@dataclass(frozen=True)
class RandomTilting(RandomStep):
    """Leans the picture in perspective: one edge grows at both ends by up to `magnitude` of the longer side.

    The edge is drawn from `directions`: "all", or some of left, right, up and down, as in "left,right".
    """

    magnitude: float
    directions: str = "all"

    def __post_init__(self) -> None:
        self._require("magnitude", is_number(self.magnitude, 0, 1) and self.magnitude > 0, "above 0, up to 1")
        self._require("directions", isinstance(self.directions, str), 'a quoted word such as "left,right"')
        names = self.directions.lower().replace(",", " ").replace("-", " ").split()
        for name in names:
            if name not in (*_TILTS, "all"):
                raise InputError(f"RandomTilting: unknown direction {name!r}{suggest(name, (*_TILTS, 'all'))}")
        self._require("directions", bool(names), '"all", or some of left, right, up and down')
        self._settle("directions", "all" if "all" in names else ",".join(name for name in _TILTS if name in names), "")

    def __call__(self, picture: Image.Image) -> Image.Image:
        grown = _whole(1, math.ceil(self.magnitude * max(picture.size)))
        names = _TILTS if self.directions == "all" else self.directions.split(",")
        return tilted(picture, names[_whole(0, len(names) - 1)], grown)


def tilted(picture: Image.Image, edge: str, grown: int) -> Image.Image:
    """The picture with one edge lengthened by `grown` pixels at both ends, cut to its own size."""
    width, height = picture.size
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float64)
    outward = {
        "left": [(0, -1), (0, 0), (0, 0), (0, 1)],
        "right": [(0, 0), (0, -1), (0, 1), (0, 0)],
        "up": [(-1, 0), (1, 0), (0, 0), (0, 0)],
        "down": [(0, 0), (0, 0), (1, 0), (-1, 0)],
    }
    moved = corners + grown * np.array(outward[edge])
    # Eight linear equations for the perspective map from the result back to the picture, which Pillow asks for.
    rows = []
    for (x, y), (u, v) in zip(moved, corners, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    coefficients = np.linalg.solve(np.array(rows), corners.ravel()).tolist()
    return picture.transform(picture.size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BICUBIC)


@dataclass(frozen=True)
class ColorJitter(RandomStep):
    """Changes brightness, contrast and saturation by a factor of up to 1 plus or minus each, and turns the hue.

    A hue of 0.5 is half the colour wheel either way. The changes follow each other in random order.
    """

    brightness: float = 0
    contrast: float = 0
    saturation: float = 0
    hue: float = 0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            self._require(name, is_number(getattr(self, name), 0), "a number of 0 or more")
        self._require("hue", is_number(self.hue, 0, 0.5), "a number from 0 to 0.5")

    def __call__(self, picture: Image.Image) -> Image.Image:
        import torch
        from torchvision.transforms.v2 import functional

        changes = []
        for name in ("brightness", "contrast", "saturation"):
            most = getattr(self, name)
            if most:
                changes.append((getattr(functional, f"adjust_{name}"), _between(max(0, 1 - most), 1 + most)))
        if self.hue:
            changes.append((functional.adjust_hue, _between(-self.hue, self.hue)))
        for place in torch.randperm(len(changes)).tolist():
            adjust, amount = changes[place]
            picture = adjust(picture, amount)
        return picture


@dataclass(frozen=True)
class RandomErasing(RandomStep):
    """Covers a rectangle with noise; its sides are half of `area` to all of it, as a share of the picture's sides."""

    area: float

    def __post_init__(self) -> None:
        self._require("area", is_number(self.area, 0, 1) and self.area > 0, "above 0, up to 1")

    def __call__(self, picture: Image.Image) -> Image.Image:
        import torch

        width, height = (_whole(int(side * self.area / 2), int(side * self.area)) for side in picture.size)
        if not (width and height):
            return picture
        noise = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8).numpy()
        place = _whole(0, picture.width - width), _whole(0, picture.height - height)
        result = picture.copy()
        result.paste(Image.fromarray(noise), place)
        return result
