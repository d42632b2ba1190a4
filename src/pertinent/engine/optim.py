"""Optimisers, learning-rate schedules and the freezing of BatchNorm, as the recipe states them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from pertinent.engine.recipe import NetworkOptimiser, Optimiser, Schedule, TrainSettings
from pertinent.models.encoder import Encoder


def learning_rate(schedule: Schedule, lr: float, epoch: float, epochs: int) -> float:
    """Learning rate after `epoch` epochs (counted from the end of warm-up) of a run of `epochs`.

    Warm-up epochs do not move the schedule, so a cosine with warm-up ends that much before `min_lr`, as in the
    official HAPPIER runs.
    """
    if schedule.name == "cosine":
        return schedule.min_lr + (lr - schedule.min_lr) * (1 + math.cos(math.pi * epoch / epochs)) / 2
    if schedule.name == "step":
        return lr * schedule.gamma ** (math.floor(epoch) // schedule.step)
    return lr


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
        done = epoch + (share if self.settings.schedule.per == "step" else 0.0)
        after_warmup = max(done - self.train.warmup_epochs, 0.0)
        for group, lr in zip(self.optimiser.param_groups, self.base, strict=True):
            group["lr"] = learning_rate(self.settings.schedule, lr, after_warmup, self.train.epochs)

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
    """One optimiser for the network (and losses without their own), and one for each loss in `own`."""
    head_lr = network.head_lr or network.lr
    shared = [p for name, loss in losses.items() if name not in own for p in loss.parameters()]
    head = [*encoder.pool.parameters(), *encoder.head.parameters()]
    groups = [
        {"name": "backbone", "params": list(encoder.backbone.parameters()), "lr": network.lr},
        {"name": "head", "params": head, "lr": head_lr},
        {"name": "losses", "params": shared, "lr": head_lr},
    ]
    result = {"network": Scheduled(network, [group for group in groups if group["params"]], train)}
    for name, settings in own.items():
        parameters = list(losses[name].parameters())
        if parameters:
            result[name] = Scheduled(settings, [{"name": name, "params": parameters, "lr": settings.lr}], train)
    return result


def set_training_mode(encoder: Encoder, train: TrainSettings, epoch: int) -> None:
    """Put the encoder into the mode of an epoch: warm-up freezes the backbone whole, then BatchNorm as asked.

    `freeze_stats` fixes the running statistics of the backbone's BatchNorm and lets its scale and shift learn;
    `freeze` fixes those too.
    """
    encoder.train()
    warm_up = epoch < train.warmup_epochs
    for parameter in encoder.backbone.parameters():
        parameter.requires_grad_(not warm_up)
    if warm_up:
        encoder.backbone.eval()
        return
    if train.batch_norm == "train":
        return
    for module in encoder.backbone.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            module.eval()
            for parameter in module.parameters():
                parameter.requires_grad_(train.batch_norm == "freeze_stats")
