"""`Views`: several looks at one picture, merged into one descriptor.

Letters: B pictures, V views, D dim.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated

import torch
from PIL import Image
from pydantic import Field, field_validator
from torch import Tensor, nn

from pertinent.config import Settings
from pertinent.data.transforms import Preprocess, Transform
from pertinent.functional.multi_scale import Kind, pool_descriptors

Scale = Annotated[float, Field(gt=0, le=8)]


class Views(Settings):
    """How a picture is looked at before it is described; the default is once, as the encoder prepares it.

    The descriptors of all views are merged before the encoder's whitening, if it has one. Sources: the several
    transforms of Revaud et al., ICCV 2019, released code; the scales of Radenovic et al., TPAMI 2018, section 4.1.

    Attributes:
        transforms: transform words, each makes a view in place of the encoder's own framing.
        scales: by these factors every view is resized once more, bilinearly, after its preparation.
        merge: `mean`; `gem`, the signed generalised mean of Revaud et al.; or `power`, that of Radenovic et al.
        p: power of `gem` and `power`.
    """

    transforms: tuple[str, ...] = ()
    scales: tuple[Scale, ...] = (1.0,)
    merge: Kind = "gem"
    p: float = Field(default=3.0, gt=0)

    @field_validator("scales")
    @classmethod
    def _some(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        if not scales:
            raise ValueError("expected at least one factor, such as 1")
        return scales

    def looks(self, preprocess: Preprocess) -> Looks:
        """Return a function from an RGB picture to the pixels of its views; it can be pickled."""
        return Looks([framing.build() for framing in self.framings(preprocess)])

    def framings(self, preprocess: Preprocess) -> list[Preprocess]:
        """How each view is prepared, before it is scaled."""
        return [preprocess.with_words(words) for words in self.transforms] or [preprocess]

    def describe(self, pixels: Sequence[Tensor], descriptors: Callable[[Tensor], Tensor]) -> Tensor:
        """Merged descriptors `(B, D)` of B pictures, in general not of length 1.

        Args:
            pixels: the views of each picture, `(B, 3, H, W)` each; sizes may differ from view to view.
            descriptors: makes `(B, D)` of such pixels.
        """
        looks = [descriptors(resized(view, scale)) for view in pixels for scale in self.scales]
        return pool_descriptors(torch.stack(looks), self.merge, self.p)

    @property
    def plain(self) -> bool:
        """Whether a picture is described as the network says, with nothing scaled or merged."""
        return len(self.transforms) <= 1 and self.scales == (1.0,)


class Looks:
    """Makes the pixels of a picture's views: `(3, H, W)` float32 each."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = transforms

    def __call__(self, picture: Image.Image) -> list[Tensor]:
        """Pixels of each view of an RGB picture."""
        return [transform(picture) for transform in self.transforms]


def resized(pixels: Tensor, scale: float) -> Tensor:
    """Pixels `(B, 3, H, W)` with both sides multiplied by a factor and rounded down, to one pixel at least."""
    if scale == 1:
        return pixels
    high, wide = (math.floor(side * scale) for side in pixels.shape[-2:])
    if high and wide:
        # By the factor itself, as the authors do: the exact places of the samples depend on it.
        return nn.functional.interpolate(pixels, scale_factor=scale, mode="bilinear", align_corners=False)
    return nn.functional.interpolate(pixels, (max(high, 1), max(wide, 1)), mode="bilinear", align_corners=False)


def by_size(pictures: Sequence[Sequence[Tensor]]) -> list[tuple[list[int], list[Tensor]]]:
    """Pictures whose views have equal sizes, together: their places, and each view as `(B, 3, H, W)`.

    To pad pictures to one size would change their descriptors.

    Args:
        pictures: the views of each, `(3, H, W)`.
    """
    places: dict[tuple[torch.Size, ...], list[int]] = {}
    for place, views in enumerate(pictures):
        places.setdefault(tuple(view.shape for view in views), []).append(place)
    return [
        (alike, [torch.stack(views) for views in zip(*(pictures[place] for place in alike), strict=True)])
        for alike in places.values()
    ]
