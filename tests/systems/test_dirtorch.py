"""Deep Image Retrieval as a whole: its recipes, and the chain from an official file to a measured ranking."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from pertinent import EmbeddingStore, Encoder, Index
from pertinent.cli.__main__ import app
from pertinent.data.datasets import DATASETS
from pertinent.engine.building import make_losses
from pertinent.engine.check import check_recipe
from pertinent.engine.measure import load_evaluation
from pertinent.engine.recipe import load_recipe
from pertinent.engine.train import train
from pertinent.losses import APLoss, TripletLoss
from pertinent.report.collect import report_run

SMALL = ["data.characters=4", "data.per_character=5", "data.size=32", "preprocess.crop=32", "preprocess.resize=32"]
GLYPHS = ["--option", "form=judged", "--option", "characters=4", "--option", "per_character=6", "--option", "size=40"]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> str:
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def test_the_published_settings():
    recipe = load_recipe("dirtorch/ap-gem")
    assert recipe.model.backbone == "resnet101.tv_in1k"
    assert (recipe.model.pool, recipe.model.dim) == ("gem", 2048)
    assert (recipe.sampler.name, recipe.sampler.batch_size) == ("class_covering", 4096)
    steps = recipe.train.epochs * recipe.sampler.options["batches"]
    assert (steps, recipe.optim.lr, recipe.optim.schedule.name) == (200, 1e-4, "linear")
    assert (recipe.optim.name, recipe.optim.weight_decay, recipe.train.batch_norm) == ("adam", 1e-6, "freeze")
    assert recipe.augment.build(recipe.preprocess) is not None
    loss = make_losses(recipe, torch.tensor([0, 1, 1]), 2048)["ap"]
    assert isinstance(loss, APLoss)
    assert (loss.bins.count, loss.balanced) == (20, True)
    triplets = load_recipe("dirtorch/tl-gem")
    assert triplets.sampler.batch_size == 64 * 3
    assert (triplets.optim.name, triplets.optim.lr, triplets.optim.weight_decay) == ("sgd", 1e-3, 5e-5)
    loss = make_losses(triplets, torch.tensor([0, 1, 1]), 2048)["triplet"]
    assert isinstance(loss, TripletLoss)
    assert loss.margin == 0.1


def test_a_crop_for_training_is_800_pixels_and_one_to_measure_keeps_its_size():
    from PIL import Image

    recipe = load_recipe("dirtorch/ap-gem")
    picture = Image.new("RGB", (1024, 700))
    assert recipe.preprocess is not None
    torch.manual_seed(0)
    assert recipe.augment.build(recipe.preprocess)(picture).shape == (3, 800, 800)
    assert recipe.preprocess.build()(picture).shape == (3, 700, 1024)


@pytest.mark.parametrize("name", ["ap-gem", "tl-gem"])
def test_the_recipes_fit_the_layout_of_landmarks_clean(name: str, tmp_path: Path):
    DATASETS.get("landmarks_clean").example(tmp_path)
    words = [f"data.root={tmp_path}", "model.pretrained=false", "model.backbone=test_resnet"]
    small = {"ap-gem": ["sampler.batch_size=8"], "tl-gem": ["sampler.batch_size=3", "sampler.queries=4"]}[name]
    found = check_recipe(load_recipe(f"dirtorch/{name}", [*words, *small]))
    assert not found.problems


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("glyphs-ap-gem", ["sampler.batch_size=60", "train.chunk=30"]),
        (
            "glyphs-tl-gem",
            ["sampler.batch_size=48", "sampler.queries=96", "sampler.pool=100", "sampler.refresh=2", "optim.lr=0.002"],
        ),
    ],
)
def test_a_short_run_learns_signs(name: str, words: list[str], tmp_path: Path):
    recipe = load_recipe(f"dirtorch/{name}", [*SMALL, *words, "train.epochs=8", "train.precision=float32"])
    run = train(recipe, tmp_path / "run")
    before, best = (load_evaluation(run.evaluation(which)) for which in ("before", "best"))
    assert best["mean"]["ap_trapezoid"] > before["mean"]["ap_trapezoid"]
    assert best["relevance"]["protocol"] == "medium"
    assert "relevant" in report_run(run).read_text()


def test_from_an_official_file_to_a_measured_ranking(call: Callable[..., str], shared: Path):
    """Convert, embed, whiten, evaluate, index: every step by the command line, as the guide has it."""
    official = shared / "golden" / "dirtorch" / "tiny_dirtorch_resnet18.pt"
    assert "dirtorch" in call("convert", official, "-o", "enc", "--whiten", "none")
    call("datasets", "write", "glyphs:test", "signs", *GLYPHS)
    call("datasets", "doctor", "landmarks", "signs", "truth=gnd_signs.pkl", "--pictures")
    call("datasets", "write", "glyphs:train", "learn", *GLYPHS)
    benchmark = ["landmarks:test", "--root", "signs", "--option", "truth=gnd_signs.pkl"]
    said = call("embed", "enc", *benchmark, "-o", "signs-store")
    store = EmbeddingStore.open("signs-store")
    assert f"{store.labels.probes} pictures were cut to their boxes" in said
    call("embed", "enc", "csv:all", "--root", "learn", "--option", "file=labels.csv", "-o", "learn-store")
    plain = call("evaluate", "signs-store", "--json", "plain.json", "-o", "plain")
    whitened = call(
        "evaluate", "signs-store", "--whiten", "learn-store", "--whitenp", 0.5, "--whitenv", 16, "--aqe", 2, 3
    )
    assert "medium" in plain
    assert "cosine after pca_whiten(p=0.5, dims=16), alpha_qe(k=2, alpha=3.0)" in whitened
    words = ["--stages", "pca_whiten(p=0.5, dims=16), alpha_qe(k=2)", "--fit", "learn-store"]
    call("index", "signs-store", "-o", "index", *words)
    call("evaluate", "signs-store", "--stages", "index", "--compare", "plain", "--json", "again.json")
    # The served ranking is the measured one: search with the queries as they are stored.
    index, items = Index.open("index"), len(store) - store.labels.probes
    hits = index.search(np.array(store.vectors[items:]), k=items)
    assert hits.positions.max() < items
    found = json.loads(Path("again.json").read_text())["easy"]["mean"]["mp@1"]
    judged = store.labels.judgements
    firsts = []
    for query, record in enumerate(judged):
        skip = {*record.hard, *record.junk}
        ranked = [place for place in hits.positions[query].tolist() if place not in skip]
        firsts.append(ranked[0] in record.easy)
    assert found == pytest.approx(np.mean(firsts))
    assert Encoder.load("enc").dim == store.dim


def test_whitening_that_is_stored_in_the_official_file(call: Callable[..., str], shared: Path):
    official = shared / "golden" / "dirtorch" / "tiny_dirtorch_resnet18.pt"
    call("convert", official, "-o", "enc")
    call("datasets", "write", "glyphs:test", "signs", *GLYPHS)
    benchmark: list[Any] = ["--data", "landmarks:test", "--root", "signs", "--option", "truth=gnd_signs.pkl"]
    said = call("evaluate", "enc", *benchmark, "--trfs", "Scale(40)", "--trfs", "Scale(56)", "--save-feats", "feats")
    assert "hard" in said
    assert call("evaluate", "enc", *benchmark, "--load-feats", "feats").splitlines()[-5:] == said.splitlines()[-5:]
