"""HyP2 as a whole: its recipes, every stored number of the official code, and the path from pictures to a search."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from pertinent import EmbeddingStore, Encoder, Relevance, evaluate
from pertinent.cli.__main__ import app
from pertinent.data.datasets import DATASETS
from pertinent.engine.building import make_losses
from pertinent.engine.check import check_recipe
from pertinent.engine.curves import metric_curve, precision_recall, precision_recall_by_radius
from pertinent.engine.example import example_recipe
from pertinent.engine.measure import load_evaluation
from pertinent.engine.ranking import Ranking, evaluate_ranking
from pertinent.engine.recipe import load_recipe
from pertinent.engine.run import Run, open_dataset, open_split
from pertinent.engine.train import train
from pertinent.functional.code_distance import code_threshold, griesmer
from pertinent.losses import HyP2Loss
from pertinent.models.encoder import EncoderConfig
from pertinent.report.collect import report_run

PUBLISHED = {"voc2007": 5011, "voc2012": 5717, "flickr25k": 1000, "nuswide": 5000}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_settings(name: str):
    recipe = load_recipe(f"hyp2/{name}", ["bits=16"])
    convolutions, side = ("inception_v3.tv_in1k", 448) if name.startswith("voc") else ("alexnet", 224)
    assert (recipe.model.backbone, recipe.model.dim, recipe.model.normalise) == (convolutions, 16, False)
    assert recipe.preprocess is not None
    assert recipe.preprocess.resize == (side, side)
    proxies = recipe.losses["hyp2"].optim
    assert proxies is not None
    assert (recipe.optim.lr, proxies.lr) == (0.02 if name.startswith("voc") else 0.01, 0.02)
    for optim in (recipe.optim, proxies):
        assert (optim.name, optim.momentum, optim.weight_decay) == ("sgd", 0.9, 5e-4)
        assert optim.schedule.name == "step"
    assert (recipe.sampler.name, recipe.sampler.batch_size, recipe.train.epochs) == ("random", 100, 100)
    # The loaders of the originals keep the last batch, which is not full.
    assert recipe.sampler.options["drop_last"] is False
    # AlexNet has its two in its hidden layers, Inception-v3 one before its last layer.
    assert (recipe.model.dropout, recipe.model.head_dropout) == (0, 0.5 if name.startswith("voc") else 0)
    assert recipe.model.backbone_options == ({} if name.startswith("voc") else {"dense": True})
    assert recipe.data.gallery == "database"
    assert recipe.evaluate.metrics[0] == f"ap@{PUBLISHED[name]}/hits"
    assert recipe.evaluate.similarity == "hamming"
    loss = make_losses(recipe, torch.eye(20).bool(), 16)["hyp2"]
    assert isinstance(loss, HyP2Loss)
    assert (loss.bits, loss.num_classes, loss.beta, loss.pair_scope) == (16, 20, 0.5, "multi")


@pytest.mark.parametrize("name", ["voc2007", "flickr25k"])
def test_every_dropout_of_the_original_is_in_the_network(name: str):
    recipe = load_recipe(f"hyp2/{name}", ["bits=16", "model.pretrained=false"])
    with torch.device("meta"):
        encoder = Encoder(EncoderConfig(**recipe.model.model_dump(exclude={"pretrained"})), recipe.preprocess)
    found = [part.p for part in encoder.modules() if isinstance(part, torch.nn.Dropout) and part.p]
    assert found == ([0.5] if name == "voc2007" else [0.5, 0.5])


def test_pictures_held_out_of_voc2012_stay_in_the_database(tmp_path: Path):
    DATASETS.get("voc2012").example(tmp_path)
    held = ["data.held_out=0.34", "data.val=held_out", "data.val_gallery=train"]
    found = []
    for words in ([], held):
        data = load_recipe("hyp2/voc2012", ["bits=16", f"data.root={tmp_path}", *words]).data
        dataset = open_dataset(data)
        found.append(open_split(data, data.test, dataset))
        assert len(dataset.split(data.train)) == (4 if words else 6)
    assert found[0].fingerprint() == found[1].fingerprint()
    assert len(found[1]) - found[1].probes == 6


def test_the_split_of_ours_is_told_in_check_log_and_report(tmp_path: Path):
    recipe = example_recipe("hyp2/flickr25k", tmp_path / "data")
    assert not [text for text in check_recipe(recipe).warnings if "the split is ours" in text]
    (tmp_path / "data" / "flickr.txt").unlink()
    (said,) = [text for text in check_recipe(recipe).warnings if "the split is ours" in text]
    events: list[dict[str, Any]] = []
    run = train(recipe, tmp_path / "run", listener=events.append)
    (start,) = [event for event in events if event["event"] == "start"]
    assert start["notes"] == [said]
    loss = HyP2Loss(38, recipe.model.dim or 0)
    assert start["losses"] == {"hyp2": loss.extra_repr()}
    assert f"threshold={loss.threshold:.4g} ({loss.threshold_reason})" in start["losses"]["hyp2"]
    page = html.unescape(report_run(run).read_text())
    assert said in page
    assert loss.extra_repr() in page


# --- every number of the official code; `tests/golden` has a part of them that needs no other folder


@pytest.fixture(scope="module")
def index(shared: Path) -> Any:
    return json.loads((shared / "golden" / "hyp2" / "index.json").read_text())


@pytest.fixture(scope="module")
def arrays(shared: Path) -> Callable[[str], dict[str, np.ndarray]]:
    stored = np.load(shared / "golden" / "hyp2" / "hyp2.npz")

    def of(case: str) -> dict[str, np.ndarray]:
        return {key.split("/")[1]: stored[key] for key in stored.files if key.split("/")[0] == case}

    return of


def test_every_loss_and_both_gradients(index: Any, arrays: Callable[[str], dict[str, np.ndarray]]):
    assert len(index["loss"]) >= 20
    for case in index["loss"]:
        name, data = case["name"], {key: torch.from_numpy(value) for key, value in arrays(case["name"]).items()}
        loss = HyP2Loss(case["num_classes"], case["hash_bit"], beta=case["beta"])
        assert loss.threshold == pytest.approx(case["threshold"], abs=1e-12), name
        loss.load_state_dict({"proxies": data["proxies"]})
        x = data["x"].clone().requires_grad_()
        value = loss(x, data["y"].to(getattr(torch, case["label_dtype"])))
        value.backward()
        assert value.isfinite(), name
        if name.startswith("degenerate"):
            assert case["loss_official_f32"] == "nan"
            continue
        assert value.item() == pytest.approx(case["loss_official_f32"], abs=2e-6), name
        # On the threshold itself rounding decides which pairs count.
        loose = 0.05 if name == "binary_inputs" else 0
        relative = 1e-4 if name == "zero_row" else 0
        assert x.grad is not None
        torch.testing.assert_close(x.grad, data["grad_x"], rtol=relative, atol=1e-7 + loose)
        torch.testing.assert_close(loss.proxies.grad, data["grad_proxies"], rtol=relative, atol=1e-6 + loose)


def test_every_threshold(index: Any, shared: Path):
    for key, want in index["threshold"].items():
        chosen = code_threshold(*map(int, key.split(",")))
        assert (chosen.distance, chosen.cosine) == (want["d"], pytest.approx(want["threshold"], abs=1e-12)), key
    below = json.loads((shared / "golden" / "hyp2" / "griesmer_exceptions.json").read_text())["exceptions"]
    for k in range(1, 9):
        less = dict(below.get(str(k), ()))
        for bits in range(k, 257):
            assert code_threshold(2**k, bits).distance == less.get(bits, griesmer(bits, k)), (bits, k)


def test_the_first_proxies_bit_for_bit(index: Any, arrays: Callable[[str], dict[str, np.ndarray]]):
    for case in index["init"]:
        torch.manual_seed(case["seed"])
        torch.randn(case["num_classes"], case["hash_bit"])  # the original draws once for nothing
        proxies = HyP2Loss(case["num_classes"], case["hash_bit"]).proxies
        torch.testing.assert_close(proxies.detach(), torch.from_numpy(arrays(case["name"])["proxies"]), rtol=0, atol=0)


def test_the_whole_training_run(index: Any, arrays: Callable[[str], dict[str, np.ndarray]]):
    (case,) = index["train"]
    data = {key: torch.from_numpy(value) for key, value in arrays("train").items()}
    layer, loss = torch.nn.Linear(40, 32, bias=False), HyP2Loss(20, 32)
    layer.weight.data.copy_(data["W0"])
    loss.load_state_dict({"proxies": data["proxies0"]})
    optimiser = torch.optim.SGD([*layer.parameters(), *loss.parameters()], 0.02, momentum=0.9, weight_decay=5e-4)
    values = []
    for rate in case["lr_after_epoch"]:
        for rows in range(0, case["batches_per_epoch"] * case["batch"], case["batch"]):
            some = slice(rows, rows + case["batch"])
            optimiser.zero_grad()
            value = loss(layer(data["feats"][some]), data["y"][some])
            value.backward()
            optimiser.step()
            values.append(value.item())
        for group in optimiser.param_groups:
            group["lr"] = rate
    assert len(values) == 36
    assert values == pytest.approx(case["losses"], abs=1e-5)
    torch.testing.assert_close(layer.weight.detach(), data["W_end"], rtol=0, atol=1e-5)
    torch.testing.assert_close(loss.proxies.detach(), data["proxies_end"], rtol=0, atol=1e-5)


def test_every_evaluation(index: Any, arrays: Callable[[str], dict[str, np.ndarray]]):
    assert len(index["eval"]) >= 7
    for case in index["eval"]:
        data, name, cut = arrays(case["name"]), case["name"], case["retrieve"]
        tags = data["q_lab"] > 0, data["db_lab"] > 0
        sides, rel, how = (data["q_out"], data["db_out"]), Relevance.tags(*tags), {"similarity": "hamming"}
        metric = f"ap@{cut}/hits"
        for ties, word in (("expected", "tie_expected"), ("index", "stable")):
            report = evaluate(*sides, relevance=rel, metrics=[metric], ties=ties, **how)  # type: ignore[arg-type]
            if case["error"] is not None:
                # Where more are asked for than there are, all are taken.
                whole = evaluate(*sides, relevance=rel, metrics=[f"ap@{case['ndb']}/hits"], ties=ties, **how)  # type: ignore[arg-type]
                np.testing.assert_allclose(report.per_query[metric], whole.per_query[f"ap@{case['ndb']}/hits"])
                continue
            np.testing.assert_allclose(report.per_query[metric], data[f"ap_{word}"], atol=1e-12, err_msg=name)
            assert report.mean[metric] == pytest.approx(case[f"map_{word}"], abs=1e-12), name
            top = metric_curve("topn@K", case["topN"]["N"], *sides, relevance=rel, ties=ties, **how)  # type: ignore[arg-type]
            np.testing.assert_allclose(list(top.values()), case["topN"][f"precision_{word}"], atol=1e-12)
        if case["error"] is not None:
            continue
        order = data["order_official"].astype(np.int64)
        tops = [f"topn@{count}" for count in case["topN"]["N"]]
        official = evaluate_ranking(Ranking(order, case["ndb"]), relevance=rel, metrics=[metric, *tops])
        np.testing.assert_allclose(official.per_query[metric], data["ap_official"], atol=1e-12, err_msg=name)
        assert official.mean[metric] == pytest.approx(case["map_official"], abs=1e-12), name
        got = [official.mean[word] for word in tops]
        np.testing.assert_allclose(got, case["topN"]["precision_official_order"], atol=1e-12, err_msg=name)
        ranks = precision_recall(*sides, relevance=rel, ties="index", **how)  # type: ignore[arg-type]
        np.testing.assert_allclose(ranks.precision, data["pr_precision_stable"], atol=1e-12, err_msg=name)
        np.testing.assert_allclose(ranks.recall, data["pr_recall_stable"], atol=1e-12, err_msg=name)
        ball, want = precision_recall_by_radius(*sides, relevance=rel), case["radius"]
        assert (ball.at.tolist(), ball.empty.tolist()) == (want["radius"], want["queries_with_empty_ball"]), name
        np.testing.assert_allclose(ball.precision, want["precision_empty_as_zero"], atol=1e-12, err_msg=name)
        np.testing.assert_allclose(ball.recall, want["recall_over_queries_with_relevant"], atol=1e-12, err_msg=name)
        graded, names = case["graded_stable"], ("ACG", "NDCG", "WAP")
        asked = [f"{word.lower()}@{graded['at']}" for word in names]
        levels = Relevance.tags(*tags, graded=True)
        found = evaluate(*sides, relevance=levels, metrics=asked, ties="index", **how)  # type: ignore[arg-type]
        for ours, theirs in zip(asked, names, strict=True):
            # The original counts 0 for queries with nothing relevant in every mean.
            assert np.nan_to_num(found.per_query[ours]).mean() == pytest.approx(graded[theirs], abs=1e-12), name


# --- from pictures to a search

SMALL = ["data.characters=4", "data.per_character=4", "data.size=32", "preprocess.crop=32", "preprocess.resize=32"]
GLYPHS = ["--option", "form=tags", "--option", "characters=4", "--option", "per_character=4", "--option", "size=32"]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> str:
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def test_from_pictures_to_a_search_by_codes(call: Callable[..., str]):
    """Every step by the command line, as the guide has it, with codes that fill no whole byte."""
    words = [*SMALL, "bits=13", "train.epochs=2", "train.precision=float32", "sampler.batch_size=16"]
    call("train", "hyp2/glyphs", *words, "--out", "run")
    run = Run.open("run")
    measured = load_evaluation(run.evaluation("best"))["mean"]["ap@500/hits"]
    said = call("evaluate", "run", "--json", "report.json")
    assert f"{100 * measured:.1f}" in said
    assert json.loads(Path("report.json").read_text())["mean"]["ap@500/hits"] == pytest.approx(measured)

    call("datasets", "write", "glyphs:test", "signs", *GLYPHS)
    said = call("embed", "run", "glyphs:test", *GLYPHS, "-o", "store", "--codes")
    store = EmbeddingStore.open("store")
    assert f"{len(store)} codes of 13 bits, 2 bytes each, in store" in said
    np.testing.assert_array_equal(store.codes, np.packbits(store.vectors > 0, axis=1))
    report = evaluate(
        store.vectors, relevance=Relevance.tags(store.labels.values), metrics=["ap@500/hits"], similarity="hamming"
    )
    assert report.mean["ap@500/hits"] == pytest.approx(measured), "what is embedded is what was measured"

    picture = min(Path("signs").rglob("*.jpg"))
    query = Encoder.load("run/best").embed([picture]).numpy()
    far = ((query > 0) != (store.vectors > 0)).sum(1)
    order = np.argsort(far, kind="stable")[:5]
    for kind in ("binary", "binary_ivf", "binary_hnsw"):
        assert f"{kind} index of {len(store)} items" in call("index", "store", "--kind", kind, "-o", kind)
        hits = json.loads(call("search", kind, picture, "--model", "run/best", "-k", 5, "--json"))["hits"]
        assert [hit["score"] for hit in hits] == pytest.approx(1 - 2 * far[order] / 13, abs=1e-5)
        if kind == "binary":
            assert [hit["id"] for hit in hits] == [store.ids[place] for place in order]
            assert hits[0]["labels"] == store.labels.words(int(order[0]))

    # Tags are a list, and no tree from fine to coarse.
    hits = json.loads(call("search", "run", picture, "-k", 9, "--json"))["hits"]
    several = next(hit["labels"] for hit in hits if len(hit["labels"]) > 1)
    said = call("search", "run", picture, "-k", 9)
    assert ", ".join(several) in said
    assert " < " not in said

    call("codes", "store", "--baseline", "itq", "--bits", 8, "-o", "itq")
    call("evaluate", "itq", "--similarity", "hamming", "--metrics", "ap@500/hits")
