"""BN-Inception written out, as the published port computes it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Channels in, then of every layer, as the prototxt of Caffe has them.
WIDTHS: dict[str, tuple[int, dict[str, int]]] = {}
for block, channels, *row in [
    ("3a", 192, 64, 64, 64, 64, 96, 32),
    ("3b", 256, 64, 64, 96, 64, 96, 64),
    ("3c", 320, 0, 128, 160, 64, 96, 0),
    ("4a", 576, 224, 64, 96, 96, 128, 128),
    ("4b", 576, 192, 96, 128, 96, 128, 128),
    ("4c", 576, 160, 128, 160, 128, 160, 128),
    ("4d", 608, 96, 128, 192, 160, 192, 128),
    ("4e", 608, 0, 128, 192, 192, 256, 0),
    ("5a", 1056, 352, 192, 320, 160, 224, 128),
    ("5b", 1024, 352, 192, 320, 192, 224, 128),
]:
    names = ("1x1", "3x3_reduce", "3x3", "double_3x3_reduce", "double_3x3_1", "pool_proj")
    WIDTHS[block] = (channels, dict(zip(names, row, strict=True)))


def official_shapes() -> dict[str, tuple[int, ...]]:
    """Every weight of Cadene's file, with its shape after the leading 1 of BatchNorm was taken away."""
    shapes: dict[str, tuple[int, ...]] = {"last_linear.weight": (1000, 1024), "last_linear.bias": (1000,)}

    def layer(name: str, channels: int, width: int, kernel: int) -> None:
        shapes.update({f"{name}.weight": (width, channels, kernel, kernel), f"{name}.bias": (width,)})
        shapes.update({f"{name}_bn.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")})

    layer("conv1_7x7_s2", 3, 64, 7)
    layer("conv2_3x3_reduce", 64, 64, 1)
    layer("conv2_3x3", 64, 192, 3)
    for block, (channels, width) in WIDTHS.items():
        name = f"inception_{block}_"
        double = width["double_3x3_1"]
        if width["1x1"]:
            layer(f"{name}1x1", channels, width["1x1"], 1)
            layer(f"{name}pool_proj", channels, width["pool_proj"], 1)
        layer(f"{name}3x3_reduce", channels, width["3x3_reduce"], 1)
        layer(f"{name}3x3", width["3x3_reduce"], width["3x3"], 3)
        layer(f"{name}double_3x3_reduce", channels, width["double_3x3_reduce"], 1)
        layer(f"{name}double_3x3_1", width["double_3x3_reduce"], double, 3)
        layer(f"{name}double_3x3_2", double, double, 3)
    return shapes


def filled(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """Numbers with which the output is neither flat nor huge."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, shape in shapes.items():
        if key.endswith("running_var") or (key.endswith("_bn.weight")):
            state[key] = torch.rand(shape, generator=generator) * 0.5 + 0.5
        else:
            scale = (2 / torch.Size(shape[1:]).numel()) ** 0.5 if len(shape) > 1 else 0.1
            state[key] = torch.randn(shape, generator=generator) * scale
    return state


def literal(state: dict[str, Tensor], pixels: Tensor) -> Tensor:
    """The official network on its own pixels: blue, green, red in 0..255 without Caffe's mean."""

    def layer(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        x = F.conv2d(x, weight, state[f"{name}.bias"], stride, padding={1: 0, 3: 1, 7: 3}[weight.shape[2]])
        norm = [state[f"{name}_bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.relu(F.batch_norm(x, *norm, training=False, eps=1e-5))

    x = F.max_pool2d(layer(pixels, "conv1_7x7_s2", 2), 3, 2, ceil_mode=True)
    x = F.max_pool2d(layer(layer(x, "conv2_3x3_reduce"), "conv2_3x3"), 3, 2, ceil_mode=True)
    for block in WIDTHS:
        name = f"inception_{block}_"
        stride = 2 if block in ("3c", "4e") else 1
        single = layer(layer(x, f"{name}3x3_reduce"), f"{name}3x3", stride)
        double = layer(layer(x, f"{name}double_3x3_reduce"), f"{name}double_3x3_1")
        double = layer(double, f"{name}double_3x3_2", stride)
        if stride == 2:
            x = torch.cat([single, double, F.max_pool2d(x, 3, 2, ceil_mode=True)], 1)
            continue
        if block == "5b":
            pooled = F.max_pool2d(x, 3, 1, 1, ceil_mode=True)
        else:
            pooled = F.avg_pool2d(x, 3, 1, 1, ceil_mode=True, count_include_pad=True)
        x = torch.cat([layer(x, f"{name}1x1"), single, double, layer(pooled, f"{name}pool_proj")], 1)
    return x
