"""Pictures in one memory-mapped array, as a source of an `ImageTable`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class ArrayImages:
    """Pictures in one memory-mapped array `(N, H, W, 3)` uint8; it travels to worker processes as its path alone."""

    path: Path
    ids: list[str]

    @cached_property
    def array(self) -> NDArray[np.uint8]:
        """All pictures, read-only, mapped from disk: for a trainer that needs no decoding."""
        return np.load(self.path, mmap_mode="r")  # type: ignore[no-any-return]

    def read(self, index: int) -> Image.Image:
        """Picture `index` as RGB."""
        return Image.fromarray(np.asarray(self.array[index]))

    def where(self, index: int) -> str:
        """The array's file, the row and the picture's id."""
        return f"{self.path}[{index}] ({self.ids[index]})"

    def __len__(self) -> int:
        return len(self.ids)

    def __reduce__(self) -> tuple[type[ArrayImages], tuple[Path, list[str]]]:
        return type(self), (self.path, self.ids)
