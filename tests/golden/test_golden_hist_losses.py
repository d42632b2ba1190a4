"""HIST's loss against numbers of its official code: values, intermediate matrices and all gradients."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pertinent.functional.hypergraph import class_distances, distribution_losses, propagation, variances
from pertinent.losses import HISTLoss

FOLDER = Path(__file__).parent
CASES = {case["id"]: case for case in json.loads((FOLDER / "hist_losses.json").read_text())}
FULL = [name for name, case in CASES.items() if case["kind"] == "hist_loss"]
PARAMETERS = {
    "distributions.means": ("means", "gmeans"),
    "distributions.log_vars": ("log_vars", "glogvars"),
    "hgnn.theta1.weight": ("theta1_w", "gtheta1_w"),
    "hgnn.theta1.bias": ("theta1_b", "gtheta1_b"),
    "hgnn.bn1.weight": ("bn_w", "gbn_w"),
    "hgnn.bn1.bias": ("bn_b", "gbn_b"),
    "hgnn.theta2.weight": ("theta2_w", "gtheta2_w"),
    "hgnn.theta2.bias": ("theta2_b", "gtheta2_b"),
}


def arrays(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    with np.load(FOLDER / "hist_losses.npz") as stored:
        found = {key: torch.from_numpy(stored[key]) for key in stored if key.startswith(f"{name}/")}
    inputs = {key.split("/")[2]: value for key, value in found.items() if "/in/" in key}
    return inputs, {key.split("/")[2]: value for key, value in found.items() if "/out/" in key}


def build(params: dict[str, float], inputs: dict[str, Tensor], **options: bool) -> HISTLoss:
    sizes = params["C"], params["D"], params["hidden"], params["tau"], params["alpha"], params["lambda_s"]
    loss = HISTLoss(*sizes, **options)
    dtype = getattr(torch, str(params["dtype"]))
    state = loss.state_dict() | {key: inputs[name] for key, (name, _) in PARAMETERS.items()}
    loss.load_state_dict(state)
    return loss.to(dtype)


def close(actual: Tensor | None, expected: Tensor, wide: bool) -> None:
    """Relative to the largest entry; a value that is rounding noise is compared absolutely."""
    if actual is None:
        actual = torch.zeros_like(expected)
    tolerance = (1e-9 if wide else 3e-4) * max(float(expected.abs().max()), 1)
    torch.testing.assert_close(actual.detach().double(), expected.double(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", FULL)
def test_loss(name: str) -> None:
    params, scalars = CASES[name]["params"], CASES[name]["scalars"]
    inputs, outputs = arrays(name)
    wide = params["dtype"] == "float64"
    loss = build(params, inputs, drop_underflow=True)
    x = inputs["embeddings"].to(getattr(torch, params["dtype"])).requires_grad_()
    total = loss(x, inputs["labels"].long())
    total.backward()
    expected = {"distribution": scalars["L_D"], "hypergraph": params["lambda_s"] * scalars["L_CE"]}
    for key, value in expected.items():
        close(loss.components[key], torch.tensor(value, dtype=torch.float64), wide)
    close(total, torch.tensor(scalars["total"], dtype=torch.float64), wide)
    close(x.grad, outputs["tot_gx"], wide)
    for key, parameter in loss.named_parameters():
        gradient = PARAMETERS[key][1]
        if f"tot_{gradient}" in outputs:
            close(parameter.grad, outputs[f"tot_{gradient}"], wide)
        else:
            close(parameter.grad, params["lambda_s"] * outputs[f"ce_{gradient}"], wide)
    close(loss.hgnn.bn1.running_mean, outputs["bn_running_mean"], wide)
    close(loss.hgnn.bn1.running_var, outputs["bn_running_var"], wide)


@pytest.mark.parametrize(
    ("beginning", "weights"), [("ld", {"lambda_d": 1.0, "lambda_s": 0.0}), ("ce", {"lambda_d": 0.0, "lambda_s": 1.0})]
)
@pytest.mark.parametrize("name", FULL)
def test_gradients_of_each_term(name: str, beginning: str, weights: dict[str, float]) -> None:
    params = CASES[name]["params"]
    inputs, outputs = arrays(name)
    loss = build(params, inputs, drop_underflow=True)
    loss.lambda_d, loss.lambda_s = weights["lambda_d"], weights["lambda_s"]
    x = inputs["embeddings"].to(getattr(torch, params["dtype"])).requires_grad_()
    loss(x, inputs["labels"].long()).backward()
    gradients = {"gx": x.grad} | {PARAMETERS[key][1]: parameter.grad for key, parameter in loss.named_parameters()}
    stored = [key for key in gradients if f"{beginning}_{key}" in outputs]
    assert {"gx", "gmeans", "glogvars"} <= set(stored)
    for key in stored:
        close(gradients[key], outputs[f"{beginning}_{key}"], params["dtype"] == "float64")


@pytest.mark.parametrize("name", FULL)
def test_nothing_is_dropped_by_default(name: str) -> None:
    params, scalars = CASES[name]["params"], CASES[name]["scalars"]
    inputs, _ = arrays(name)
    loss = build(params, inputs)
    loss(inputs["embeddings"].to(getattr(torch, params["dtype"])), inputs["labels"].long())
    assert loss.components["distribution"].item() == pytest.approx(scalars["L_D_logsoftmax"], rel=1e-6)


@pytest.mark.parametrize("name", FULL)
def test_matrices(name: str) -> None:
    params, scalars = CASES[name]["params"], CASES[name]["scalars"]
    inputs, outputs = arrays(name)
    wide, dtype = params["dtype"] == "float64", getattr(torch, params["dtype"])
    loss = build(params, inputs)
    x, labels = inputs["embeddings"].to(dtype), inputs["labels"].long()
    distances = loss.distributions(x)
    close(distances, outputs["distance"], wide)
    targets = torch.nn.functional.one_hot(labels, params["C"]).bool()
    assert targets.any(0).nonzero()[:, 0].tolist() == scalars["classes_in_batch"]
    membership = loss.hyperedges(distances, targets, labels.new_zeros(len(labels), 0))
    close(membership, outputs["H"], wide)
    spread = propagation(membership)
    close(spread, outputs["G"], wide)
    close(loss.hgnn(x, spread), outputs["logits"], wide)


def test_two_classes_are_two() -> None:
    case = CASES["h15_two_classes"]
    inputs, outputs = arrays("h15_two_classes")
    x, means, log_vars = (inputs[key].double() for key in ("embeddings", "means", "log_vars"))
    targets = torch.nn.functional.one_hot(inputs["labels"].long(), 2).bool()
    distances = class_distances(x, means, variances(log_vars))
    first = distribution_losses(distances, targets, case["params"]["tau"])
    assert first.item() == pytest.approx(case["scalars"]["L_D_correct"], rel=1e-9)
    loss = HISTLoss(2, x.shape[1], alpha=case["params"]["alpha"])
    close(loss.hyperedges(distances, targets, torch.zeros(len(x), 0, dtype=torch.int64)), outputs["H_correct"], True)
