"""Choosing a kind, and tuning its search for a recall."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pertinent import EmbeddingStore, Index
from pertinent.engine import tuning
from pertinent.engine.fitting import fitted_pipeline
from pertinent.engine.indexing import choose, dim_of, free_memory
from pertinent.engine.metadata import read_metadata
from pertinent.engine.tuning import structure_bytes, tune
from pertinent.errors import InputError, StorageError
from pertinent.functional.neighbours import unit_rows
from pertinent.store import StoreLabels

RNG = np.random.default_rng(0)
VECTORS = unit_rows(RNG.standard_normal((700, 24)).astype(np.float32))
GB = 10**9


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return EmbeddingStore.write(tmp_path / "store", VECTORS, [f"i{number}" for number in range(700)])


@pytest.mark.parametrize(
    ("count", "dim", "memory", "kind", "why"),
    [
        (1000, 256, 8 * GB, "exact", "1,000 vectors of 256 numbers are compared one by one in some milliseconds"),
        (500_000, 256, 8 * GB, "hnsw", "a graph of them fits into memory (1.2 GB to build it, 8.0 GB are free)"),
        (500_000, 256, GB, "ivf_pq", "would not fit into memory (1.2 GB to build it, 1.0 GB are free); short codes do"),
        (500_000, 16, GB, "exact", "are compared one by one"),
    ],
)
def test_a_kind_by_size_and_memory(count: int, dim: int, memory: int, kind: str, why: str):
    if kind not in ("exact",):
        pytest.importorskip("faiss")
    choice = choose(count, dim, memory)
    assert choice.kind == kind
    assert why in choice.why


def test_tuning_needs_memory_for_a_second_graph():
    pytest.importorskip("faiss")
    assert choose(500_000, 256, 3 * GB).kind == "hnsw"
    assert choose(500_000, 256, 3 * GB, tuned=True).kind == "ivf_pq"


def test_without_faiss_it_is_exact(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    choice = choose(500_000, 256, 8 * GB)
    assert choice.kind == "exact"
    assert "pip install faiss-cpu" in choice.why


def test_memory_and_numbers(store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch):
    assert free_memory() > 10**7
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "nothing")
    assert free_memory() > 10**7
    assert dim_of(store, None) == 24
    monkeypatch.undo()
    assert dim_of(store, fitted_pipeline("pca_whiten(dims=5), dba(k=2)", store)) == 5


@pytest.mark.parametrize(
    ("kind", "option"), [("hnsw", "search"), ("ivf_flat", "probes"), ("ivf_pq", "probes"), ("binary_ivf", "nprobe")]
)
def test_the_least_effort_that_reaches_the_recall(store: EmbeddingStore, kind: str, option: str, tmp_path: Path):
    pytest.importorskip("faiss")
    options: dict[str, Any] = {"hnsw": {"links": 4}, "binary_ivf": {"nlist": 20}}.get(kind, {})
    index = Index.build(store, kind, **options)
    threads = torch.get_num_threads()
    rough, fine = tune(index, 0.5), tune(index, 0.95)
    assert rough.effort[option] < fine.effort[option]
    assert rough.chosen_by >= 0.5
    assert fine.chosen_by >= 0.95
    assert fine.recall > rough.recall
    assert fine.reached
    assert (fine.queries, fine.held_out) == (70, "items")
    assert fine.cpu_ms_a_query > 0
    assert fine.ms_a_query > 0
    assert torch.get_num_threads() == threads
    assert (fine.vectors_bytes, fine.structure_bytes > 0) == (index.items.nbytes, True)
    index.save(tmp_path / "index")
    opened = Index.open(tmp_path / "index")
    assert opened.structure.state()[option] == opened.options[option] == fine.effort[option]
    assert opened.measured is not None
    assert opened.measured["recall"] == fine.recall


@pytest.mark.parametrize("memory", [10**12, 1])
def test_recall_is_that_of_a_literal_look(store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch, memory: int):
    """Of an index that is built without the items that are asked for, in memory or on disk."""
    pytest.importorskip("faiss")
    monkeypatch.setattr(tuning, "free_memory", lambda: memory)
    measured = tune(Index.build(store, "ivf_flat", cells=30), 0.8, seed=3)
    asked = np.sort(np.random.default_rng(3).permutation(700)[:70])
    rest = np.setdiff1d(np.arange(700), asked)
    other = Index.build(
        EmbeddingStore.write(store.folder.with_name("rest"), VECTORS[rest], [f"i{row}" for row in rest]),
        "ivf_flat",
        cells=30,
        probes=measured.effort["probes"],
    )
    found = other.search(VECTORS[asked], 10).positions
    true = np.argsort(-VECTORS[asked] @ VECTORS[rest].T, axis=1)[:, :10]
    shares = [len({*one} & {*two}) / 10 for one, two in zip(found.tolist(), true.tolist(), strict=True)]
    assert measured.recall == pytest.approx(np.mean(shares[1::2]), abs=1e-4)
    assert measured.chosen_by == pytest.approx(np.mean(shares[::2]), abs=1e-4)


def test_the_recall_holds_for_queries_from_elsewhere(tmp_path: Path):
    """A graph that holds the queries themselves finds nearly all of their neighbours with no effort."""
    pytest.importorskip("faiss")
    vectors = unit_rows(np.random.default_rng(5).standard_normal((5000, 24)).astype(np.float32))
    store = EmbeddingStore.write(tmp_path / "s", vectors[:4000], [f"i{row}" for row in range(4000)])
    index = Index.build(store, "hnsw", links=8)
    measured = tune(index, 0.8)
    true = np.sort(vectors[4000:] @ vectors[:4000].T, axis=1)[:, -10]
    found = index.search(vectors[4000:], 10).scores >= true[:, None] - 1e-6
    assert found.mean() == pytest.approx(measured.recall, abs=0.03)
    items = index.search(vectors[:1000], 10).scores >= np.sort(vectors[:1000] @ vectors[:4000].T)[:, -10:-9] - 1e-6
    assert items.mean() > measured.recall + 0.03


def test_too_few_items_to_hold_some_out(tmp_path: Path):
    pytest.importorskip("faiss")
    store = EmbeddingStore.write(tmp_path / "s", VECTORS[:260], [f"i{row}" for row in range(260)])
    with pytest.raises(InputError, match=r"an index without some of the items, and there are too few: .*--recall"):
        tune(Index.build(store, "ivf_pq"), 0.9)


def test_queries_of_the_store_are_asked_where_there_are_any(tmp_path: Path):
    labels = StoreLabels(probes=50)
    store = EmbeddingStore.write(tmp_path / "s", VECTORS * 2, [f"i{i}" for i in range(700)], labels=labels)
    for kind, stages in (("exact", ""), ("exact", "pca_whiten(dims=9), alpha_qe(k=3)"), ("binary", "")):
        measured = tune(Index.build(store, kind, pipeline=fitted_pipeline(stages, store)), 1)
        assert (measured.queries, measured.held_out, measured.recall, measured.effort) == (50, "queries", 1.0, {})


def test_a_recall_that_cannot_be_reached(store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr(tuning, "MOST", 2)
    index = Index.build(store, "ivf_flat", cells=30)
    measured = tune(index, 1)
    assert not measured.reached
    assert measured.effort == {"probes": 2}
    assert 0 < measured.recall < 1


@pytest.mark.parametrize("wished", [0, 1.01, -1, float("nan")])
def test_recalls_out_of_range(store: EmbeddingStore, wished: float):
    with pytest.raises(InputError, match="recall must be above 0 and at most 1"):
        tune(Index.build(store), wished)


def test_what_cannot_be_tuned(tmp_path: Path, store: EmbeddingStore):
    one = EmbeddingStore.write(tmp_path / "one", VECTORS[:1], ["a"])
    with pytest.raises(InputError, match="among at least 2 items, there are 1"):
        tune(Index.build(one), 0.9)
    index = Index.build(store)
    index._view.base.__dict__["structure"] = object()
    with pytest.raises(InputError, match="the kind exact has no option to tune"):
        tune(index, 0.9)
    assert structure_bytes(Index.build(store)) == 0


# --- metadata from a file


def test_metadata_of_csv(tmp_path: Path):
    text = "name,id,year,code,score,ok,mixed\nRose,a,2020,007,1.5,true,1\n\nAster,b,,12,2,FALSE,x\n,c,-3,,,,\n"
    (tmp_path / "m.CSV").write_text("\ufeff" + text, encoding="utf-8")
    assert read_metadata(tmp_path / "m.CSV") == {
        "a": {"name": "Rose", "year": 2020, "code": "007", "score": 1.5, "ok": True, "mixed": "1"},
        "b": {"name": "Aster", "code": "12", "score": 2.0, "ok": False, "mixed": "x"},
        "c": {"year": -3},
    }


def test_metadata_of_json_lines(tmp_path: Path):
    (tmp_path / "m.jsonl").write_text(
        '{"id": "a", "n": 1, "gone": null}\n\n{"ok": true, "id": "b"}\n', encoding="utf-8"
    )
    assert read_metadata(tmp_path / "m.jsonl") == {"a": {"n": 1}, "b": {"ok": True}}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("m.txt", "", r"ends in \.csv or \.jsonl, got"),
        ("m.csv", "", "needs a first line of names, one of them 'id'"),
        ("m.csv", "name\nx\n", "needs a first line of names, one of them 'id'"),
        ("m.csv", "id,a,a\nx,1,2\n", "names a column twice"),
        ("m.csv", "id,a\nx\n", ":2 has not the 2 cells"),
        ("m.csv", 'id,a\nx,"y\n', "is no CSV"),
        ("m.csv", "id,a\n,1\n", ":2 has no 'id', which must be text; got ''"),
        ("m.csv", "id,a\nx,1\nx,2\n", ":3 tells of 'x' for the second time"),
        ("m.jsonl", "{\n", ":1 is not JSON"),
        ("m.jsonl", "[1]\n", ":1 must be an object such as"),
        ("m.jsonl", '{"id": 3}\n', ":1 has no 'id', which must be text; got 3"),
        ("m.jsonl", '{"id": "a", "b": [1]}\n', "metadata 'b' must be text"),
        ("m.jsonl", '{"id": "a", "b": NaN}\n', "metadata 'b' must be text, a finite number"),
    ],
)
def test_what_is_no_metadata(tmp_path: Path, name: str, text: str, said: str):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_metadata(tmp_path / name)


def test_metadata_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(StorageError, match="No such file"):
        read_metadata(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_bytes(b"id,\xff\n")
    with pytest.raises(InputError, match="is not UTF-8"):
        read_metadata(tmp_path / "m.csv")
