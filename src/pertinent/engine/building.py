"""What a recipe names, built: the encoder, the losses, the device and the kind of numbers to train with."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pertinent.engine.distributed import World
from pertinent.engine.recipe import Recipe
from pertinent.errors import InputError, TrainingError
from pertinent.losses import LOSSES
from pertinent.metrics._parse import parse_metric
from pertinent.models.encoder import Encoder, EncoderConfig


def make_encoder(recipe: Recipe) -> Encoder:
    """Build the encoder that a recipe describes, with its first weights."""
    parts = EncoderConfig(**recipe.model.model_dump(exclude={"pretrained"}))
    return Encoder(parts, recipe.preprocess, recipe.model.pretrained)


def make_losses(recipe: Recipe, labels: Tensor, dim: int) -> nn.ModuleDict:
    """Build the losses of a recipe, giving each what only data and encoder can tell: classes, dimension, label rows."""
    losses = {}
    for key, settings in recipe.losses.items():
        name = settings.loss or key
        known = LOSSES.options(name)
        classes = _num_classes(labels, settings.options.get("level") or 0, f"losses.{key}.level")
        supplied: dict[str, Any] = {"dim": dim, "bits": dim, "num_classes": classes}
        if "proxy_labels" in known:
            supplied["proxy_labels"] = torch.unique(labels, dim=0)
        filled = {option: value for option, value in supplied.items() if option in known}
        losses[key] = LOSSES.build(name, **settings.options, **filled)
    return nn.ModuleDict(losses)


def selected(mean: Mapping[str, float], name: str) -> float:
    """The value of one metric among means; on a tree a binary metric without a level is that of the finest one."""
    word = parse_metric(name).name
    return mean[word] if word in mean else mean[f"{word}.0"]


def choose_device(name: str, world: World | None = None) -> torch.device:
    """The device that `train.device` or `--device` names; `auto` is a GPU where there is one.

    Of several processes each has a GPU of its own, or all compute on the CPU.

    Raises:
        TrainingError: a device that is not there, or not every process can have.
    """
    own = world.device if world else None
    if own is not None:
        if name not in ("auto", own.type):
            raise TrainingError(f"device {name}: each of several processes computes on {own.type} here; use auto")
        return own
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(f"device {name} cannot be used here: {error}; use auto or cpu") from error


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The type that `train.precision` names; `auto` is bfloat16 where the hardware multiplies it fast."""
    if name != "auto":
        return {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16", False))
    return torch.bfloat16 if fast else torch.float32


def set_seed(seed: int) -> None:
    """Seed every random generator in use."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def set_deterministic(wanted: bool) -> None:
    """Let a GPU compute the same every time, slower; an operation that cannot is an error then."""
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(wanted)


def _num_classes(labels: Tensor, level: int, key: str) -> int:
    if labels.dtype == torch.bool:
        return int(labels.shape[1])
    columns = labels.reshape(len(labels), -1)
    if not 0 <= level < columns.shape[1]:
        raise InputError(f"{key}={level}, but the labels have columns 0 to {columns.shape[1] - 1}, 0 the finest")
    return int(columns[:, level].max()) + 1
