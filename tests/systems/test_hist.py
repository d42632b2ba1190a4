"""HIST as a whole: its published settings, its ablations, and the path from a data set to figures of its protocol."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from builders import recipe_of
from pertinent import EmbeddingStore, Index
from pertinent.cli.__main__ import app
from pertinent.config import parse
from pertinent.engine.building import make_encoder, make_losses
from pertinent.engine.check import CHOSEN_ON_TEST, check_recipe
from pertinent.engine.embed import embed_table
from pertinent.engine.evaluate import evaluate
from pertinent.engine.events import read_events
from pertinent.engine.example import example_recipe
from pertinent.engine.judging import make_trial
from pertinent.engine.measure import load_evaluation
from pertinent.engine.protocols import PROTOCOLS
from pertinent.engine.recipe import Recipe, load_recipe
from pertinent.engine.run import open_dataset
from pertinent.engine.train import train
from pertinent.errors import DataError
from pertinent.losses import HISTLoss
from pertinent.relevance import Relevance
from pertinent.report.collect import report_run

# The authors' commands: rate, that of the distributions, the network's factor, weight decay, epochs between halvings,
# epochs after the warm-up, whether BatchNorm keeps its statistics, tau and alpha. In-Shop has those of SOP.
SOP = (1e-4, 1e-2, 10, 1e-4, 10, 60, False, 16, 2)
COMMANDS: dict[str, tuple[float, float, float, float, int, int, bool, float, float]] = {
    "cub": (1.2e-4, 1e-1, 5, 5e-5, 5, 40, True, 32, 1.1),
    "cars": (1e-4, 1e-1, 10, 1e-4, 10, 50, True, 32, 0.9),
    "sop": SOP,
    "inshop": SOP,
}


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> str:
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


@pytest.mark.parametrize("data", COMMANDS)
def test_the_published_settings(data: str) -> None:
    lr, distributions, factor, decay, step, epochs, frozen, tau, alpha = COMMANDS[data]
    recipe = load_recipe(f"hist/{data}")
    model, optim, settings = recipe.model, recipe.optim, recipe.train
    assert (model.backbone, model.pretrained, model.dim) == ("resnet50.tv_in1k", True, 512)
    assert (model.pool, model.layer_norm, model.head_start) == ("average+max", "after", "kaiming")
    assert not model.normalise, "the hypergraph network sees the embedding's length"
    assert (recipe.sampler.name, recipe.sampler.batch_size) == ("random", 32)
    assert (optim.name, optim.lr, optim.head_lr, optim.weight_decay) == ("adam", lr, None, decay)
    assert (optim.schedule.name, optim.schedule.step, optim.schedule.gamma) == ("step", step, 0.5)
    assert {pattern: group.lr for pattern, group in optim.groups.items()} == {
        "losses.hist.distributions.*": distributions,
        "losses.hist.hgnn.*": pytest.approx(lr * factor),
    }
    assert (settings.epochs - settings.warmup_epochs, settings.warmup_epochs) == (epochs, 1)
    assert settings.batch_norm == ("freeze_stats" if frozen else "train")
    assert settings.precision == "float32", "the authors mix none"
    loss = make_losses(recipe, torch.arange(3), 512)["hist"]
    assert isinstance(loss, HISTLoss)
    assert (loss.tau, loss.alpha, loss.lambda_s, loss.hgnn.theta1.out_features) == (tau, alpha, 1, 512)
    assert recipe.preprocess is None, "what timm says of the network: 256 pixels, of which 224 are kept"
    assert (recipe.augment.scale, recipe.augment.hflip) == ((0.08, 1.0), 0.5)
    protocol = {"sop": "hist/sop", "inshop": "hist/inshop"}.get(data, "hist")
    assert recipe.evaluate.metrics == list(PROTOCOLS[protocol].metrics)


@pytest.mark.parametrize("word", ["lambda_d=0", "lambda_s=0", "variance=unit"])
def test_ablations_are_words(word: str, tmp_path: Path) -> None:
    recipe = example_recipe("hist/cub", tmp_path / "data")
    values = recipe.model_dump(mode="json")
    key, _, value = word.partition("=")
    values["losses"]["hist"][key] = value if value.isalpha() else int(value)
    run = train(parse(Recipe, values, word), tmp_path / "run")
    parts = [event for event in read_events(run.log_path) if event["event"] == "step"][-1]["parts"]
    silent = {"lambda_d=0": "hist.distribution", "lambda_s=0": "hist.hypergraph"}.get(word)
    for part in ("hist.distribution", "hist.hypergraph"):
        assert (parts[part] == 0) == (part == silent)


def test_a_short_run_learns_colours(tmp_path: Path, recipe_file: Path) -> None:
    """Six kinds of noisy squares, from nothing, by HIST's loss and head."""
    words = ["losses.hap=null", "losses.cluster=null", "losses.hist.hidden=16", "losses.hist.weight=1"]
    words += ["model.pool=average+max", "model.layer_norm=after", "model.normalise=false", "data.test=train"]
    groups = "optim.groups={losses.hist.distributions.*: {lr: 0.1}, losses.hist.hgnn.*: {lr: 0.02}}"
    recipe = recipe_of(recipe_file, *words, groups, "optim.lr=0.003", "train.epochs=25", "evaluate.select=r@1")
    run = train(recipe, tmp_path / "run")
    before, best = (load_evaluation(run.evaluation(name))["mean"] for name in ("before", "best"))
    assert best["r@1.0"] > before["r@1.0"] + 0.2
    assert best["hap"] > before["hap"] + 0.1


def test_from_the_data_set_to_figures_of_the_protocol(call: Callable[..., str], tmp_path: Path) -> None:
    """Train with classes held out to choose by, embed the test classes, measure as the paper does, search."""
    recipe = example_recipe("hist/cub", tmp_path / "data")
    (tmp_path / "cub.yaml").write_text(_yaml(recipe))
    chosen = ["data.holdout=0.25", "data.val=val"]
    call("train", "cub.yaml", *chosen, "--out", "run")
    assert "r@32" in call("evaluate", "run", "--protocol", "hist")
    call("embed", "run", "cub:test", "--root", "data", "-o", "store")
    said = call("evaluate", "store", "--protocol", "hist", "--json", "hist.json")
    assert "nmi/geometric" in said
    picture = next((tmp_path / "data").rglob("*.png"))
    assert "200.Yellowthroat" in call("search", "run", picture, "-k", 4)


def test_in_shop_is_measured_against_its_gallery_after_training(tmp_path: Path) -> None:
    """Where the authors' own training ends with an error after its first epoch."""
    recipe = example_recipe("hist/inshop", tmp_path / "data")
    run = train(recipe, tmp_path / "run")
    best = load_evaluation(run.evaluation("best"))
    assert (best["n_queries"], best["n_items"]) == (2, 4)
    assert list(best["mean"])[:4] == ["r@1", "r@10", "r@20", "r@30"]
    assert len(Index.open(run.index)) == 4


def test_in_shop_chooses_among_the_classes_held_out(tmp_path: Path) -> None:
    """They search among themselves: the gallery has none of them."""
    values = example_recipe("hist/inshop", tmp_path / "data").model_dump(mode="json")
    values["data"] |= {"holdout": 0.5, "val": "val"}
    recipe = parse(Recipe, values, "held out")
    found = check_recipe(recipe)
    assert found.problems == []
    assert "val 4, query 2 in a gallery of 4; embeddings" in found.summary
    run = train(recipe, tmp_path / "run")
    epochs = [event for event in read_events(run.log_path) if event["event"] == "epoch"]
    assert all(0 <= event["metrics"]["r@1"] <= 1 for event in epochs)
    values["data"]["val_gallery"] = "gallery"
    said = check_recipe(parse(Recipe, values, "wrong gallery")).problems
    assert any("no query of val has anything relevant to find" in text and "data.val_gallery" in text for text in said)
    with pytest.raises(DataError, match="no query of val has anything relevant to find"):
        train(parse(Recipe, values, "wrong gallery"), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_in_shop_as_one_store_takes_metrics_and_no_protocol(tmp_path: Path) -> None:
    recipe = example_recipe("hist/inshop", tmp_path / "data")
    table = open_dataset(recipe.data).split("test")
    store = embed_table(make_encoder(recipe), table, tmp_path / "store", batch_size=8)
    assert make_trial(store).protocol.kind == "judged"
    with pytest.raises(DataError, match=r"hist/inshop needs labels of kind classes, .*name metrics instead of the"):
        make_trial(store, protocol="hist/inshop")


def test_choosing_on_the_test_classes_is_possible_and_told(tmp_path: Path) -> None:
    recipe = example_recipe("hist/cub", tmp_path / "data")
    values = recipe.model_dump(mode="json")
    values["data"]["val"] = "test"
    values["train"] |= {"evaluate_every": 1, "epochs": 3}
    flattered = parse(Recipe, values, "on test")
    assert CHOSEN_ON_TEST in check_recipe(flattered).warnings
    run = train(flattered, tmp_path / "run")
    epochs = [event for event in read_events(run.log_path) if event["event"] == "epoch"]
    best = load_evaluation(run.evaluation("best"))["mean"]
    assert best["r@1"] == max(event["metrics"]["r@1"] for event in epochs)
    assert "chosen on the test split" in report_run(run).read_text()


@pytest.mark.parametrize("every", [0, 3])
def test_nothing_is_chosen_where_the_last_epoch_alone_is_measured(every: int, tmp_path: Path) -> None:
    values = example_recipe("hist/cub", tmp_path / "data").model_dump(mode="json")
    values["data"]["val"] = "test"
    values["train"] |= {"evaluate_every": every, "epochs": 3}
    recipe = parse(Recipe, values, "last epoch")
    found = check_recipe(recipe)
    assert CHOSEN_ON_TEST not in found.warnings
    said = f"data.val=test chooses no epoch: with train.evaluate_every={every} only the last of 3 is measured on it"
    assert [text for text in found.warnings if text.startswith(said)]
    run = train(recipe, tmp_path / "run")
    assert sum("metrics" in event for event in read_events(run.log_path) if event["event"] == "epoch") == 1
    assert "chosen on the test split" not in report_run(run).read_text()


def test_the_loss_is_no_part_of_the_encoder(tmp_path: Path) -> None:
    """What is measured are the normalised embeddings of the network alone."""
    recipe = example_recipe("hist/cars", tmp_path / "data")
    run = train(recipe, tmp_path / "run")
    store = EmbeddingStore.open(run.store("best"))
    labels = open_dataset(recipe.data).split("test").labels
    report = evaluate(store.vectors, relevance=Relevance.classes(labels), metrics=["r@1"], similarity="cosine")
    assert report.mean["r@1"] == load_evaluation(run.evaluation("best"))["mean"]["r@1"]
    assert not any("hist" in path.name for path in run.encoder("best").iterdir())


def _yaml(recipe: Recipe) -> str:
    import yaml

    return yaml.safe_dump(recipe.model_dump(mode="json"))
