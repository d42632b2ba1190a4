from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pertinent import EmbeddingStore, Hits, Index, Relevance, evaluate
from pertinent.engine.ranking import Ranking, evaluate_ranking
from pertinent.errors import ConfigError, InputError, StorageError, UnknownNameError

VECTORS = np.array([[1, 0], [0, 1], [1, 0], [-1, 0], [0.6, 0.8]], np.float32)
IDS = list("abcde")


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return EmbeddingStore.write(tmp_path / "runs" / "store", VECTORS, IDS, encoder="f00d")


def test_search_gives_ids_scores_and_positions_best_first(store: EmbeddingStore):
    index = Index.build(store)
    hits = index.search(np.array([[1, 0], [0, 2]]), k=3)
    assert isinstance(hits, Hits)
    assert hits.ids == [["a", "c", "e"], ["b", "e", "a"]]
    assert hits.positions.tolist() == [[0, 2, 4], [1, 4, 0]]
    np.testing.assert_allclose(hits.scores, [[1, 1, 0.6], [1, 0.8, 0]], rtol=1e-6)
    assert (len(hits), len(index)) == (2, 5)


@pytest.mark.parametrize(
    "query",
    [
        np.array([1.0, 0.0]),
        np.array([[1, 0]]),
        torch.tensor([[1.0, 0.0]], requires_grad=True),
        torch.tensor([1, 0], dtype=torch.bfloat16),
    ],
)
def test_queries_of_any_kind(store: EmbeddingStore, query: Any):
    assert Index.build(store).search(query, k=2).ids == [["a", "c"]]


def test_k_beyond_the_collection_and_no_queries(store: EmbeddingStore):
    assert Index.build(store).search(np.array([1.0, 0]), k=99).ids == [["a", "c", "e", "b", "d"]]
    assert Index.build(store).search(np.zeros((0, 2)), k=3).ids == []


@pytest.mark.parametrize(
    ("query", "k", "said"),
    [
        (np.zeros((1, 3)), 1, r"queries have shape \(1, 3\), the index holds vectors of 2 numbers"),
        (np.zeros((1, 1, 2)), 1, r"queries have shape \(1, 1, 2\)"),
        (np.array([np.nan, 0]), 1, "a query vector is not finite"),
        (np.array([1e300, 0]), 1, "a query vector is not finite"),
        (torch.tensor([0, torch.inf]), 1, "a query vector is not finite"),
        (np.zeros(2), 0, "k must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_searched_for(store: EmbeddingStore, query: Any, k: int, said: str):
    with pytest.raises(InputError, match=said):
        Index.build(store).search(query, k=k)


def test_unknown_kinds_and_options(store: EmbeddingStore):
    with pytest.raises(UnknownNameError, match="unknown index kind 'exacct'; did you mean 'exact'"):
        Index.build(store, "exacct")
    with pytest.raises(ConfigError, match=r"exact\.probes: unknown option"):
        Index.build(store, "exact", probes=3)


def test_saved_and_opened_it_answers_alike(store: EmbeddingStore, tmp_path: Path):
    index = Index.build(store)
    index.save(tmp_path / "runs" / "index")
    opened = Index.open(str(tmp_path / "runs" / "index"))
    assert (opened.kind, opened.store.encoder) == ("exact", "f00d")
    queries = np.random.default_rng(0).standard_normal((4, 2))
    for ours, theirs in zip(index.search(queries).ids, opened.search(queries).ids, strict=True):
        assert ours == theirs


def test_store_and_index_move_together(store: EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path / "runs")
    Index.build(EmbeddingStore.open("store")).save("index")
    monkeypatch.chdir(tmp_path)
    shutil.move(tmp_path / "runs", tmp_path / "moved")
    assert len(Index.open(tmp_path / "moved" / "index")) == 5
    shutil.move(tmp_path / "moved" / "index", tmp_path / "index")
    with pytest.raises(StorageError, match="is no finished embedding store"):
        Index.open(tmp_path / "index")


def test_an_index_of_other_vectors_is_found_out(store: EmbeddingStore, tmp_path: Path):
    Index.build(store).save(tmp_path / "index")
    EmbeddingStore.write(store.folder, VECTORS[::-1], IDS)
    with pytest.raises(StorageError, match=r"was built on other vectors than .*; build it again"):
        Index.open(tmp_path / "index")


def test_no_index_is_there(store: EmbeddingStore):
    with pytest.raises(StorageError, match=r"holds no index .*; build one with: pertinent index STORE"):
        Index.open(store.folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 7}, "has index format 7, this version reads 2"),
        ({"kind": None}, "its checksum is not the one written; build the index again"),
        ({"checksum": None}, "its checksum is not the one written"),
        ({"first": -1}, "its checksum is not the one written"),
        ({"files": []}, "its checksum is not the one written"),
    ],
)
def test_damage_is_found(store: EmbeddingStore, tmp_path: Path, changes: dict[str, Any], said: str):
    Index.build(store).save(tmp_path / "index")
    path = tmp_path / "index" / "index.json"
    saved = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in saved.items() if value is not None}))
    with pytest.raises(StorageError, match=said):
        Index.open(tmp_path / "index")
    path.write_text("{")
    with pytest.raises(StorageError, match="damaged or not JSON"):
        Index.open(tmp_path / "index")


def test_an_index_is_not_written_over_its_store(store: EmbeddingStore):
    with pytest.raises(StorageError, match="not ours to replace"):
        Index.build(store).save(store.folder)
    EmbeddingStore.open(store.folder).verify()


def test_vectors_of_any_length_are_ranked_as_evaluation_ranks_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((60, 4)) * 10.0 ** rng.uniform(-3, 3, (60, 1))).astype(np.float32)
    vectors[7] = 0
    labels = rng.integers(0, 5, 60)
    store = EmbeddingStore.write(tmp_path / "long", vectors, [f"i{i}" for i in range(60)])
    assert not store.unit
    monkeypatch.setattr("pertinent.index._base.BLOCK", 7)
    hits = Index.build(store).search(vectors, k=60)
    assert np.abs(hits.scores).max() <= 1 + 1e-6
    others = [[place for place in row if place != query] for query, row in enumerate(hits.positions.tolist())]
    relevance = Relevance.classes(labels, labels, query_positions=np.arange(60))
    served = evaluate_ranking(Ranking(np.array(others), 60), relevance=relevance, metrics=["ap", "r@1", "ndcg"])
    evaluated = evaluate(vectors, relevance=Relevance.classes(labels), metrics=["ap", "r@1", "ndcg"])
    for name, values in evaluated.per_query.items():
        known = np.arange(60) != 7  # a vector without direction ties with everything
        np.testing.assert_allclose(served.per_query[name][known], values[known], err_msg=name)


def test_unit_vectors_are_searched_in_place(store: EmbeddingStore):
    assert store.unit
    assert Index.build(store).structure.vectors is store.vectors
    del store.manifest["unit"]  # as in a store of an earlier version
    again = Index.build(store)
    assert again.structure.vectors is not store.vectors
    assert again.search(VECTORS, k=5).ids == Index.build(EmbeddingStore.open(store.folder)).search(VECTORS, k=5).ids
