"""BN-Inception as it came from Caffe, the small network of HIST and of most papers on metric learning before it."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d, pad

from pertinent.data.transform_words import IMAGENET_MEAN, IMAGENET_STD

WEIGHTS = "http://data.lip6.fr/cadene/pretrainedmodels/bn_inception-52deb4733.pth"
# Of blue, green and red, in 0..255.
CAFFE_MEAN = (104.0, 117.0, 128.0)
# HIST trains with it too: running statistics are almost those of the last batch, where they are not frozen.
_MOMENTUM = 0.9


class _Layer(NamedTuple):
    """A convolution with its BatchNorm `NAME_bn` and a ReLU."""

    name: str
    channels: int
    kernel: int
    stride: int = 1


@dataclass(frozen=True)
class _Block:
    """Channels of the branches of an inception block.

    Attributes:
        single: of the 1x1 and the 3x3 convolution of the second branch.
        double: of the 1x1 and the two 3x3 convolutions of the third.
        pool: how the fourth looks around.
        alone: of the first branch, one 1x1 convolution.
        projected: of the 1x1 convolution after the pooling.

    A block without the last two halves the map; its pooled input is a branch as it is.
    """

    single: tuple[int, int]
    double: tuple[int, int]
    pool: Literal["average", "max"]
    alone: int = 0
    projected: int = 0

    @property
    def stride(self) -> int:
        return 1 if self.alone else 2

    def branches(self, block: str) -> Iterator[tuple[_Layer, ...]]:
        """The layers of each branch that starts from the input itself, in the order of the result."""
        if self.alone:
            yield (_Layer(f"{block}_1x1", self.alone, 1),)
        yield (
            _Layer(f"{block}_3x3_reduce", self.single[0], 1),
            _Layer(f"{block}_3x3", self.single[1], 3, self.stride),
        )
        yield (
            _Layer(f"{block}_double_3x3_reduce", self.double[0], 1),
            _Layer(f"{block}_double_3x3_1", self.double[1], 3),
            _Layer(f"{block}_double_3x3_2", self.double[1], 3, self.stride),
        )

    def projection(self, block: str) -> tuple[_Layer, ...]:
        """What comes after the pooling."""
        return (_Layer(f"{block}_pool_proj", self.projected, 1),) if self.projected else ()


_STEM = (
    (_Layer("conv1_7x7_s2", 64, 7, 2),),
    (_Layer("conv2_3x3_reduce", 64, 1), _Layer("conv2_3x3", 192, 3)),
)
_BLOCKS = {
    "inception_3a": _Block((64, 64), (64, 96), "average", 64, 32),
    "inception_3b": _Block((64, 96), (64, 96), "average", 64, 64),
    "inception_3c": _Block((128, 160), (64, 96), "max"),
    "inception_4a": _Block((64, 96), (96, 128), "average", 224, 128),
    "inception_4b": _Block((96, 128), (96, 128), "average", 192, 128),
    "inception_4c": _Block((128, 160), (128, 160), "average", 160, 128),
    "inception_4d": _Block((128, 192), (160, 192), "average", 96, 128),
    "inception_4e": _Block((128, 192), (192, 256), "max"),
    "inception_5a": _Block((192, 320), (160, 224), "average", 352, 128),
    "inception_5b": _Block((192, 320), (192, 224), "max", 352, 128),
}


class BNInception(nn.Module):
    """Inception with BatchNorm: pixels `(B, 3, H, W)` to a map `(B, 1024, h, w)` of a 32nd of the size.

    Ioffe and Szegedy, ICML 2015. The names of the weights are those of the port by Cadene, so that its file and the
    checkpoints made from it fit. They expect blue, green and red in 0..255 without Caffe's mean. This network takes the
    same pixels as every other, red, green and blue around the mean of ImageNet, and maps them itself: `Preprocess`
    knows nothing of Caffe, and black borders, erased rectangles and mixed networks keep their meaning.

    Args:
        pretrained: load Cadene's port of the ImageNet weights; its page may be gone, then name a file of yours.

    Raises:
        OSError: weights that cannot be fetched.
    """

    num_features = 1024
    scale: Tensor
    shift: Tensor

    def __init__(self, pretrained: bool = False) -> None:
        super().__init__()
        self.pretrained_cfg = {"input_size": (3, 224, 224), "crop_pct": 224 / 256, "interpolation": "bilinear"}
        channels = 3
        for layers in _STEM:
            channels = self._add(layers, channels)
        for name, block in _BLOCKS.items():
            widths = [self._add(layers, channels) for layers in block.branches(name)]
            channels = sum(widths) + self._add(block.projection(name), channels)
        mean, std, caffe = (torch.tensor(numbers) for numbers in (IMAGENET_MEAN, IMAGENET_STD, CAFFE_MEAN))
        # Not among the weights, where a file of Cadene's would lack them.
        self.register_buffer("scale", (255 * std).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", (255 * mean - caffe.flip(0)).view(3, 1, 1), persistent=False)
        if pretrained:
            self.load_state_dict(self.own_keys(_fetched()))

    def caffe_pixels(self, pixels: Tensor) -> Tensor:
        """Blue, green and red in 0..255 without Caffe's mean, from the pixels that every network here takes."""
        return (pixels * self.scale + self.shift).flip(1)

    def forward_features(self, pixels: Tensor) -> Tensor:
        """The feature map."""
        features = self.caffe_pixels(pixels)
        for layers in _STEM:
            features = _halved(self._through(layers, features))
        for name, block in _BLOCKS.items():
            branches = [self._through(layers, features) for layers in block.branches(name)]
            branches.append(self._through(block.projection(name), _pooled(features, block)))
            features = torch.cat(branches, dim=1)
        return features

    def forward(self, pixels: Tensor) -> Tensor:
        """The mean of the feature map, `(B, 1024)`."""
        return self.forward_features(pixels).mean(dim=(2, 3))

    def own_keys(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Cadene's state dict without its classifier; his BatchNorm has numbers of shape `(1, C)`."""
        kept = {key: value for key, value in state.items() if not key.startswith("last_linear.")}
        return {key: value[0] if value.ndim == 2 and "_bn." in key else value for key, value in kept.items()}

    def _add(self, layers: tuple[_Layer, ...], channels: int) -> int:
        """Build layers, one behind the other; returns how many channels come out."""
        for layer in layers:
            convolution = nn.Conv2d(channels, layer.channels, layer.kernel, layer.stride, padding=layer.kernel // 2)
            self.add_module(layer.name, convolution)
            self.add_module(f"{layer.name}_bn", nn.BatchNorm2d(layer.channels, momentum=_MOMENTUM))
            channels = layer.channels
        return channels

    def _through(self, layers: tuple[_Layer, ...], features: Tensor) -> Tensor:
        for layer in layers:
            norm = self.get_submodule(f"{layer.name}_bn")
            features = torch.relu_(norm(self.get_submodule(layer.name)(features)))
        return features


def _pooled(features: Tensor, block: _Block) -> Tensor:
    if block.stride == 2:
        return _halved(features)
    if block.pool == "max":
        return max_pool2d(features, 3, stride=1, padding=1)
    return avg_pool2d(features, 3, stride=1, padding=1)


def _halved(features: Tensor) -> Tensor:
    # A convolution rounds up where Caffe's pooling does not, for an odd side; a border of zeros makes it even, which
    # changes nothing after a ReLU.
    even = pad(features, (0, features.shape[3] % 2, 0, features.shape[2] % 2))
    return max_pool2d(even, 3, stride=2, ceil_mode=True)


def _fetched() -> dict[str, Tensor]:
    try:
        return dict(torch.hub.load_state_dict_from_url(WEIGHTS, map_location="cpu", check_hash=True, weights_only=True))
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise OSError(f"{WEIGHTS} does not hold what it did: {error}") from error
