"""HAPPIER's losses against numbers that its official code and SupRank's produced (float64)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pertinent import losses
from pertinent.functional.hierarchical_ap import hierarchical_ap
from pertinent.functional.relevance import level_counts, level_weights, tree_levels
from pertinent.functional.smooth_step import Ramp, SmoothStep
from pertinent.losses import ClusterLoss, CSLLoss, HAPLoss

FOLDER = Path(__file__).parent / "happier"
CASES = {case["name"]: case for case in json.loads((FOLDER / "losses.json").read_text())}
STEP_OPTIONS = ("tau", "rho", "offset", "delta", "start")


def of_kind(kind: str, beginning: str = "") -> list[str]:
    names = [name for name, case in CASES.items() if case["kind"] == kind and name.startswith(beginning)]
    assert names
    return names


def arrays(name: str) -> dict[str, Tensor]:
    with np.load(FOLDER / CASES[name]["file"]) as stored:
        return {key: torch.from_numpy(stored[key]) for key in stored}


def leaf(values: Tensor) -> Tensor:
    return values.clone().requires_grad_()


def close(name: str, actual: Tensor | None, expected: Tensor) -> None:
    assert actual is not None
    tolerance = 2e-5 if expected.dtype == torch.float32 else 1e-9
    torch.testing.assert_close(actual.detach(), expected, rtol=tolerance, atol=tolerance, msg=lambda m: f"{name}: {m}")


def hap_loss(params: dict[str, Any], **extra: Any) -> HAPLoss:
    options = dict(params["hap_kwargs"])
    options.pop("stop_grad", None)
    return HAPLoss(
        reduction=options.pop("reduce_type", "mean"),
        level=options.pop("hierarchy_level", None),
        relevance=params.get("relevance_type", "pop"),
        alpha=params["alpha"],
        **options,
        **extra,
    )


@pytest.mark.parametrize("name", of_kind("hap_loss"))
def test_hap_loss(name: str) -> None:
    params, data = CASES[name]["params"], arrays(name)
    embeddings, labels = leaf(data["embeddings"]), data["labels"]
    references = leaf(data["ref_embeddings"]) if "ref_embeddings" in data else None
    if references is not None:
        others = {"ref_emb": references, "ref_labels": data["ref_labels"]}
    elif params["hap_kwargs"].get("stop_grad"):
        others = {"ref_emb": embeddings.detach(), "ref_labels": labels}
    else:
        others = {}
    loss = hap_loss(params, levels=params["levels"])(embeddings, labels, **others)
    loss.backward()
    close(name, loss, data["loss"])
    close(name, embeddings.grad, data["grad_embeddings"])
    if references is not None:
        close(name, references.grad, data["grad_ref_embeddings"])

    params = {**params, "hap_kwargs": {**params["hap_kwargs"], "reduce_type": "none"}}
    close(name, 1 - hap_loss(params)(embeddings, labels, **others), data["hap_per_query"])


@pytest.mark.parametrize("name", of_kind("hap_scores"))
def test_hierarchical_ap_of_scores(name: str) -> None:
    params, data = CASES[name]["params"], arrays(name)
    levels = tree_levels(data["labels"], data["labels"])
    assert torch.equal(levels, data["target"].long())
    table = level_weights(level_counts(levels, params["levels"]), params["relevance_type"], params["alpha"])
    scores = leaf(data["scores"])
    step = SmoothStep(**{key: params["hap_kwargs"][key] for key in STEP_OPTIONS})
    values = hierarchical_ap(scores, levels, table, step)
    (values * data["weights"]).sum().backward()
    close(name, values, data["hap_per_query"])
    close(name, scores.grad, data["grad_scores"])


@pytest.mark.parametrize("variant", ["base", "inat", "offnone", "lin", "sig"])
def test_smooth_step(variant: str) -> None:
    name = "hap_26_step_functions"
    params, data = CASES[name]["params"], arrays(name)
    options = params["base"] | params[variant]
    value, slope = SmoothStep(**{key: options[key] for key in STEP_OPTIONS}).pieces()(data["x"])
    close(name, value, data[f"rank_inferior_{variant}"])
    close(name, slope, data[f"drank_inferior_{variant}"])


@pytest.mark.parametrize("variant", ["g05", "g2"])
def test_ramp(variant: str) -> None:
    name = "hap_26_step_functions"
    params, data = CASES[name]["params"], arrays(name)
    value, slope = Ramp(**(params["g05"] | params[variant])).pieces()(data["x"])
    close(name, value, data[f"hrank_superior_{variant}"])
    close(name, slope, data[f"dhrank_superior_{variant}"])


@pytest.mark.parametrize("name", of_kind("suprank", "sup_0"))
def test_suprank(name: str) -> None:
    params, data = CASES[name]["params"], arrays(name)
    embeddings = leaf(data["embeddings"])
    options = {key: value for key, value in params.items() if key in ("pos_margin", "neg_margin")}
    options |= params.get("kwargs", {})
    level = options.pop("hierarchy_level", 0)
    kinds = {"SupHAPLoss": "HAPLoss"}
    kind = getattr(losses, kinds.get(params["loss"], params["loss"]))
    loss = kind(**options, level=None if level == "MULTI" else level)(embeddings, data["labels"])
    loss.backward()
    # The official ideal gain of NDCG is computed in float32.
    tolerance = 1e-8 if "NDCG" in name else 1e-9
    for actual, expected in ((loss.detach(), data["loss"]), (embeddings.grad, data["grad_embeddings"])):
        torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def cluster_loss(proxies: Tensor, temperature: float, level: int = 0) -> ClusterLoss:
    loss = ClusterLoss(*proxies.shape, temperature=temperature, level=level).double()
    loss.load_state_dict({"weight": proxies})
    return loss


@pytest.mark.parametrize("name", of_kind("cluster_loss"))
def test_cluster_loss(name: str) -> None:
    params, data = CASES[name]["params"], arrays(name)
    module = cluster_loss(data["proxies"], params["temperature"], params["hierarchy_level"])
    embeddings = leaf(data["embeddings"])
    loss = module(embeddings, data["labels"])
    loss.backward()
    close(name, loss, data["loss"])
    close(name, embeddings.grad, data["grad_embeddings"])
    close(name, module.weight.grad, data["grad_proxies"])


@pytest.mark.parametrize("name", of_kind("csl_loss"))
def test_csl_loss(name: str) -> None:
    params, data = CASES[name]["params"], arrays(name)
    module = CSLLoss(
        data["proxy_labels"],
        data["proxies"].shape[1],
        params["margins"],
        scale=params["scale"],
        reduction=params["reduce_type"],
    ).double()
    module.weight.data.copy_(data["proxies"])
    assert torch.equal(data["train_labels"].unique(dim=0), data["proxy_labels"])
    embeddings = leaf(data["embeddings"])
    loss = module(embeddings, data["labels"])
    loss.backward()
    close(name, loss, data["loss"])
    close(name, embeddings.grad, data["grad_embeddings"])
    close(name, module.weight.grad, data["grad_proxies"])


@pytest.mark.parametrize("name", of_kind("happier_total"))
def test_happier_total(name: str) -> None:
    params, data = CASES[name]["params"], arrays(name)
    embeddings = leaf(data["embeddings"])
    cluster = cluster_loss(data["proxies"], params["temperature"])
    parts = hap_loss(params)(embeddings, data["labels"]), cluster(embeddings, data["labels"])
    close(name, parts[0], data["loss_hap"])
    close(name, parts[1], data["loss_cluster"])
    total = params["weights"][0] * parts[0] + params["weights"][1] * parts[1]
    total.backward()
    close(name, total, data["total"])
    close(name, embeddings.grad, data["grad_embeddings"])
    close(name, cluster.weight.grad, data["grad_proxies"])


@pytest.mark.parametrize("variant", ["pop_a1", "pop_a2", "pop_a05", "map_w"])
def test_relevance(variant: str) -> None:
    """Pop tables agree up to the constant by which (l/L)^alpha and the official (l/(L-1))^alpha differ."""
    name = "relevance_01"
    params, data = CASES[name]["params"], arrays(name)
    counts = level_counts(tree_levels(data["labels"], data["labels"]), params["levels"])
    if variant == "map_w":
        table = level_weights(counts, "map", params["map_w"]["weights"])
    else:
        alpha, top = params[variant]["alpha"], params["levels"]
        table = level_weights(counts, "pop", alpha) * (top / (top - 1)) ** alpha
    close(name, table, data[f"table_{variant}"])
