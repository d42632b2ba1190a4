"""The learning rates of HIST: a recipe of ours with the settings of each column of its table of commands."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pertinent.config import parse
from pertinent.engine.building import make_encoder, make_losses
from pertinent.engine.optim import Scheduled, make_optimisers, set_training_mode
from pertinent.engine.recipe import Recipe, check_names

# Learning rate, of the distributions, factor of the hypergraph network, weight decay, epochs between halvings, epochs,
# whether BatchNorm keeps its statistics, tau, alpha.
COMMANDS: dict[str, tuple[float, float, float, float, int, int, bool, float, float]] = {
    "cub": (1.2e-4, 1e-1, 5, 5e-5, 5, 40, True, 32, 1.1),
    "cars": (1e-4, 1e-1, 10, 1e-4, 10, 50, True, 32, 0.9),
    "sop": (1e-4, 1e-2, 10, 1e-4, 10, 60, False, 16, 2),
}
CLASSES, DIM, HIDDEN = 5, 8, 16
LABELS = torch.arange(CLASSES).repeat(2)


def recipe(data: str) -> Recipe:
    lr, distributions, factor, decay, step, epochs, frozen, tau, alpha = COMMANDS[data]
    values: dict[str, Any] = {
        "data": {"name": "folder"},
        "model": {
            "backbone": "test_resnet",
            "pool": "average+max",
            "dim": DIM,
            "layer_norm": "after",
            "head_start": "kaiming",
            "normalise": False,
        },
        "sampler": {"name": "random", "batch_size": 32},
        "losses": {"hist": {"tau": tau, "alpha": alpha, "hidden": HIDDEN}},
        "optim": {
            "name": "adam",
            "lr": lr,
            "weight_decay": decay,
            "schedule": {"name": "step", "step": step, "gamma": 0.5},
            "groups": {
                "losses.hist.distributions.*": {"lr": distributions},
                "losses.hist.hgnn.*": {"lr": lr * factor},
            },
        },
        "train": {"epochs": epochs, "warmup_epochs": 1, "batch_norm": "freeze_stats" if frozen else "train"},
        "evaluate": {"metrics": ["r@1"], "select": "r@1"},
    }
    return parse(Recipe, values, source=data)


def built(data: str) -> tuple[Any, Any, Scheduled]:
    made = recipe(data)
    encoder = make_encoder(made)
    losses = make_losses(made, LABELS, encoder.dim)
    optimisers = make_optimisers(encoder, dict(losses), {}, made.optim, made.train)
    assert list(optimisers) == ["network"], "one optimiser for all, as in the authors' code"
    return encoder, losses, optimisers["network"]


@pytest.mark.parametrize("data", COMMANDS)
def test_four_groups_each_at_its_rate(data: str):
    lr, distributions, factor, decay, *_ = COMMANDS[data]
    encoder, losses, network = built(data)
    rates = network.rates()
    assert rates == {
        "backbone": lr,
        "head": lr,
        "losses.hist.distributions.*": distributions,
        "losses.hist.hgnn.*": pytest.approx(lr * factor),
    }
    held = {group["name"]: {id(p) for p in group["params"]} for group in network.optimiser.param_groups}
    hist = losses["hist"]
    assert held["backbone"] == {id(p) for p in encoder.backbone.parameters()}
    assert held["head"] == {id(p) for p in encoder.head.parameters()}
    assert held["losses.hist.distributions.*"] == {id(hist.distributions.means), id(hist.distributions.log_vars)}
    assert held["losses.hist.hgnn.*"] == {id(p) for p in hist.hgnn.parameters()}
    assert {group["weight_decay"] for group in network.optimiser.param_groups} == {decay}
    assert isinstance(network.optimiser, torch.optim.Adam)


@pytest.mark.parametrize("data", COMMANDS)
def test_all_rates_are_halved_together_and_not_in_the_warm_up(data: str):
    step, epochs = COMMANDS[data][4:6]
    _, _, network = built(data)
    first = network.rates()
    for epoch in range(epochs):
        network.set_time(epoch, share=0.5)
        halvings = max(epoch - 1, 0) // step
        assert network.rates() == pytest.approx({name: lr / 2**halvings for name, lr in first.items()})


@pytest.mark.parametrize("data", COMMANDS)
def test_the_warm_up_trains_the_last_layer_and_the_loss_alone(data: str):
    encoder, losses, network = built(data)
    hist, frozen = losses["hist"], COMMANDS[data][6]
    assert (hist.distributions.means.shape, hist.hgnn.theta1.out_features) == ((CLASSES, DIM), HIDDEN)
    pixels = torch.randn(len(LABELS), 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def changed(epoch: int) -> set[str]:
        everything = torch.nn.ModuleDict({"encoder": encoder, "hist": hist})
        before = {name: value.clone() for name, value in everything.state_dict().items()}
        set_training_mode(encoder, recipe(data).train, epoch)
        network.set_time(epoch, share=0)
        network.optimiser.zero_grad()
        hist(encoder(pixels), LABELS).backward()
        network.optimiser.step()
        return {name for name, value in everything.state_dict().items() if not torch.equal(value, before[name])}

    hgnn = {f"hist.hgnn.{name}" for name in hist.hgnn.state_dict()}
    trained = {"hist.distributions.means", "hist.distributions.log_vars", *hgnn}
    head = {"encoder.head.linear.weight", "encoder.head.linear.bias"}
    statistics = {name for name in encoder.state_dict() if name.endswith(("_mean", "_var", "_tracked"))}
    moving = set() if frozen else {f"encoder.{name}" for name in statistics}
    assert changed(epoch=0) == trained | head | moving
    later = changed(epoch=1)
    assert later > trained | head
    assert "encoder.backbone.network.conv1.0.weight" in later
    assert "encoder.backbone.network.bn1.weight" in later, "scale and shift of BatchNorm learn in both"
    assert any(name.endswith("running_mean") and "backbone" in name for name in later) is not frozen


@pytest.mark.parametrize("data", COMMANDS)
def test_every_name_in_such_a_recipe_is_known(data: str):
    assert check_names(recipe(data)) == []
