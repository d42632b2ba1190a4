"""From an upright picture to the network's input: `Preprocess` for evaluation, `Augment` for training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from PIL import Image
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from pertinent.data.transform_words import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    INPUT_SIZE,
    Step,
    ToTensor,
    completed,
    parse_transforms,
    result_size,
    transform_words,
)
from pertinent.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from torch import Tensor

Transform = Callable[[Image.Image], "Tensor"]
Size = PositiveInt | tuple[PositiveInt, PositiveInt]
Share = Annotated[float, Field(ge=0, le=1)]
Channel = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Strength = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Preprocess(BaseModel):
    """Fixed preparation of a picture for evaluation; travels with the weights.

    Attributes:
        resize: a number for the short side, `(height, width)` for an exact size, None for the picture's own size.
        crop: side of the centre square kept, in pixels; a smaller picture is padded with black. None keeps all.
        mean: of each channel, in 0..1; subtracted.
        std: of each channel, in 0..1; divided by.
        interpolation: of every resizing that does not name its own; always antialiased.
        words: transforms such as "Scale(800), CenterCrop(224)" instead of `resize` and `crop`; none of them random.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    resize: Size | None = 256
    crop: PositiveInt | None = 224
    mean: tuple[Channel, Channel, Channel] = IMAGENET_MEAN
    std: tuple[Positive, Positive, Positive] = IMAGENET_STD
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    words: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_default_framing(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("words") is not None:
            return {"resize": None, "crop": None, **values}
        return values

    @field_validator("words")
    @classmethod
    def _readable(cls, words: str | None, info: ValidationInfo) -> str | None:
        # A wrong mean or std is told as such; the words can only be read with right ones.
        if words is None or not {"mean", "std"} <= info.data.keys():
            return words
        return transform_words(_fixed(_read(words, mean=info.data["mean"], std=info.data["std"])))

    @model_validator(mode="after")
    def _one_framing(self) -> Preprocess:
        idle = [name for name in ("resize", "crop") if getattr(self, name) is not None]
        if self.words is not None and idle:
            raise ValueError(f"words take the place of {' and '.join(idle)}; set {' and '.join(idle)} to null")
        return self

    @model_serializer(mode="wrap")
    def _used(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return handler(self) if self.words is not None else _without_words(handler(self))

    def with_words(self, text: str) -> Preprocess:
        """The same numbers and interpolation with other framing.

        Args:
            text: transforms such as "Scale(800), CenterCrop(224)"; `input_size` in them is the present size, or 224.

        Raises:
            UnknownNameError: no such transform.
            InputError: words that cannot be read, or a random transform.
        """
        steps = _fixed(parse_transforms(text, mean=self.mean, std=self.std, input_size=_side(self)))
        numbers = {"mean": self.mean, "std": self.std, "interpolation": self.interpolation}
        return Preprocess.model_validate({**numbers, "words": transform_words(steps)})

    @property
    def size(self) -> tuple[int, int] | None:
        """`(height, width)` of every result, or None where it depends on the picture."""
        if self.words is not None:
            size = result_size(self._steps(self.words))
            return size and (size[1], size[0])
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

        if self.words is not None:
            return _composed(completed(self._steps(self.words), self.mean, self.std))
        return _composed([*self._framing(), *self._numbers(), v2.ToPureTensor()])

    def _steps(self, words: str, input_size: int = INPUT_SIZE) -> tuple[Step, ...]:
        return parse_transforms(
            words, mean=self.mean, std=self.std, input_size=input_size, interpolation=self.interpolation
        )

    def _framing(self) -> list[Any]:
        from torchvision.transforms import v2

        if self.words is not None:
            return [*self._steps(self.words), v2.ToImage()]
        resize = [] if self.resize is None else [_resize(self.resize, self.interpolation)]
        return [v2.ToImage(), *resize, *([] if self.crop is None else [v2.CenterCrop(self.crop)])]

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
        words: transforms such as "RandomScale(256, 320), RandomCrop(224), RandomFlip()" instead of all of these;
            `input_size` in them is the size of the `Preprocess`, or 224.
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
    words: str | None = None

    @field_validator("words")
    @classmethod
    def _readable(cls, words: str | None) -> str | None:
        # They stay as they are: what their names stand for is known with the Preprocess.
        if words is not None:
            _read(words)
        return words

    @model_validator(mode="after")
    def _consistent(self) -> Augment:
        others = [name for name in type(self).model_fields if name in self.model_fields_set and name != "words"]
        if self.words is not None and others:
            raise ValueError(f"words take the place of all other settings; take out {', '.join(others)}")
        for name in ("scale", "ratio"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must be (smallest, largest), got ({low}, {high})")
        # A recipe as it was run states the defaults too, which say nothing.
        idle = [
            name
            for name in ("size", "resize", "scale", "ratio")
            if getattr(self, name) != type(self).model_fields[name].default
        ]
        if self.framing == "evaluation" and idle:
            raise ValueError(f"{', '.join(idle)} have no effect with framing 'evaluation'; take them out")
        return self

    @model_serializer(mode="wrap")
    def _used(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        if self.words is not None:
            return {"words": self.words}
        return _without_words(handler(self))

    def build(self, preprocess: Preprocess) -> Transform:
        """Return a random function from an RGB picture to a float32 `(3, H, W)` tensor; it can be pickled.

        Args:
            preprocess: gives the numbers, the interpolation, and the size or framing.

        Raises:
            InputError: neither `size` nor the `Preprocess` says how large the random crop's result is, or words that
                do not work with this `Preprocess`.
        """
        from torchvision.transforms import v2

        if self.words is not None:
            words = preprocess._steps(self.words, _side(preprocess))
            return _composed(completed(words, preprocess.mean, preprocess.std))
        steps = [*self._framing(preprocess), *self._moves(preprocess), *self._colours()]
        erasing = [v2.RandomErasing(self.erasing, value=0)] if self.erasing else []
        return _composed([*steps, *preprocess._numbers(), *erasing, v2.ToPureTensor()])

    def _framing(self, preprocess: Preprocess) -> list[Any]:
        from torchvision.transforms import v2

        if self.framing == "evaluation":
            steps = preprocess._framing()
            if any(isinstance(step, ToTensor) for step in steps):
                raise InputError(
                    "framing 'evaluation' works on pictures, and the words of the Preprocess end with a tensor; take "
                    "ToTensor out of them, or give `augment` words of its own"
                )
            return steps
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
        resize = [] if self.resize is None else [_resize(self.resize, preprocess.interpolation)]
        return [v2.ToImage(), *resize, crop]

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


def _composed(steps: Sequence[Any]) -> Transform:
    from torchvision.transforms import v2

    transform: Transform = v2.Compose(list(steps))
    return transform


def _side(preprocess: Preprocess) -> int:
    """What `input_size` stands for in words: the shorter side where the size is known."""
    return min(preprocess.size or (INPUT_SIZE,))


def _fixed(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    for step in steps:
        if step.random:
            raise InputError(
                f"{step} is random, and a Preprocess prepares every picture alike; put it into the words of `augment`"
            )
    return steps


def _read(words: str, **numbers: Any) -> tuple[Step, ...]:
    try:
        return parse_transforms(words, **numbers)
    except UnknownNameError as error:  # is no ValueError, which is what pydantic takes for a wrong setting
        raise ValueError(str(error)) from error


def _without_words(values: dict[str, Any]) -> dict[str, Any]:
    # What has no words is written, and so fingerprinted, as before there were any.
    return {name: value for name, value in values.items() if name != "words"}
