"""HAPPIER as a whole: its recipes, its total loss as published, and a run on the embedded data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pertinent.cli.demo import FLAT, RECIPE
from pertinent.engine.building import make_encoder, make_losses
from pertinent.engine.check import check_recipe
from pertinent.engine.measure import load_evaluation
from pertinent.engine.recipe import Recipe, load_recipe
from pertinent.engine.train import train
from pertinent.losses import ClusterLoss, HAPLoss
from pertinent.recipes import recipe_names

GOLDEN = Path(__file__).parents[1] / "golden" / "happier"
RECIPES = [name for name in recipe_names() if name.startswith("happier/")]


def total(recipe: Recipe, losses: torch.nn.ModuleDict, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return sum((recipe.losses[key].weight * loss(embeddings, labels) for key, loss in losses.items()), torch.zeros(()))


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_weighs_its_two_losses_as_published(name: str):
    recipe = load_recipe(name)
    assert {key: loss.weight for key, loss in recipe.losses.items()} == {"hap": 0.9, "cluster": 0.1}
    assert recipe.model.layer_norm == "before"
    assert recipe.model.normalise
    losses = make_losses(recipe, torch.tensor([[0, 0], [1, 0], [2, 1]]), dim=4)
    assert isinstance(losses["hap"], HAPLoss)
    assert isinstance(losses["cluster"], ClusterLoss)
    assert losses["hap"].level is None, "all levels of the tree count"


@pytest.mark.parametrize("name", RECIPES)
def test_the_total_loss_and_its_gradients_are_the_official_ones(name: str):
    with np.load(GOLDEN / "happier_total_01.npz") as stored:
        data = {key: torch.from_numpy(stored[key]) for key in stored}
    recipe = load_recipe(name, ["losses.hap.alpha=1"])  # the stored numbers have the default
    losses = make_losses(recipe, data["labels"], dim=16).double()
    with torch.no_grad():
        losses["cluster"].weight.copy_(data["proxies"])
    embeddings = data["embeddings"].requires_grad_()
    found = total(recipe, losses, embeddings, data["labels"])
    found.backward()
    pairs = [
        (found.detach(), data["total"]),
        (embeddings.grad, data["grad_embeddings"]),
        (losses["cluster"].weight.grad, data["grad_proxies"]),
    ]
    for value, want in pairs:
        torch.testing.assert_close(value, want, rtol=1e-9, atol=1e-10)


def test_the_flat_baseline_differs_in_nothing_but_the_levels():
    happier, flat = load_recipe(RECIPE), load_recipe(RECIPE, [FLAT])
    assert flat.losses["hap"].options == {**happier.losses["hap"].options, "level": 0}
    assert flat.model_copy(update={"losses": happier.losses}) == happier
    labels = torch.tensor([[0, 0], [1, 0], [2, 1], [2, 1], [0, 0]])
    embeddings = torch.nn.functional.normalize(torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    fine = labels[:, :1]
    hap = make_losses(flat, labels, dim=4)["hap"]
    torch.testing.assert_close(hap(embeddings, labels), HAPLoss()(embeddings, fine))


def test_happier_learns_signs(tmp_path: Path):
    """A short run on the embedded data set; the levels of its tree are learnt together."""
    words = ["data.characters=4", "data.per_character=4", "data.size=32", "preprocess.crop=32", "data.test=train"]
    recipe = load_recipe(RECIPE, [*words, "sampler.batch_size=32", "train.epochs=6", "train.precision=float32"])
    run = train(recipe, tmp_path / "run")
    before, best = (load_evaluation(run.evaluation(name))["mean"] for name in ("before", "best"))
    assert best["hap"] > 1.25 * before["hap"]
    for metric in ("ap.0", "ap.1", "ndcg"):
        assert best[metric] > before[metric]


@pytest.fixture
def grocery(shared: Path) -> list[str]:
    """The words that the recipe on real photographs needs."""
    weights = sorted((shared / "data" / "weights").glob("mobilenetv2*.pth"))
    if not weights or not (shared / "data" / "grocery_store").is_dir():
        pytest.skip("no grocery store photographs or weights")
    return [f"data.root={shared / 'data' / 'grocery_store'}", f"model.pretrained={weights[0]}"]


def test_the_recipe_on_real_photographs_fits_them(grocery: list[str]):
    recipe = load_recipe("happier/grocery", grocery)
    found = check_recipe(recipe)
    assert found.problems == []
    assert "embeddings of 256 numbers" in found.summary
    encoder = make_encoder(recipe)
    assert encoder.preprocess.mean == encoder.preprocess.std == (0.5, 0.5, 0.5)
