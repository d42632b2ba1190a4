"""What all steps that transform words name have in common: a step, and the forms that its arguments may have.

Sizes are `(width, height)` as Pillow's, except in the arguments of crops, which are `(height, width)`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

from PIL import Image

from pertinent.errors import InputError

Size = tuple[int, int]
Colour = tuple[int, int, int]
Numbers = tuple[float, float, float]

LARGEST = 2**14
"""Longest side that a step may ask for, in pixels: a larger square would fill a gigabyte."""

HUGE = 1e30
GREY = (127, 127, 127)
FILTERS = {item.name.lower(): item for item in Image.Resampling if item <= Image.Resampling.HAMMING}
COLOURS = "three levels (red, green, blue) of 0 to 255 or of 0.0 to 1.0, or one for grey"
CROPS = f"a side or (height, width), in pixels from 1 to {LARGEST}"


@dataclass(frozen=True)
class Step(ABC):
    """One step from a picture to the network's input; its fields are the arguments of its word.

    Attributes:
        random: whether it draws from torch's default generator.
        keeps_size: whether every picture keeps its size.
    """

    random: ClassVar[bool] = False
    keeps_size: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, picture: Any) -> Any:
        """The next picture, or the tensor made of it."""

    @property
    def fixed_size(self) -> Size | None:
        """`(width, height)` of every result, or None where it depends on the picture."""
        return None

    def __str__(self) -> str:
        arguments = []
        for field in fields(self):
            value = getattr(self, field.name)
            if field.default is MISSING:
                arguments.append(repr(value))
            elif value != field.default:
                arguments.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(arguments)})"

    def _require(self, field: str, fits: bool, expected: str) -> None:
        if not fits:
            raise InputError(f"{type(self).__name__}: {field} must be {expected}, got {getattr(self, field)!r}")

    def _require_whole(self, *names: str, low: int = 1) -> None:
        for name in names:
            expected = f"a whole number from {low} to {LARGEST}"
            self._require(name, is_whole(getattr(self, name), low), expected)

    def _require_flags(self, *names: str) -> None:
        for name in names:
            self._require(name, isinstance(getattr(self, name), bool), "True or False")

    def _settle(self, field: str, value: Any, expected: str) -> None:
        """Keep an argument in the one form that it is written in; None says that it has none."""
        self._require(field, value is not None, expected)
        object.__setattr__(self, field, value)  # the step is fixed from then on


def is_whole(value: Any, low: int = 1) -> bool:
    """Whether a value is a whole number of pixels that a picture can have."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= LARGEST


def is_number(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    """Whether a value is a number within bounds, and neither infinite nor too large for float32."""
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and max(low, -HUGE) <= value <= min(high, HUGE)
    )


def is_size(value: Any) -> bool:
    """Whether a value is a pair of whole numbers of pixels."""
    return isinstance(value, tuple) and len(value) == 2 and all(is_whole(side) for side in value)


def as_colour(value: Any) -> Colour | None:
    """Three levels of 0 to 255; made of such, of shares of 0.0 to 1.0, or of one level for grey."""
    levels = value if isinstance(value, tuple) else (value,) * 3
    if len(levels) != 3 or not all(is_number(level, 0, 255) for level in levels):
        return None
    if all(isinstance(level, int) for level in levels):
        return levels
    return (int(255 * levels[0]), int(255 * levels[1]), int(255 * levels[2])) if max(levels) <= 1 else None


def as_filter(value: Any, known: Collection[str] = FILTERS) -> str | None:
    """Name of a filter of Pillow's, which may be given by its number."""
    names = {int(FILTERS[name]): name for name in known}
    if isinstance(value, str):
        return value.lower() if value.lower() in known else None
    return names.get(value) if isinstance(value, int) and not isinstance(value, bool) else None


def as_crop(value: Any) -> int | Size | None:
    """Side or (height, width) of a crop; one number for a square."""
    if is_size(value) and value[0] == value[1]:
        return int(value[0])
    return value if is_whole(value) or is_size(value) else None


def pair(size: int | Size) -> Size:
    """Both sides of a crop, that of a square written once."""
    return size if isinstance(size, tuple) else (size, size)


def rounded(value: float) -> int:
    """The nearest whole number of pixels, halves upwards, but never none."""
    return max(1, int(0.5 + value))


def may_resize(before: Size, after: Size, grow: bool, shrink: bool) -> bool:
    """Whether a change of size is allowed; which way it goes is judged by the shorter sides.

    Where these are equal the answer is no, as in the official code: the change is one of rounding.
    """
    return (grow and min(before) < min(after)) or (shrink and min(before) > min(after))
