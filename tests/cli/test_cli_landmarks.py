"""An encoder measured on landmarks from the command line, with the options of Deep Image Retrieval."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pertinent import EmbeddingStore, Pipeline
from pertinent.data.datasets import DATASETS
from pertinent.data.datasets._parts import write_example_picture
from pertinent.data.ground_truth import read_ground_truth
from pertinent.data.table import ImageTable
from pertinent.engine.evaluate import evaluate
from pertinent.engine.fitting import fitted_pipeline
from pertinent.engine.run import Run
from pertinent.functional.whitening import Whitening
from pertinent.models.encoder import Encoder
from pertinent.models.whitening import WhiteningLayer
from pertinent.relevance import Relevance

METRIC = "ap_trapezoid"


@pytest.fixture
def landmarks(tmp_path: Path) -> ImageTable:
    DATASETS.get("roxford5k").example(tmp_path / "rox")
    table: ImageTable = DATASETS.build("roxford5k", root=tmp_path / "rox").split("test")
    return table


@pytest.fixture
def words(finished_run: Run, landmarks: ImageTable) -> list[Any]:
    assert landmarks.probes
    return ["evaluate", finished_run.folder, "--data", "roxford5k:test", "--root", "rox"]


def read(name: str) -> Any:
    return json.loads(Path(name).read_text())


def vectors(run: Run, table: ImageTable) -> np.ndarray[Any, Any]:
    return Encoder.load(run.encoder("best")).embed([table.read(row) for row in range(len(table))]).numpy()


def by_hand(x: np.ndarray[Any, Any], table: ImageTable, protocol: str, pipeline: Pipeline | None = None) -> float:
    items = len(table) - table.probes
    records = [{"easy": j.easy, "hard": j.hard, "junk": j.junk} for j in table.judgements]
    relevance = Relevance.judged(records, protocol, n_items=items)
    return evaluate(x[items:], x[:items], relevance=relevance, metrics=[METRIC], pipeline=pipeline).mean[METRIC]


def test_any_data_set_is_measured_in_one_command(call: Any, finished_run: Run, landmarks: ImageTable, words: list[Any]):
    said = call(*words, "--json", "e.json", "--detailed").stdout
    assert f"{len(landmarks.boxes)} pictures were cut to their boxes" in said
    x, found = vectors(finished_run, landmarks), read("e.json")
    for protocol in ("easy", "medium", "hard"):
        value = found[protocol]["mean"][METRIC]
        assert value == pytest.approx(by_hand(x, landmarks, protocol), nan_ok=True)
        assert len(found[protocol]["per_query"][METRIC]) == landmarks.probes


def test_embeddings_are_kept_and_taken_again(
    call: Any, finished_run: Run, landmarks: ImageTable, words: list[Any], tmp_path: Path
):
    call(*words, "--save-feats", "f", "--json", "a.json")
    assert "per_query" not in read("a.json")["medium"]
    items = len(landmarks) - landmarks.probes
    assert np.load("f/feats.bdescs.npy").shape == (items, 8)
    assert len(Path("f/feats.qdescs.ids.txt").read_text().splitlines()) == landmarks.probes
    for path in Path("rox").rglob("*.jpg"):
        path.unlink()
    table_words = [*words, "--load-feats"]
    (tmp_path / "dirtorch").mkdir()
    Path("f/feats.bdescs.npy").rename("dirtorch/feats.bdescs.npy")
    Path("f/feats.qdescs.npy").rename("dirtorch/feats.qdescs.npy")
    DATASETS.get("roxford5k").example(tmp_path / "rox")
    call(*table_words, "f", "--json", "b.json")
    call(*table_words, "dirtorch", "--json", "c.json")
    assert read("a.json") == read("b.json") == read("c.json")
    np.save("dirtorch/feats.qdescs.npy", np.zeros((1, 3), np.float32))
    assert "expected (" in call(*table_words, "dirtorch", status=1).stderr
    Path("dirtorch/feats.qdescs.npy").unlink()
    assert "dirtorch holds no feats.qdescs.npy, nor a store" in call(*table_words, "dirtorch", status=1).stderr
    said = call(
        "evaluate", finished_run.folder, "-d", "roxford5k:gallery", "--root", "rox", "--load-feats", "f", status=1
    )
    assert "holds embeddings of other pictures than --data names" in said.stderr


@pytest.fixture
def whitened(finished_run: Run, tmp_path: Path) -> Encoder:
    """The run's encoder with a whitening inside, in the folder `white`."""
    plain, rng = Encoder.load(finished_run.encoder("best")), np.random.default_rng(4)
    layer = WhiteningLayer.of(Whitening(rng.normal(size=8) / 9, rng.normal(size=(8, 8))))
    encoder = Encoder(plain.config, plain.preprocess, whitening=layer).eval()
    encoder.load_state_dict({**plain.state_dict(), **{f"whitening.{key}": x for key, x in layer.state_dict().items()}})
    encoder.save(tmp_path / "white")
    return encoder


def test_features_are_kept_before_the_whitening(
    call: Any, finished_run: Run, landmarks: ImageTable, words: list[Any], whitened: Encoder
):
    white = ["evaluate", "white", *words[2:]]
    call(*white, "--json", "a.json")
    call(*white, "--save-feats", "f", "--json", "b.json")
    raw = vectors(finished_run, landmarks)
    items = len(landmarks) - landmarks.probes
    np.testing.assert_allclose(np.load("f/feats.bdescs.npy"), raw[:items], atol=1e-6)
    np.testing.assert_allclose(np.load("f/feats.qdescs.npy"), raw[items:], atol=1e-6)
    assert "embeddings of f, and the whitening of the encoder after them" in call(
        *white, "--load-feats", "f", "--json", "c.json", "--out", "out"
    ).stdout.replace("\n", " ")
    assert read("out/report.json")["encoder"] == whitened.fingerprint()
    Path("f/store").rename("store")
    call(*white, "--load-feats", "f", "--json", "d.json")
    call(*words, "--load-feats", "f", "--json", "plain.json")
    call(*words, "--json", "own.json")
    assert read("a.json") == read("b.json") == read("c.json") == read("d.json")
    assert read("plain.json") == read("own.json") != read("a.json")


def test_features_of_another_encoder_are_refused(call: Any, words: list[Any], whitened: Encoder, tmp_path: Path):
    call(*words, "--save-feats", "f")
    call("evaluate", "white", *words[2:], "--load-feats", "f")
    with torch.no_grad():
        whitened.head.linear.bias += 1  # type: ignore[operator, union-attr]
    whitened.save(tmp_path / "other")
    said = call("evaluate", "other", *words[2:], "--load-feats", "f", status=1).stderr
    assert "f holds embeddings of another encoder; embed again with this one" in said


def test_whole_pictures_are_no_queries_of_a_ground_truth_with_boxes(
    call: Any, finished_run: Run, landmarks: ImageTable, words: list[Any], tmp_path: Path
):
    truth = ["--truth", "rox/gnd_roxford5k.pkl"]
    call("embed", finished_run.folder, "rox/jpg", "-o", "whole")
    said = call("evaluate", "whole", *truth, status=1).stderr
    boxes = len(landmarks.boxes)
    assert f"cuts {boxes} queries to their boxes, whole was embedded with 0 pictures cut" in said
    assert "JSON without bbx" in said
    call("embed", finished_run.folder, "roxford5k:test", "--root", "rox", "-o", "cut")
    said = call("evaluate", "cut", *truth, "--json", "a.json").stdout
    assert f"{boxes} pictures were cut to their boxes" in said
    call(*words, "--json", "b.json")
    assert read("a.json")["medium"]["cropped"] == read("b.json")["medium"]["cropped"] == boxes
    # Vectors from elsewhere may be of queries that were cut.
    whole = EmbeddingStore.open("whole")
    EmbeddingStore.write(tmp_path / "arrays", whole.vectors, whole.ids)
    said = call("evaluate", "arrays", *truth, "--json", "c.json", "-o", "out").stdout
    assert "note: nobody knows whether the queries were cut to their boxes" in said
    assert read("c.json")["medium"]["cropped"] is None
    assert read("out/report.json")["cropped"] is None
    content = read_ground_truth("rox/gnd_roxford5k.pkl")
    replace(content, boxes=()).save(Path("cut-before.json"))
    call("evaluate", "whole", "--truth", "cut-before.json", "--json", "d.json")
    assert "cropped" not in read("d.json")["medium"]


def test_distractors_of_another_encoder_or_other_views_are_refused(call: Any, words: list[Any], whitened: Encoder):
    del whitened
    call("embed", "white", "rox/jpg", "-o", "far")
    call("embed", words[1], "rox/jpg", "-o", "scaled", "--scales", "0.5")
    said = call(*words, "--distractors", "far", status=1).stderr
    assert "vectors of far were made by another encoder" in said
    said = call(*words, "--distractors", "scaled", status=1).stderr
    assert "looked at pictures once, scaled as {" in said
    call("evaluate", words[1], *words[2:], "--scales", "0.5", "--distractors", "scaled")


def test_the_options_of_the_original(
    call: Any, finished_run: Run, landmarks: ImageTable, words: list[Any], tmp_path: Path
):
    for number in range(9):
        write_example_picture(tmp_path / "others" / f"{number}.png", 50 + number)
    call("embed", finished_run.folder, "others", "-o", "others-store")
    short = ["--whiten", "others-store", "--whitenp", "0.5", "--whitenv", 4, "--aqe", 2, 3, "--adba", 1, 0.5]
    said = call(*words, *short, "--json", "e.json").stdout
    text = "pca_whiten(p=0.5, dims=4), dba(k=1, alpha=0.5), alpha_qe(k=2, alpha=3.0)"
    assert f"cosine after {text}" in said
    pipeline = fitted_pipeline(text, EmbeddingStore.open("others-store"))
    x = vectors(finished_run, landmarks)
    want = by_hand(x, landmarks, "medium", pipeline)
    assert read("e.json")["medium"]["mean"][METRIC] == pytest.approx(want, nan_ok=True)


def test_several_transforms(call: Any, finished_run: Run, landmarks: ImageTable, words: list[Any]):
    call(*words, "--trfs", "Scale(24)", "--trfs", "CenterCrop(20)", "--gemp", 2, "--save-feats", "f", "-o", "out")
    views = EmbeddingStore.open("f/store").manifest["views"]
    assert views == {"transforms": ["Scale(24)", "CenterCrop(20)"], "scales": [1.0], "merge": "gem", "p": 2.0}
    facts = read("out/report.json")
    assert (facts["views"], facts["cropped"], facts["data"]) == (views, len(landmarks.boxes), "roxford5k:test")


def test_distractors_join_the_gallery(
    call: Any, finished_run: Run, landmarks: ImageTable, words: list[Any], tmp_path: Path
):
    x, items = vectors(finished_run, landmarks), len(landmarks) - landmarks.probes
    # Copies of the queries are found before all that is relevant.
    EmbeddingStore.write(tmp_path / "far", x[items:], [f"far/{n}" for n in range(landmarks.probes)])
    call(*words, "--distractors", "far", "--json", "e.json")
    records = [{"easy": j.easy, "hard": j.hard, "junk": j.junk} for j in landmarks.judgements]
    relevance = Relevance.judged(records, "easy", n_items=len(landmarks))
    want = evaluate(x[items:], x, relevance=relevance, metrics=[METRIC]).mean[METRIC]
    assert read("e.json")["easy"]["mean"][METRIC] == pytest.approx(want, nan_ok=True)
    assert want < by_hand(x, landmarks, "easy")
    EmbeddingStore.write(tmp_path / "thin", x[:, :3], [str(n) for n in range(len(x))])
    assert "holds vectors of 3 numbers, not of 8" in call(*words, "--distractors", "thin", status=1).stderr
    said = call("evaluate", finished_run.folder, "--distractors", "far", status=1).stderr
    assert "distractors belong to judged queries" in said


def test_a_folder_with_classes(call: Any, finished_run: Run, pictures: Path):
    call("evaluate", finished_run.folder, "--data", pictures / "test", "--metrics", "ap.0", "--json", "a.json")
    call("evaluate", finished_run.folder, "--metrics", "ap.0", "--json", "b.json")
    assert read("a.json")["mean"] == pytest.approx(read("b.json")["mean"], abs=1e-6)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--whitenp", 1], "--whitenp and --whitenv are about --whiten"),
        (["--aqe", 2, 3, "--stages", "dba"], "--aqe is short for --stages and --fit"),
        (["--detailed"], "--detailed is about the file of --json"),
        (["--load-feats", "f", "--save-feats", "g"], "leave --save-feats and --transform out"),
        (["--load-feats", "f", "--batch-size", "4"], "--load-feats embeds nothing; leave --batch-size out"),
        (["--precision", "fp8"], "--precision must be float32, bf16 or auto"),
        (["--option", "trooth=x"], "trooth"),
    ],
)
def test_what_does_not_fit(call: Any, words: list[Any], more: list[Any], said: str):
    assert said in call(*words, *more, status=1).stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--trfs", "Scale(9)"], "--transform is about pictures to embed; name them with --data"),
        (["--save-feats", "f"], "--save-feats is about pictures to embed"),
        (["--batch-size", 3], "--batch-size is about pictures to embed"),
        (["--root", "x"], "--root, --option and --items are about pictures to embed"),
    ],
)
def test_what_is_about_pictures_to_embed(call: Any, finished_run: Run, more: list[Any], said: str):
    assert said in call("evaluate", finished_run.folder, *more, status=1).stderr


def test_queries_search_in_a_split_of_their_own(call: Any, finished_run: Run, tmp_path: Path):
    DATASETS.get("inshop").example(tmp_path / "shop")
    words = ["inshop:query", "--root", "shop", "--items", "inshop:gallery"]
    call("evaluate", finished_run.folder, "--data", *words, "--protocol", "hist/inshop", "--json", "a.json")
    for split in ("query", "gallery"):
        call("embed", finished_run.folder, f"inshop:{split}", "--root", "shop", "-o", split)
    call("evaluate", "query", "--gallery", "gallery", "--protocol", "hist/inshop", "--json", "b.json")
    assert read("a.json")["mean"] == pytest.approx(read("b.json")["mean"], nan_ok=True)
    call("embed", finished_run.folder, *words, "-o", "both")
    store = EmbeddingStore.open("both")
    assert store.labels.probes == len(EmbeddingStore.open("query"))
