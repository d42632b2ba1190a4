"""Post-processing from the command line: measured, indexed and searched with the same stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pertinent import EmbeddingStore, Index, Pipeline
from pertinent.engine.evaluate import evaluate
from pertinent.engine.fitting import fitted_pipeline
from pertinent.engine.measure import relevance_of
from pertinent.engine.run import Run

WORDS = "pca_whiten(dims=4), alpha_qe(k=2), k_reciprocal(top=5, k1=3)"


def test_index_with_stages_and_search(call: Any, finished_run: Run, pictures: Path):
    store = EmbeddingStore.open(finished_run.store("best"))
    said = call("index", store.folder, "-o", "i", "--stages", WORDS).stdout
    assert "exact index of 12 items in i" in said
    assert f"stages {Pipeline.parse(WORDS).words}" in said
    assert Index.open("i").pipeline.fingerprint == fitted_pipeline(WORDS, store).fingerprint
    picture = next(pictures.rglob("test/*/*/0.png"))
    said = call("search", "i", picture, "--model", finished_run.encoder("best"), "-k", 4, "--json").stdout
    hits = json.loads(said)["hits"]
    assert len(hits) == 4
    found = Index.open("i").search(store.vectors[[store.places.index(hits[0]["path"])]], k=1).scores
    assert found.shape == (1, 1)


def test_stages_learn_from_another_store(call: Any, finished_run: Run, pictures: Path):
    best, before = (EmbeddingStore.open(finished_run.store(name)) for name in ("best", "before"))
    call("embed", finished_run.folder, pictures / "train", "-o", "learn")
    call("index", best.folder, "-o", "i", "--stages", "lw_whiten(dims=3)", "--fit", "learn")
    learned = fitted_pipeline("lw_whiten(dims=3)", EmbeddingStore.open("learn")).fingerprint
    assert Index.open("i").pipeline.fingerprint == learned
    call("index", best.folder, "-o", "j", "--stages", "i")
    assert Index.open("j").pipeline.fingerprint == learned
    other = "error: vectors of learn were made by another encoder"
    assert other in call("index", before.folder, "-o", "k", "--stages", "dba", "--fit", "learn", status=1).stderr
    assert other in call("evaluate", before.folder, "--gallery", "learn", status=1).stderr
    assert other in call("evaluate", before.folder, "--whiten", "learn", status=1).stderr
    said = call("evaluate", before.folder, "--stages", "i", status=1).stderr
    assert "error: the stages of i were made by another encoder" in said
    assert not Path("k").exists()


def test_evaluate_with_stages(call: Any, finished_run: Run):
    store = EmbeddingStore.open(finished_run.store("best"))
    shown = call("evaluate", store.folder, "--metrics", "hap,r@1", "--stages", WORDS, "--json", "e.json").stdout
    assert f"cosine after {Pipeline.parse(WORDS).words}" in shown
    relevance = relevance_of(store.labels, len(store))
    pipeline = fitted_pipeline(WORDS, store)
    report = evaluate(store.vectors, relevance=relevance, metrics=["hap", "r@1"], pipeline=pipeline)
    assert json.loads(Path("e.json").read_text())["mean"] == dict(report.mean)
    call("evaluate", finished_run.folder, "--metrics", "hap", "--stages", "dba(k=2)")
    call("index", store.folder, "-o", "i", "--stages", WORDS)
    call("evaluate", store.folder, "--metrics", "hap,r@1", "--stages", "i", "--json", "f.json")
    assert Path("e.json").read_text() == Path("f.json").read_text()
    said = call("evaluate", store.folder, "--stages", "dba", "--similarity", "euclidean", status=1).stderr
    assert "compared by cosine, not by 'euclidean'" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--stages", "whiten"], "error: unknown stage 'whiten'; did you mean 'lw_whiten' or 'pca_whiten'"),
        (["--stages", "dba(3)"], "name every option, as in k=10"),
        (["--stages", "pca_whiten(dims=99)"], "dims must be 1 to 8"),
        (["--stages", "dba", "--fit", "STORE"], "is left to be learned"),
        (["--fit", "STORE"], "is what --stages learn from; name the stages"),
    ],
)
def test_stages_that_do_not_work(call: Any, finished_run: Run, words: list[str], said: str):
    store = str(finished_run.store("best"))
    words = [store if word == "STORE" else word for word in words]
    assert said in call("index", store, "-o", "i", *words, status=1).stderr
    assert not Path("i").exists()
