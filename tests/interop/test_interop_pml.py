"""Our losses inside pytorch-metric-learning's trainers and containers, and both kinds in a plain loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from pertinent.losses import CalibrationLoss, ClusterLoss, HAPLoss, HISTLoss, PMLLoss, TripletLoss

pytest.importorskip("pytorch_metric_learning")
from pytorch_metric_learning import losses, miners, trainers

CLASSES, PER_CLASS, WIDTH = 6, 4, 12


def data() -> tuple[Tensor, Tensor]:
    """Noisy classes in two groups, and their labels, fine and coarse."""
    generator = torch.Generator().manual_seed(0)
    fine = torch.arange(CLASSES).repeat_interleave(PER_CLASS)
    centres = torch.randn(CLASSES, WIDTH, generator=generator)
    x = centres[fine] + torch.randn(len(fine), WIDTH, generator=generator)
    return x, torch.stack([fine, fine % 2], dim=1)


class Net(nn.Sequential):
    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Linear(WIDTH, 8))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.normalize(super().forward(x))


def train(net: nn.Module, loss: nn.Module, labels: Tensor, steps: int = 40) -> list[float]:
    """A training loop with nothing of ours in it but the loss."""
    x, _ = data()
    optimiser = torch.optim.Adam([*net.parameters(), *loss.parameters()], lr=0.02)
    values = []
    for _ in range(steps):
        value = loss(net(x), labels)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        values.append(value.item())
    return values


def plain() -> dict[str, tuple[nn.Module, Tensor]]:
    tree = data()[1]
    tags = nn.functional.one_hot(tree[:, 0]).bool() | nn.functional.one_hot(tree[:, 0] // 3, CLASSES).bool()
    return {
        "ours on a tree": (HAPLoss(), tree),
        "theirs on a tree": (PMLLoss(losses.MultiSimilarityLoss(), miners.MultiSimilarityMiner(), level=1), tree),
        "theirs on all levels": (PMLLoss("SupConLoss", weights=[0.7, 0.3]), tree),
        "theirs on tags": (PMLLoss("CircleLoss"), tags),
        "theirs on tags with a miner": (PMLLoss("TripletMarginLoss", "BatchHardMiner", options={"margin": 0.3}), tags),
        "theirs with parameters": (
            PMLLoss("ProxyAnchorLoss", options={"num_classes": CLASSES, "embedding_size": 8}),
            tree,
        ),
    }


@pytest.mark.parametrize("name", plain())
def test_plain_loop(name: str) -> None:
    loss, labels = plain()[name]
    values = train(Net(), loss, labels)
    assert values[-1] < 0.8 * values[0]


def test_multiple_losses_hold_both_kinds() -> None:
    x, tree = data()
    ours, theirs = {"cluster": ClusterLoss(CLASSES, 8), "calibration": CalibrationLoss()}, losses.MultiSimilarityLoss()
    every = losses.MultipleLosses({**ours, "theirs": theirs}, weights={"cluster": 1, "calibration": 0.1, "theirs": 0.5})
    embeddings, fine = Net()(x), tree[:, 0]
    expected = ours["cluster"](embeddings, fine) + 0.1 * ours["calibration"](embeddings, fine)
    torch.testing.assert_close(every(embeddings, fine), expected + 0.5 * theirs(embeddings, fine))
    values = train(Net(), every, fine)
    assert values[-1] < 0.8 * values[0]


def test_their_miners_feed_our_pair_losses() -> None:
    x, tree = data()
    embeddings, fine = Net()(x), tree[:, 0]
    every = losses.MultipleLosses([TripletLoss(0.2)], [miners.TripletMarginMiner(margin=0.2)])
    mined = miners.TripletMarginMiner(margin=0.2)(embeddings, fine)
    torch.testing.assert_close(every(embeddings, fine), TripletLoss(0.2)(embeddings, fine, mined))


# Their trainer shows the loss in its progress bar without detaching it.
@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True to a scalar")
@pytest.mark.parametrize("name", ["listwise", "with parameters", "mined"])
def test_their_trainer(name: str) -> None:
    x, tree = data()
    loss: nn.Module = {
        "listwise": HAPLoss,
        "with parameters": lambda: HISTLoss(CLASSES, 8, hidden=8, tau=4.0),
        "mined": lambda: TripletLoss(0.3),
    }[name]()
    net = Net()
    before = loss(net(x), tree[:, 0]).item()
    extra: dict[str, Any] = {"mining_funcs": {"tuple_miner": miners.BatchHardMiner()}} if name == "mined" else {}
    optimizers = {"trunk_optimizer": torch.optim.Adam(net.parameters(), lr=0.02)}
    if list(loss.parameters()):
        optimizers["metric_loss_optimizer"] = torch.optim.Adam(loss.parameters(), lr=0.02)
    trainer = trainers.MetricLossOnly(
        models={"trunk": net},
        optimizers=optimizers,
        batch_size=len(x),
        loss_funcs={"metric_loss": loss},
        dataset=TensorDataset(x, tree[:, 0]),
        dataloader_num_workers=0,
        data_device=torch.device("cpu"),
        **extra,
    )
    trainer.train(num_epochs=30)
    assert loss(net(x), tree[:, 0]).item() < 0.8 * before
