"""HyP2 against numbers of its official code: losses and gradients (float32), thresholds, a training run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pertinent.functional.code_distance import code_threshold
from pertinent.losses import HyP2Loss

FOLDER = Path(__file__).parent
INDEX = json.loads((FOLDER / "hyp2_losses.json").read_text())
CASES = {case["name"]: case for case in INDEX["loss"]}


def arrays(name: str) -> dict[str, Tensor]:
    with np.load(FOLDER / "hyp2_losses.npz") as stored:
        keys = [key for key in stored if key.startswith(f"{name}/")]
        assert keys
        return {key.split("/")[1]: torch.from_numpy(stored[key]) for key in keys}


def loss_with(proxies: Tensor, beta: float, threshold: float | None) -> HyP2Loss:
    loss = HyP2Loss(*proxies.shape, beta=beta, threshold=threshold)
    loss.load_state_dict({"proxies": proxies})
    return loss


@pytest.mark.parametrize("name", CASES)
def test_loss(name: str) -> None:
    case, data = CASES[name], arrays(name)
    loss = loss_with(data["proxies"], case["beta"], case["threshold"])
    labels = data["y"].to(getattr(torch, case["label_dtype"]))
    x = data["x"].clone().requires_grad_()
    value = loss(x, labels)
    value.backward()
    expected = case["ref64"]
    parts = {"positive": "pos_term", "negative": "neg_term", "pair": "pair_term"}
    for ours, theirs in parts.items():
        wanted = 0.0 if expected[theirs] == "nan" else expected[theirs]
        assert loss.components[ours].item() == pytest.approx(wanted, abs=2e-6)
    if name.startswith("degenerate"):
        assert value.isfinite()
        assert x.grad.isfinite().all()
        return
    assert value.item() == pytest.approx(case["loss_official_f32"], abs=2e-6)
    if name == "binary_inputs":
        # Cosines of pairs lie on the threshold; rounding decides on which side.
        return
    relative = 1e-4 if name == "zero_row" else 0
    torch.testing.assert_close(x.grad, data["grad_x"], rtol=relative, atol=1e-7)
    torch.testing.assert_close(loss.proxies.grad, data["grad_proxies"], rtol=relative, atol=1e-6)
    without_pairs = loss_with(data["proxies"], 0.0, case["threshold"])(x, labels)
    assert without_pairs.item() == pytest.approx(case["loss_proxy_only_official_f32"], abs=2e-6)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["ref64"]["loss"] != "nan"])
def test_loss_in_float64(name: str) -> None:
    case, data = CASES[name], arrays(name)
    loss = loss_with(data["proxies"], case["beta"], case["threshold"]).double()
    value = loss(data["x"].double(), data["y"])
    tolerance = 1e-5 if name == "binary_inputs" else 1e-9
    assert value.item() == pytest.approx(case["ref64"]["loss"], abs=tolerance)


def test_thresholds() -> None:
    assert len(INDEX["threshold"]) > 10
    for key, expected in INDEX["threshold"].items():
        classes, bits = map(int, key.split(","))
        chosen = code_threshold(classes, bits)
        assert chosen.distance == expected["d"]
        assert chosen.cosine == pytest.approx(expected["threshold"], abs=1e-12)
        assert HyP2Loss(classes, bits).threshold == chosen.cosine


def test_the_whole_table_of_codes(shared: Path) -> None:
    table = np.load(shared / "golden" / "hyp2" / "codetable_d.npz")["d"]
    for k in range(1, 21):
        found = [code_threshold(2**k, bits).distance for bits in range(k, 257)]
        assert found == table[k:257, k].tolist()


def test_first_proxies_have_the_official_spread() -> None:
    for case in INDEX["init"]:
        torch.manual_seed(0)
        proxies = HyP2Loss(case["num_classes"], case["hash_bit"]).proxies
        assert proxies.std().item() == pytest.approx(case["expected_std"], rel=0.1)


def test_training_run() -> None:
    data, settings = arrays("train"), INDEX["train"]
    layer = torch.nn.Linear(40, 32, bias=False)
    layer.weight.data.copy_(data["W0"])
    loss = loss_with(data["proxies0"], settings["beta"], settings["threshold"])
    optimiser = torch.optim.SGD([*layer.parameters(), *loss.parameters()], 0.02, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, 10, 0.5)
    values = []
    for _ in range(settings["epochs"]):
        for start in range(0, 96, settings["batch"]):
            rows = slice(start, start + settings["batch"])
            value = loss(layer(data["feats"][rows]), data["y"][rows])
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            values.append(value.item())
        schedule.step()
    assert values == pytest.approx(settings["losses"], abs=1e-5)
    torch.testing.assert_close(layer.weight.detach(), data["W_end"], rtol=0, atol=1e-5)
    torch.testing.assert_close(loss.proxies.detach(), data["proxies_end"], rtol=0, atol=1e-5)
