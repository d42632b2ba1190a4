from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pertinent.engine.optim import Scheduled, learning_rate, make_optimiser, make_optimisers, set_training_mode
from pertinent.engine.recipe import NetworkOptimiser, Optimiser, Schedule, TrainSettings
from pertinent.losses import ClusterLoss, HAPLoss
from pertinent.models.encoder import Encoder, EncoderConfig

GOLDEN = Path(__file__).parents[1] / "golden" / "happier" / "lr_traces_01.npz"
# HAPPIER's published runs: first rate, least rate, epochs, warm-up epochs.
RUNS = {
    "sop_backbone": (5e-5, 0.0, 100, 5),
    "sop_fc": (1e-4, 0.0, 100, 5),
    "sop_proxy": (10.0, 0.1, 100, 5),
    "inat_backbone": (1e-5, 1e-6, 100, 5),
    "dyml": (0.1, 1e-6, 100, 0),
    "dyml_product_backbone": (0.01, 1e-5, 20, 5),
}


@pytest.mark.parametrize("name", RUNS)
def test_rates_of_happiers_runs(name: str):
    lr, least, epochs, warm_up = RUNS[name]
    settings = Optimiser(lr=lr, schedule=Schedule(name="cosine", min_lr=least))
    train = TrainSettings(epochs=epochs, warmup_epochs=warm_up)
    scheduled = Scheduled(settings, [{"name": "all", "params": [nn.Parameter(torch.zeros(1))], "lr": lr}], train)
    found = []
    for epoch in range(epochs):
        scheduled.set_time(epoch, share=0.7)  # the rate moves with epochs, not within them
        found.append(scheduled.rates()["all"])
    with np.load(GOLDEN) as golden:
        np.testing.assert_allclose(found, golden[name], rtol=1e-9)


def test_cosine_ends_and_its_middle():
    cosine = Schedule(name="cosine", min_lr=0.1)
    assert learning_rate(cosine, 1.0, 0, 10) == 1.0
    assert learning_rate(cosine, 1.0, 5, 10) == pytest.approx(0.55)
    assert learning_rate(cosine, 1.0, 10, 10) == pytest.approx(0.1)


def test_step_and_constant():
    step = Schedule(name="step", step=3, gamma=0.1)
    found = [learning_rate(step, 1.0, epoch, 10) for epoch in (0, 2, 2.9, 3, 5, 6, 9)]
    np.testing.assert_allclose(found, [1, 1, 1, 0.1, 0.1, 0.01, 0.001])
    assert {learning_rate(Schedule(name="constant"), 0.3, epoch, 10) for epoch in range(10)} == {0.3}


def test_a_schedule_may_move_with_steps():
    settings = Optimiser(lr=1.0, schedule=Schedule(name="cosine", per="step"))
    weights = [{"name": "a", "params": [nn.Parameter(torch.zeros(1))], "lr": 1.0}]
    scheduled = Scheduled(settings, weights, TrainSettings(epochs=4, warmup_epochs=1))
    found = []
    for epoch, share in [(0, 0.0), (0, 0.9), (1, 0.0), (1, 0.5), (2, 0.0)]:
        scheduled.set_time(epoch, share)
        found.append(scheduled.rates()["a"])
    want = [learning_rate(settings.schedule, 1.0, after, 4) for after in (0, 0, 0, 0.5, 1)]
    np.testing.assert_allclose(found, want)


@pytest.mark.parametrize(
    ("settings", "kind", "options"),
    [
        (Optimiser(name="adam", lr=0.1, weight_decay=0.2), torch.optim.Adam, {"lr": 0.1, "weight_decay": 0.2}),
        (Optimiser(name="adamw", weight_decay=0.2), torch.optim.AdamW, {"lr": 1e-4, "weight_decay": 0.2}),
        (Optimiser(name="sgd"), torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        (Optimiser(name="sgd", momentum=0), torch.optim.SGD, {"momentum": 0, "nesterov": False}),
        (Optimiser(name="sgd", nesterov=False), torch.optim.SGD, {"momentum": 0.9, "nesterov": False}),
    ],
)
def test_make_optimiser(settings: Optimiser, kind: type, options: dict[str, Any]):
    optimiser = make_optimiser(settings, iter([{"params": [nn.Parameter(torch.zeros(1))]}]))
    assert type(optimiser) is kind
    assert {key: optimiser.defaults[key] for key in options} == options


@pytest.fixture
def encoder() -> Encoder:
    return Encoder(EncoderConfig(backbone="test_resnet", pool="gem", dim=8))


def parameters(optimiser: torch.optim.Optimizer) -> dict[str, set[int]]:
    return {group["name"]: {id(p) for p in group["params"]} for group in optimiser.param_groups}


def test_groups_hold_every_parameter_once(encoder: Encoder):
    losses = {"hap": HAPLoss(), "cluster": ClusterLoss(5, 8), "coarse": ClusterLoss(2, 8)}
    own = {"cluster": Optimiser(name="sgd", lr=10.0), "hap": Optimiser()}
    made = make_optimisers(encoder, losses, own, NetworkOptimiser(lr=1e-3, head_lr=2e-3), TrainSettings())
    assert list(made) == ["network", "cluster"], "a loss without parameters needs no optimiser"
    network = parameters(made["network"].optimiser)
    assert network["backbone"] == {id(p) for p in encoder.backbone.parameters()}
    assert network["head"] == {id(encoder.pool.p), *(id(p) for p in encoder.head.parameters())}
    assert network["losses"] == {id(losses["coarse"].weight)}
    assert parameters(made["cluster"].optimiser) == {"cluster": {id(losses["cluster"].weight)}}
    assert made["network"].rates() == {"backbone": 1e-3, "head": 2e-3, "losses": 2e-3}
    assert made["cluster"].rates() == {"cluster": 10.0}


def test_without_a_rate_of_its_own_the_head_learns_as_the_backbone(encoder: Encoder):
    made = make_optimisers(encoder, {"hap": HAPLoss()}, {}, NetworkOptimiser(lr=1e-3), TrainSettings())
    assert made["network"].rates() == {"backbone": 1e-3, "head": 1e-3}


def batch_norms(encoder: Encoder) -> list[nn.BatchNorm2d]:
    return [part for part in encoder.backbone.modules() if isinstance(part, nn.BatchNorm2d)]


def state(encoder: Encoder) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in encoder.state_dict().items()}


def one_step(encoder: Encoder) -> set[str]:
    """Names of what a training step changes, without the prefix of the part."""
    before = state(encoder)
    optimiser = torch.optim.SGD(encoder.parameters(), lr=0.1)
    encoder(torch.randn(6, 3, 32, 32)).sum(0).square().sum().backward()
    optimiser.step()
    return {key for key, value in encoder.state_dict().items() if not torch.equal(value, before[key])}


@pytest.mark.parametrize(
    ("mode", "statistics", "affine"), [("train", True, True), ("freeze_stats", False, True), ("freeze", False, False)]
)
def test_batch_norm_modes(encoder: Encoder, mode: Any, statistics: bool, affine: bool):
    set_training_mode(encoder, TrainSettings(batch_norm=mode), epoch=0)
    assert encoder.training
    assert encoder.head.training
    changed = one_step(encoder)
    assert any(key.endswith("running_mean") for key in changed) == statistics
    assert any(key.endswith("running_var") for key in changed) == statistics
    assert any(key.endswith("bn1.weight") for key in changed) == affine
    assert "backbone.network.conv1.0.weight" in changed
    assert "head.linear.weight" in changed


def test_warm_up_freezes_the_weights_of_the_backbone_and_then_lets_them_go(encoder: Encoder):
    settings = TrainSettings(epochs=3, warmup_epochs=2, batch_norm="freeze_stats")
    for epoch in (0, 1):
        set_training_mode(encoder, settings, epoch)
        assert one_step(encoder) - {"pool.p"} == {"head.linear.weight", "head.linear.bias"}
        assert encoder.pool.p.grad is not None
    encoder.zero_grad()
    set_training_mode(encoder, settings, epoch=2)
    assert all(p.requires_grad for p in encoder.parameters())
    assert not any(norm.training for norm in batch_norms(encoder))
    assert "backbone.network.conv1.0.weight" in one_step(encoder)


def test_statistics_that_may_move_move_in_the_warm_up_too(encoder: Encoder):
    """As in the authors' code: their warm-up holds weights, and leaves the network in training mode."""
    set_training_mode(encoder, TrainSettings(epochs=3, warmup_epochs=1), epoch=0)
    changed = one_step(encoder) - {"pool.p", "head.linear.weight", "head.linear.bias"}
    assert changed
    assert {key.rpartition(".")[2] for key in changed} == {"running_mean", "running_var", "num_batches_tracked"}


def test_a_frozen_norm_stays_frozen_after_warm_up(encoder: Encoder):
    settings = TrainSettings(epochs=3, warmup_epochs=1, batch_norm="freeze")
    for epoch in (0, 1):
        set_training_mode(encoder, settings, epoch)
    assert not any(p.requires_grad for norm in batch_norms(encoder) for p in norm.parameters())
    assert encoder.backbone.network.layer1[0].conv1.weight.requires_grad
