"""HAPPIER as a whole: its recipes, its total loss as published, and a run on the embedded data set."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from pertinent import EmbeddingStore, Encoder
from pertinent.cli.__main__ import app
from pertinent.cli.demo import FLAT, RECIPE
from pertinent.engine.building import make_encoder, make_losses
from pertinent.engine.check import check_recipe
from pertinent.engine.embed import embed_table
from pertinent.engine.evaluate import evaluate_all
from pertinent.engine.example import example_recipe
from pertinent.engine.judging import make_trial
from pertinent.engine.measure import load_evaluation
from pertinent.engine.protocols import PROTOCOLS, evaluate_protocol, overall
from pertinent.engine.recipe import Recipe, load_recipe
from pertinent.engine.run import open_dataset
from pertinent.engine.train import train
from pertinent.losses import ClusterLoss, HAPLoss
from pertinent.recipes import recipe_names

GOLDEN = Path(__file__).parents[1] / "golden" / "happier"
RECIPES = [name for name in recipe_names() if name.startswith("happier/")]
CSL = [name for name in RECIPES if name.endswith("-csl")]
WEIGHTED = [name for name in RECIPES if name not in CSL]
# HAPPIER's table: optimiser, rate of backbone and head, weight decay, least rate, epochs, warm-up, BatchNorm, backbone,
# proxies' rate and its end, margins of the baseline.
SOP = ("adam", 5e-5, 1e-4, 1e-4, 0, 100, 5, "freeze_stats", "resnet50.tv_in1k", 10, 0.1, [0.25, 0.45])
INAT = ("adam", 1e-5, 2e-5, 4e-4, 1e-6, 100, 5, "freeze_stats", "resnet50.tv_in1k", 2e-5, 1e-6)
SCRATCH = ("sgd", 0.1, None, 1e-4, 1e-6, 100, 0, "train", "resnet34.tv_in1k", 0.1, 1e-6, [0.25, 0.35, 0.45])
TABLE: dict[str, Any] = {
    "sop": SOP,
    "inat_base": (*INAT, [0.25, 0.45]),
    "inat_full": (*INAT, [0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75]),
    "dyml_vehicle": SCRATCH,
    "dyml_animal": SCRATCH,
    "dyml_product": (
        "sgd", 0.01, 0.02, 1e-4, 1e-5, 20, 5, "freeze_stats", "resnet34.tv_in1k", 0.02, 1e-5, [0.25, 0.35, 0.45],
    ),
}  # fmt: skip

PROTOCOL = {
    "sop": "happier/sop",
    **dict.fromkeys(("inat_base", "inat_full"), "happier/inat"),
    **dict.fromkeys(("dyml_vehicle", "dyml_animal"), "happier/dyml"),
    "dyml_product": "happier/dyml-product",
}


def total(recipe: Recipe, losses: torch.nn.ModuleDict, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return sum((recipe.losses[key].weight * loss(embeddings, labels) for key, loss in losses.items()), torch.zeros(()))


@pytest.mark.parametrize("data", TABLE)
def test_the_published_settings(data: str):
    name, lr, head_lr, decay, least, epochs, warm_up, norm, backbone, proxies, proxies_end, margins = TABLE[data]
    for ending in ("", "-csl", *(["-fine"] if data in ("sop", "inat_base", "inat_full") else [])):
        recipe = load_recipe(f"happier/{data}{ending}")
        optim = recipe.optim
        assert (optim.name, optim.lr, optim.head_lr, optim.weight_decay) == (name, lr, head_lr, decay)
        assert (optim.schedule.name, optim.schedule.min_lr, optim.schedule.per) == ("cosine", least, "epoch")
        assert name == "adam" or (optim.momentum, optim.nesterov) == (0.9, True)
        assert (recipe.train.epochs, recipe.train.warmup_epochs, recipe.train.batch_norm) == (epochs, warm_up, norm)
        assert (recipe.model.backbone, recipe.model.dim, recipe.model.pool) == (backbone, 512, "average")
        assert (recipe.model.layer_norm, recipe.model.normalise) == ("before", True)
        assert recipe.model.pretrained == (data not in ("dyml_vehicle", "dyml_animal"))
        sampler = "hierarchical" if data == "sop" else "m_per_class"
        assert (recipe.sampler.name, recipe.sampler.batch_size) == (sampler, 256)
        assert recipe.sampler.options["per_class"] == 4
        assert recipe.evaluate.metrics == list(PROTOCOLS[PROTOCOL[data]].metrics)
        if ending != "-csl":
            own = recipe.losses["cluster"].optim
            assert (own.name, own.lr, own.schedule.min_lr) == (name, proxies, proxies_end)
            assert own.weight_decay == (0 if data == "sop" else decay)
        else:
            # Of the baseline on SOP the proxies' rate ends with that of the network, on Product it begins with it.
            own = recipe.losses["csl"].optim
            ends = {"sop": (10, 0), "dyml_product": (0.01, 1e-5)}.get(data, (proxies, proxies_end))
            assert (own.name, own.lr, own.schedule.min_lr) == (name, *ends)
            assert recipe.losses["csl"].options == {"margins": margins, "scale": 32, "reduction": "sum"}


@pytest.mark.parametrize("name", WEIGHTED)
def test_every_recipe_weighs_its_two_losses_as_published(name: str):
    recipe = load_recipe(name)
    share = 0.5 if name.endswith("-fine") or name == "happier/dyml_animal" else 0.1
    assert {key: loss.weight for key, loss in recipe.losses.items()} == {"hap": 1 - share, "cluster": share}
    losses = make_losses(recipe, torch.tensor([[0, 0], [1, 0], [2, 1]]), dim=4)
    hap = losses["hap"]
    assert isinstance(hap, HAPLoss)
    assert isinstance(losses["cluster"], ClusterLoss)
    assert hap.level is None, "all levels of the tree count"
    start = (0, 1.0) if "inat" in name else (0.5, 1.44)
    assert (hap.step.start, hap.step.offset, hap.step.tau, hap.step.rho, hap.step.delta) == (*start, 0.01, 100, 0.05)


@pytest.mark.parametrize("name", CSL)
def test_the_baseline_is_one_loss_for_all_levels(name: str):
    recipe = load_recipe(name)
    levels = len(recipe.losses["csl"].options["margins"])
    labels = torch.tensor([[0] * levels, [1] + [0] * (levels - 1), [2] + [1] * (levels - 1)])
    losses = make_losses(recipe, labels, dim=4)
    assert list(losses) == ["csl"]
    assert losses["csl"].weight.shape == (3, 4)


@pytest.mark.parametrize("data", ["dyml_vehicle", "dyml_animal"])
def test_dyml_is_measured_in_a_gallery_that_holds_the_queries(data: str, tmp_path: Path):
    """Training measures what the paper's protocol does: each query leaves out itself, and finds the other queries."""
    recipe = example_recipe(f"happier/{data}", tmp_path / "data")
    run = train(recipe, tmp_path / "run")
    best = load_evaluation(run.evaluation("best"))
    assert (best["n_queries"], best["n_items"]) == (2, 6)
    encoder, reader = Encoder.load(run.encoder("best")), open_dataset(recipe.data)
    stores = [
        embed_table(encoder, reader.split(f"{side}_fine"), tmp_path / side, batch_size=8)
        for side in ("query", "gallery")
    ]
    trial = make_trial(*stores, "happier/dyml")
    metrics = ["asi", "ap", "ap@r", "r@1", "r@10"]
    reports = evaluate_all(trial.queries, trial.gallery, relevances=trial.relevances, metrics=metrics)
    for metric, value in reports[""].mean.items():
        assert best["mean"][metric] == pytest.approx(value, abs=1e-6), metric


def test_the_three_levels_of_product_are_averaged(tmp_path: Path):
    recipe = example_recipe("happier/dyml_product", tmp_path / "data")
    run = train(recipe, tmp_path / "run")
    store = EmbeddingStore.open(run.store("best"))
    reports = evaluate_protocol("happier/dyml-product", store.vectors, labels=store.labels.values)
    mean = reports[""].mean
    three = overall(reports[""])
    assert three["ap"] == pytest.approx(np.mean([mean[f"ap.{level}"] for level in range(3)]))
    assert three["asi"] == pytest.approx(np.mean([mean["asi"], *(mean[f"asi.{level}"] for level in range(3))]))
    best = load_evaluation(run.evaluation("best"))["mean"]
    assert {f"asi.{level}" for level in range(3)} <= set(best)


@pytest.mark.parametrize("data", ["dyml_vehicle", "dyml_product"])
def test_the_guide_makes_the_mean_of_dyml(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The commands of the guide, word for word but for the data set's and the encoder's name."""
    recipe = example_recipe(f"happier/{data}", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    make_encoder(recipe).save(tmp_path / "ENCODER")
    guide = (Path(__file__).parents[2] / "docs" / "data-fine-grained.md").read_text()
    family = "dyml_product" if data == "dyml_product" else "dyml_animal"
    blocks = [block for block in re.findall("```bash\n(.*?)```", guide, re.DOTALL) if f"{family}:" in block]
    assert len(blocks) == 1
    body = re.sub(
        "for level in (.*?); do\n(.*?)done\n",
        lambda loop: "".join(loop[2].replace("$level", level) for level in loop[1].split()),
        blocks[0].replace(family, data),
        flags=re.DOTALL,
    )
    said = ""
    for line in body.splitlines():
        done = CliRunner().invoke(app, shlex.split(line, comments=True)[1:])
        assert done.exit_code == 0, done.output
        said = done.stdout
    found = {words[0]: words[1:] for words in map(str.split, said.splitlines()[1:])}
    if data == "dyml_product":
        mean = json.loads(Path("product.json").read_text())["mean"]
        assert found["ap"] == [f"{100 * np.mean([mean[f'ap.{level}'] for level in range(3)]):.1f}"]
        assert found["asi"] == [f"{100 * np.mean([mean['asi'], *(mean[f'asi.{k}'] for k in range(3))]):.1f}"]
        return
    means = [json.loads(Path(f"{level}.json").read_text())["mean"]["ap.0"] for level in ("fine", "middle", "coarse")]
    assert found["ap.0"] == [f"{100 * value:.1f}" for value in [*means, np.mean(means)]]


@pytest.mark.parametrize(
    "name", [name for name in WEIGHTED if load_recipe(name).losses["cluster"].weight == 0.1 and "inat" not in name]
)
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
