"""`pertinent index`: kinds, tuning, metadata and compacting on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pertinent import EmbeddingStore, Index
from pertinent.engine import indexing, tuning
from pertinent.functional.neighbours import unit_rows
from pertinent.index import Where

VECTORS = unit_rows(np.random.default_rng(0).standard_normal((400, 16)).astype(np.float32))


@pytest.fixture
def store(call: Any) -> EmbeddingStore:
    """In the folder where commands run."""
    return EmbeddingStore.write("s", VECTORS, [f"i{number}" for number in range(400)])


def test_auto_says_why(call: Any, store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch):
    said = call("index", "s", "--kind", "auto").stdout
    assert "auto takes exact: 400 vectors of 16 numbers are compared one by one" in said
    assert "exact index of 400 items in s-index" in said
    pytest.importorskip("faiss")
    monkeypatch.setattr(indexing, "NUMBERS", 100)
    said = call("index", "s", "--kind", "auto", "--stages", "pca_whiten(dims=4)").stdout
    assert "auto takes hnsw: 400 vectors of 4 numbers are too many" in said
    assert Index.open("s-index").kind == "hnsw"


def test_tuned_for_a_recall(call: Any, store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("faiss")
    said = call("index", "s", "--kind", "ivf_flat", "--recall", ".9").stdout
    measured = Index.open("s-index").measured
    assert measured is not None
    probes = measured["effort"]["probes"]
    assert f"recall@10 {measured['recall']:.4f} with probes={probes}, of 40 held-out items" in said
    assert "ms a query on one thread" in said
    assert "MB of vectors that are read from disk" in said
    monkeypatch.setattr(tuning, "MOST", 1)
    said = call("index", "s", "--kind", "ivf_flat", "--recall", "1").stdout
    assert "; 1 was wished and cannot be reached, this is the best" in said
    monkeypatch.setattr(indexing, "NUMBERS", 100)
    monkeypatch.setattr(tuning, "K", 399)  # more than the narrowest walk finds
    said = call("index", "s", "--kind", "auto", "--recall", "1").stdout
    assert "auto takes hnsw" in said


def test_auto_falls_back_to_exact(call: Any, store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr(indexing, "NUMBERS", 100)
    monkeypatch.setattr(indexing, "SHARE", 0.0)
    monkeypatch.setattr(tuning, "MOST", 1)
    said = call("index", "s", "--kind", "auto", "--recall", "1").stdout
    assert "auto takes ivf_pq: a graph of 400 vectors" in said
    assert "at best, less than 1: taking exact" in said
    assert "exact index of 400 items in s-index" in said
    assert "recall@10 1.0000, of 40 held-out items" in said
    assert Index.open("s-index").kind == "exact"


def test_metadata_are_attached(call: Any, store: EmbeddingStore):
    Path("m.csv").write_text("id,year\ni3,2020\ni5,2021\n", encoding="utf-8")
    call("index", "s", "--metadata", "m.csv")
    index = Index.open("s-index")
    assert np.flatnonzero(index.allowed(Where(metadata={"year": 2020}))).tolist() == [3]
    Path("m.jsonl").write_text(json.dumps({"id": "i3y", "a": 1}), encoding="utf-8")
    said = call("index", "s", "-o", "other", "--metadata", "m.jsonl", status=1).stderr
    assert "unknown id 'i3y'; did you mean 'i3" in said
    assert not Path("other").exists()


def test_changes_are_not_lost_to_a_new_build(call: Any, store: EmbeddingStore):
    call("index", "s")
    index = Index.open("s-index")
    index.put(["new"], VECTORS[:1])
    index.close()
    said = call("index", "s", status=1).stderr
    assert "holds items that were put or deleted since it was first built" in said
    assert (
        "with them: pertinent index s-index --compact, and for another kind then: pertinent index s-index/store" in said
    )
    assert "exact index of 401 items in s-index" in call("index", "s-index", "--compact").stdout
    assert call("index", "s", status=1).stderr == said, "it is not in the store still"
    assert (
        "binary index of 401 items in other" in call("index", "s-index/store", "-o", "other", "--kind", "binary").stdout
    )
    opened = Index.open("s-index")
    assert (opened.changed, opened.position("new")) == (False, 400)
    said = call("index", "s-index", "--compact", "--kind", "hnsw", status=1).stderr
    assert "--compact builds an index again as it was" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--recall", "1.5"], "recall must be above 0 and at most 1, got 1.5"),
        (["--kind", "hnsw", "--option", "threads=x"], "threads: Input should be a valid integer"),
        (["--kind", "hnsw", "--option", "serch=9"], "serch: unknown option; did you mean 'search'"),
        (["--kind", "ivf_pq", "--option", "bytes=5"], "bytes must divide the 16 numbers"),
        (["--kind", "exact", "--option", "device=gpu"], "device must be one of auto, cpu, cuda"),
        (["--kind", "autto"], "unknown index kind 'autto'"),
        (["--metadata", "m.txt"], "ends in .csv or .jsonl"),
    ],
)
def test_what_cannot_be_built(call: Any, store: EmbeddingStore, words: list[str], said: str):
    pytest.importorskip("faiss")
    assert said in call("index", "s", *words, status=1).stderr
    assert not Path("s-index").exists()


def test_kinds_are_listed(call: Any):
    said = call("list", "indexes").stdout
    for kind in ("exact", "hnsw", "ivf_flat", "ivf_pq", "binary"):
        assert kind in said
