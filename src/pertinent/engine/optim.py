"""Optimisers, learning-rate schedules and the freezing of BatchNorm, as the recipe states them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from pertinent.engine.recipe import NetworkOptimiser, Optimiser, Schedule, TrainSettings
from pertinent.errors import ConfigError, suggest
from pertinent.models.encoder import Encoder


def learning_rate(schedule: Schedule, lr: float, epoch: float, epochs: int) -> float:
    """Learning rate after `epoch` epochs (counted from the end of warm-up) of a run of `epochs`.

    Warm-up epochs do not move the schedule, so a cosine with warm-up ends that much before `min_lr`, as in the
    official HAPPIER runs.
    """
    if schedule.name == "step":
        return lr * schedule.gamma ** (math.floor(epoch) // schedule.step)
    left = {"cosine": (1 + math.cos(math.pi * epoch / epochs)) / 2, "linear": 1 - epoch / epochs, "constant": 1.0}
    low = schedule.min_lr if schedule.name != "constant" else 0.0
    return low + (lr - low) * left[schedule.name]


def make_optimiser(settings: Optimiser, groups: Iterable[dict[str, Any]]) -> torch.optim.Optimizer:
    """Build an optimiser over parameter groups; each group may bring its own `lr`."""
    groups = list(groups)
    shared: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay}
    if settings.name == "sgd":
        nesterov = settings.nesterov and settings.momentum > 0
        return torch.optim.SGD(groups, **shared, momentum=settings.momentum, nesterov=nesterov)
    kind = torch.optim.Adam if settings.name == "adam" else torch.optim.AdamW
    return kind(groups, **shared)


class Scheduled:
    """An optimiser whose groups follow the recipe's schedule."""

    def __init__(self, settings: Optimiser, groups: Iterable[dict[str, Any]], train: TrainSettings) -> None:
        self.settings, self.train = settings, train
        self.optimiser = make_optimiser(settings, groups)
        self.base = [float(group["lr"]) for group in self.optimiser.param_groups]

    def set_time(self, epoch: int, share: float) -> None:
        """Set the learning rates for a place in training: epoch number and the share of it that is done."""
        schedule = self.settings.schedule
        done = epoch + (share if schedule.per == "step" else 0.0)
        after_warmup = max(done - self.train.warmup_epochs, 0.0)
        rise = min(done / schedule.rise_epochs, 1.0) if schedule.rise_epochs else 1.0
        for group, lr in zip(self.optimiser.param_groups, self.base, strict=True):
            group["lr"] = rise * learning_rate(schedule, lr, after_warmup, self.train.epochs)

    def has_gradients(self) -> bool:
        """Whether there is anything to learn in this step."""
        return any(p.grad is not None for group in self.optimiser.param_groups for p in group["params"])

    def rates(self) -> dict[str, float]:
        """Present learning rate of every group, by its name."""
        return {str(group["name"]): float(group["lr"]) for group in self.optimiser.param_groups}


def make_optimisers(
    encoder: Encoder,
    losses: dict[str, nn.Module],
    own: dict[str, Optimiser],
    network: NetworkOptimiser,
    train: TrainSettings,
) -> dict[str, Scheduled]:
    """One optimiser for the network (and losses without their own), and one for each loss in `own`.

    Raises:
        ConfigError: a pattern in `network.groups` fits no parameter.
    """
    head_lr = network.head_lr or network.lr
    named = [
        (name, weight, network.lr if name.startswith("backbone.") else head_lr)
        for name, weight in encoder.named_parameters()
    ]
    for key, loss in losses.items():
        if key not in own:
            named += [(f"losses.{key}.{name}", p, head_lr) for name, p in loss.named_parameters()]
    result = {"network": Scheduled(network, _group(named, network), train)}
    for key, settings in own.items():
        parameters = list(losses[key].parameters())
        if parameters:
            result[key] = Scheduled(settings, [{"name": key, "params": parameters, "lr": settings.lr}], train)
    return result


def _group(named: list[tuple[str, nn.Parameter, float]], network: NetworkOptimiser) -> list[dict[str, Any]]:
    """Parameter groups: one for each pattern, the rest by part of the model (backbone, head, losses)."""
    groups: dict[str, dict[str, Any]] = {}
    used: set[str] = set()
    for name, parameter, lr in named:
        pattern = next((pattern for pattern in network.groups if fnmatchcase(name, pattern)), None)
        part = name.split(".")[0]
        title = part if part in ("backbone", "losses") else "head"
        changes: dict[str, float] = {}
        if pattern:
            used.add(pattern)
            changes = network.groups[pattern].model_dump(exclude_none=True)
            # Without a rate of its own, a pattern across parts keeps theirs.
            title = pattern if "lr" in changes else f"{title}: {pattern}"
        groups.setdefault(title, {"name": title, "params": [], "lr": lr, **changes})["params"].append(parameter)
    idle = [pattern for pattern in network.groups if pattern not in used]
    if idle:
        names = sorted({name.rsplit(".", 1)[0] for name, _, _ in named})
        raise ConfigError([f"optim.groups.{pattern}: fits no parameter{suggest(pattern, names)}" for pattern in idle])
    return list(groups.values())


def set_training_mode(encoder: Encoder, train: TrainSettings, epoch: int) -> None:
    """Put the encoder into the mode of an epoch: warm-up freezes the weights of the backbone, BatchNorm is as asked.

    `freeze_stats` fixes the running statistics of the backbone's BatchNorm and lets its scale and shift learn;
    `freeze` fixes those too. With `train` the statistics move in the warm-up as well, as in HIST and HAPPIER.
    """
    encoder.train()
    warm_up = epoch < train.warmup_epochs
    for parameter in encoder.backbone.parameters():
        parameter.requires_grad_(not warm_up)
    if train.batch_norm == "train":
        return
    for module in encoder.backbone.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            module.eval()
            for parameter in module.parameters():
                parameter.requires_grad_(train.batch_norm == "freeze_stats" and not warm_up)
