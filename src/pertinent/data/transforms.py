"""From an upright picture to the network's input: `Preprocess` for evaluation, `Augment` for training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from pertinent.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

Transform = Callable[[Image.Image], "Tensor"]
Size = PositiveInt | tuple[PositiveInt, PositiveInt]
Share = Annotated[float, Field(ge=0, le=1)]
Channel = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Strength = Annotated[float, Field(ge=0, allow_inf_nan=False)]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Preprocess(BaseModel):
    """Fixed preparation of a picture for evaluation; travels with the weights.

    Attributes:
        resize: a number for the short side, `(height, width)` for an exact size, None for the picture's own size.
        crop: side of the centre square kept, in pixels; a smaller picture is padded with black. None keeps all.
        mean: of each channel, in 0..1; subtracted.
        std: of each channel, in 0..1; divided by.
        interpolation: of every resizing; always antialiased.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    resize: Size | None = 256
    crop: PositiveInt | None = 224
    mean: tuple[Channel, Channel, Channel] = IMAGENET_MEAN
    std: tuple[Positive, Positive, Positive] = IMAGENET_STD
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"

    @property
    def size(self) -> tuple[int, int] | None:
        """`(height, width)` of every result, or None where it depends on the picture."""
        if self.crop is not None:
            return self.crop, self.crop
        return self.resize if isinstance(self.resize, tuple) else None

    def fingerprint(self) -> str:
        """sha256 of the canonical JSON: equal fingerprints prepare pictures alike."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def build(self) -> Transform:
        """Return a function from an RGB picture to a float32 `(3, H, W)` tensor; it can be pickled."""
        from torchvision.transforms import v2

        transform: Transform = v2.Compose([v2.ToImage(), *self._framing(), *self._numbers(), v2.ToPureTensor()])
        return transform

    def _framing(self) -> list[Any]:
        from torchvision.transforms import v2

        resize = [] if self.resize is None else [_resize(self.resize, self.interpolation)]
        return resize if self.crop is None else [*resize, v2.CenterCrop(self.crop)]

    def _numbers(self) -> list[Any]:
        import torch
        from torchvision.transforms import v2

        return [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(self.mean), list(self.std))]


class Augment(BaseModel):
    """Random preparation of a picture for training, drawn from torch's generator.

    The defaults are the random resized crop and flip of ImageNet training, as in HIST (CVPR 2022); HAPPIER (ECCV 2022)
    uses `scale=(.16, 1)` and `resize=256` on SOP; HyP2 (ACM MM 2022) uses `framing="evaluation"` with an exact
    `Preprocess.resize`. Numbers and interpolation are those of the `Preprocess`.

    Attributes:
        framing: `random-resized-crop`, or `evaluation` for the resize and centre crop of the `Preprocess`.
        size: side or `(height, width)` of the random crop's result; default that of the `Preprocess`.
        resize: before the random crop, as in `Preprocess`; None crops the picture itself.
        scale: share of the area that the random crop keeps, smallest and largest.
        ratio: width / height of the random crop, smallest and largest.
        hflip: probability of a mirror image.
        rotation: largest turn in degrees, either way.
        shift: largest move, as a share of the side. What a turn or a move uncovers gets the mean colour.
        colour_jitter: largest change of brightness, contrast, saturation (0 none) and hue (0..0.5).
        greyscale: probability of losing the colours.
        erasing: probability of one random rectangle being set to the mean colour.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    framing: Literal["random-resized-crop", "evaluation"] = "random-resized-crop"
    size: Size | None = None
    resize: Size | None = None
    scale: tuple[Positive, Annotated[Positive, Field(le=1)]] = (0.08, 1.0)
    ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    hflip: Share = 0.5
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    shift: Share = 0.0
    colour_jitter: tuple[Strength, Strength, Strength, Annotated[float, Field(ge=0, le=0.5)]] = (0.0, 0.0, 0.0, 0.0)
    greyscale: Share = 0.0
    erasing: Share = 0.0

    @model_validator(mode="after")
    def _consistent(self) -> Augment:
        for name in ("scale", "ratio"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must be (smallest, largest), got ({low}, {high})")
        idle = sorted({"size", "resize", "scale", "ratio"} & self.model_fields_set)
        if self.framing == "evaluation" and idle:
            raise ValueError(f"{', '.join(idle)} have no effect with framing 'evaluation'; take them out")
        return self

    def build(self, preprocess: Preprocess) -> Transform:
        """Return a random function from an RGB picture to a float32 `(3, H, W)` tensor; it can be pickled.

        Args:
            preprocess: gives the numbers, the interpolation, and the size or framing.

        Raises:
            InputError: neither `size` nor the `Preprocess` says how large the random crop's result is.
        """
        from torchvision.transforms import v2

        steps = [v2.ToImage(), *self._framing(preprocess), *self._moves(preprocess), *self._colours()]
        erasing = [v2.RandomErasing(self.erasing, value=0)] if self.erasing else []
        transform: Transform = v2.Compose([*steps, *preprocess._numbers(), *erasing, v2.ToPureTensor()])
        return transform

    def _framing(self, preprocess: Preprocess) -> list[Any]:
        from torchvision.transforms import v2

        if self.framing == "evaluation":
            return preprocess._framing()
        size = self.size or preprocess.size
        if size is None:
            raise InputError("random-resized-crop: give `size`, since the Preprocess has no fixed size")
        crop = v2.RandomResizedCrop(
            size if isinstance(size, tuple) else (size, size),
            scale=self.scale,
            ratio=self.ratio,
            interpolation=v2.InterpolationMode(preprocess.interpolation),
            antialias=True,
        )
        return [crop] if self.resize is None else [_resize(self.resize, preprocess.interpolation), crop]

    def _moves(self, preprocess: Preprocess) -> list[Any]:
        from torchvision.transforms import v2

        steps: list[Any] = [v2.RandomHorizontalFlip(self.hflip)] if self.hflip else []
        if self.rotation or self.shift:
            affine = v2.RandomAffine(
                degrees=self.rotation,
                translate=(self.shift, self.shift),
                interpolation=v2.InterpolationMode.BILINEAR,
                fill=[round(255 * channel) for channel in preprocess.mean],
            )
            steps.append(affine)
        return steps

    def _colours(self) -> list[Any]:
        from torchvision.transforms import v2

        steps: list[Any] = [v2.ColorJitter(*self.colour_jitter)] if any(self.colour_jitter) else []
        return [*steps, v2.RandomGrayscale(self.greyscale)] if self.greyscale else steps


def _resize(size: int | tuple[int, int], interpolation: str) -> Any:
    from torchvision.transforms import v2

    return v2.Resize(size, interpolation=v2.InterpolationMode(interpolation), antialias=True)
