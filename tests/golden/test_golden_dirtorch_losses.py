"""AP, triplet and contrastive losses against numbers of dirtorch's and cirtorch's official code (float64)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pertinent.functional.binned_ap import Bins, binned_ap
from pertinent.functional.distances import paired_distances
from pertinent.functional.triplets import triplet_losses
from pertinent.losses import APLoss, ContrastiveLoss, TripletLoss

FOLDER = Path(__file__).parent
CASES = {case["case"]: case for case in json.loads((FOLDER / "dirtorch_losses.json").read_text())}


def of_function(*ends: str) -> list[str]:
    names = [name for name, case in CASES.items() if case["fn"].endswith(ends)]
    assert names
    return names


def arrays(name: str) -> dict[str, Tensor]:
    with np.load(FOLDER / "dirtorch_losses.npz") as stored:
        keys = [key for key in stored if key.startswith(f"{name}/")]
        assert keys
        return {key.split("/")[1]: torch.from_numpy(stored[key]) for key in keys}


def leaf(values: Tensor) -> Tensor:
    return values.clone().requires_grad_()


def close(actual: Tensor | None, expected: Tensor) -> None:
    assert actual is not None
    torch.testing.assert_close(actual.detach(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", of_function("APLoss", "APLoss_dist"))
def test_binned_ap(name: str) -> None:
    case, data = CASES[name], arrays(name)
    options = case["ctor"]
    ties = "ordered"
    if "TAPLoss" in case["fn"]:
        ties = "mean" if options.get("simplified") else "expected"
    bins = Bins(options["nq"], options.get("min", 0), options.get("max", 1))
    scores = leaf(data["x"])
    values = binned_ap(scores, data["label"].long(), bins, ties, distance=case["fn"].endswith("_dist"))
    if case["ret"] == "AP":
        actual, expected = values, data["out"]
        undefined = expected.isnan()
        assert torch.equal(values[undefined], torch.ones(int(undefined.sum()), dtype=torch.float64))
        close(actual[~undefined], expected[~undefined])
    else:
        actual = 1 - (values * data.get("qw", torch.ones(()))).mean()
        undefined = torch.zeros(len(scores), dtype=torch.bool)
        close(actual, data["out"])
    actual.sum().backward()
    # Where a score lies on the centre of a bin the official gradient is one of many.
    safe = data["grad_safe"] & ~undefined[:, None]
    assert safe.float().mean() > 0.5
    close(scores.grad[safe], data["grad_x"][safe])
    assert not scores.grad[undefined].any()


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("quantizer")])
def test_bins(name: str) -> None:
    data, options = arrays(name), CASES[name]["ctor"]
    bins = Bins(options["nq"], options["min"], options["max"])
    first, share = bins.place(data["x"][:, None])
    table = bins.histogram((first, share), torch.ones_like(share))
    close(table.T, data["q"])


def test_two_passes_over_a_linear_network() -> None:
    """Descriptors of unit length have similarity 1 with themselves, on a bin's centre: only tangents compare."""
    data = arrays("multistage_linear_ap20")
    weight = leaf(data["W"])
    descriptors = torch.nn.functional.normalize(data["X"] @ weight.T)
    descriptors.retain_grad()
    loss = APLoss(bins=20)(descriptors, data["y"])
    loss.backward()
    close(loss, data["loss"])
    close(weight.grad, data["grad_W"])

    def tangent(gradient: Tensor) -> Tensor:
        return gradient - (gradient * data["desc"]).sum(1, keepdim=True) * data["desc"]

    close(tangent(descriptors.grad), tangent(data["grad_desc"]))


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("triplet_")])
def test_triplets(name: str) -> None:
    data, options = arrays(name), dict(CASES[name]["ctor"])
    parts = {key: leaf(data[key]) for key in ("anchor", "positive", "negative")}
    options["kind"] = "logexp" if "LogExp" in CASES[name]["fn"] else "margin"
    if options.pop("reduction", "mean") == "none":
        apart = (paired_distances(parts["anchor"], parts[key]) for key in ("positive", "negative"))
        loss = triplet_losses(*apart, margin=options["margin"])
    else:
        count = len(data["anchor"])
        triplets = tuple(torch.arange(start, start + count) for start in (0, count, 2 * count))
        loss = TripletLoss(**options)(torch.cat(list(parts.values())), None, triplets)
    loss.sum().backward()
    close(loss, data["out"])
    for key, part in parts.items():
        close(part.grad, data[f"grad_{key[0]}"])


def tuples(label: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pairs (query, positive, query, negative); each query (-1) stands before its positive (1) and negatives (0)."""
    places = torch.arange(len(label))
    query = torch.cummax(torch.where(label == -1, places, 0), 0).values
    near, far = places[label == 1], places[label == 0]
    return query[near], near, query[far], far


def test_contrastive() -> None:
    data = arrays("cirtorch_contrastive_m07")
    x = leaf(data["x"])
    loss = ContrastiveLoss(margin=0.7, reduction="sum")(x.T, None, tuples(data["label"]))
    loss.backward()
    close(loss, data["out"])
    close(x.grad, data["grad_x"])


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("cirtorch_cirtriplet")])
def test_triplets_of_squared_distances(name: str) -> None:
    data = arrays(name)
    x = leaf(data["x"])
    first, near, second, far = tuples(data["label"])
    each = (first[:, None] == second[None, :]).nonzero(as_tuple=True)
    embeddings = x.T
    anchor, positive, negative = embeddings[first[each[0]]], embeddings[near[each[0]]], embeddings[far[each[1]]]
    own, other = (anchor - positive).square().sum(1), (anchor - negative).square().sum(1)
    loss = triplet_losses(own, other, CASES[name]["ctor"]["margin"]).sum()
    loss.backward()
    close(loss, data["out"])
    close(x.grad, data["grad_x"])
