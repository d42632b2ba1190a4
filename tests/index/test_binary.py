"""Exact search by signs: alone, in an index, saved and opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pertinent import EmbeddingStore, Index
from pertinent.engine.fitting import fitted_pipeline
from pertinent.errors import InputError, StorageError
from pertinent.index import INDEXES
from pertinent.index._saved import read_facts, write_facts
from pertinent.store import StoreLabels

RNG = np.random.default_rng(0)
VECTORS = RNG.standard_normal((80, 13)).astype(np.float32)
QUERIES = RNG.standard_normal((7, 13)).astype(np.float32)
DISTANCES = ((QUERIES > 0)[:, None] != (VECTORS > 0)[None]).sum(2)
ORDER = np.argsort(DISTANCES, axis=1, kind="stable")
KINDS = ["binary", "binary_hnsw", "binary_ivf"]


def binary(**options: Any) -> Any:
    return INDEXES.build("binary", vectors=VECTORS, **options)


def cosines(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
    queries, items = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, items))
    return queries @ items.T


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return EmbeddingStore.write(tmp_path / "store", VECTORS, [f"i{i}" for i in range(80)])


def test_scores_are_the_cosines_of_the_signs():
    scores, positions = binary().search(QUERIES, 20)
    np.testing.assert_array_equal(positions, ORDER[:, :20])
    want = np.take_along_axis(cosines(np.where(QUERIES > 0, 1, -1), np.where(VECTORS > 0, 1, -1)), positions, axis=1)
    np.testing.assert_allclose(scores, want, atol=1e-6)
    assert (scores.dtype, positions.dtype) == (np.float32, np.int64)
    assert binary().search(QUERIES, 999)[1].shape == (7, 80)
    assert binary().search(QUERIES[:0], 5)[1].shape == (0, 5)


def test_zero_counts_as_minus_one():
    index = INDEXES.build("binary", vectors=np.array([[0, 1], [-1, 1], [1, 1]], np.float32))
    scores, positions = index.search(np.array([[0, 3]], np.float32), 3)
    assert (positions.tolist(), scores.tolist()) == ([[0, 1, 2]], [[1, 1, 0]])


def test_all_ties_and_radius():
    found = binary().search_all_ties(QUERIES, 5)
    near = binary().radius(QUERIES, 4)
    for row in range(7):
        last = DISTANCES[row, ORDER[row, 4]]
        for hits, limit in ((found, last), (near, 4)):
            part = slice(hits.offsets[row], hits.offsets[row + 1])
            want = [place for place in ORDER[row] if DISTANCES[row, place] <= limit]
            assert hits.positions[part].tolist() == want
            assert hits.distances[part].tolist() == DISTANCES[row, want].tolist()


@pytest.mark.parametrize("by_vectors", [False, True])
def test_the_first_are_ordered_by_the_real_query(by_vectors: bool):
    scores, positions = binary(rerank=30, rerank_vectors=by_vectors).search(QUERIES, 10)
    signs = np.where(VECTORS > 0, 1.0, -1.0)
    full = cosines(QUERIES, VECTORS if by_vectors else signs)
    for row in range(7):
        candidates = ORDER[row, :30]
        want = candidates[np.argsort(-full[row, candidates], kind="stable")][:10]
        assert positions[row].tolist() == want.tolist()
        np.testing.assert_allclose(scores[row], full[row, want], atol=1e-6)
    # As many as are returned, where these are more; never more than there are.
    more = binary(rerank=3, rerank_vectors=by_vectors).search(QUERIES, 40)[1]
    assert sorted(more[0].tolist()) == sorted(ORDER[0, :40].tolist())
    assert binary(rerank=500, rerank_vectors=by_vectors).search(QUERIES, 10)[1].shape == (7, 10)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rerank": -1}, "rerank must be a whole number of at least 0, got -1"),
        ({"rerank": 2.5}, r"rerank must be a whole number of at least 0, got 2\.5"),
        ({"rerank": True}, "rerank must be a whole number"),
        ({"rerank": 5, "rerank_vectors": "yes"}, "rerank_vectors must be true or false, got 'yes'"),
        ({"rerank_vectors": True}, "say how many, such as rerank=100"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_options_out_of_range(kind: str, options: dict[str, Any], said: str):
    with pytest.raises(InputError, match=said):
        INDEXES.build(kind, vectors=VECTORS, **options)


# --- in an index


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"rerank": 20}, {"rerank": 20, "rerank_vectors": True}])
def test_saved_and_opened_it_answers_alike(store: EmbeddingStore, tmp_path: Path, kind: str, options: dict[str, Any]):
    index = Index.build(store, kind, **options)
    index.save(tmp_path / "index")
    opened = Index.open(tmp_path / "index")
    assert opened.structure.state() == index.structure.state()
    assert isinstance(opened.structure.items.codes, np.memmap)
    ours, theirs = index.search(QUERIES), opened.search(QUERIES)
    assert ours.ids == theirs.ids
    np.testing.assert_array_equal(ours.scores, theirs.scores)
    Index.verify(tmp_path / "index")


def test_nothing_is_copied_where_signs_are_all_that_counts(store: EmbeddingStore):
    assert not store.unit
    assert Index.build(store, "binary").items is store.vectors
    assert Index.build(store, "exact").items is not store.vectors


@pytest.mark.parametrize("kind", KINDS)
def test_stages_go_before_the_signs(store: EmbeddingStore, tmp_path: Path, kind: str):
    pipeline = fitted_pipeline("pca_whiten(dims=9), alpha_qe(k=3)", store)
    index = Index.build(store, kind, pipeline=pipeline)
    assert index.structure.items.bits == 9
    index.save(tmp_path / "index")
    assert Index.open(tmp_path / "index").search(QUERIES).ids == index.search(QUERIES).ids


@pytest.mark.parametrize("kind", ["exact", *KINDS])
def test_queries_of_a_store_are_never_found(tmp_path: Path, kind: str):
    labels = StoreLabels(probes=30)
    store = EmbeddingStore.write(tmp_path / "store", VECTORS, [f"i{i}" for i in range(80)], labels=labels)
    for stages in ("", "pca_whiten(dims=9)"):
        Index.build(store, kind, pipeline=fitted_pipeline(stages, store)).save(tmp_path / "index")
        opened = Index.open(tmp_path / "index")
        assert len(opened) == 50
        assert sorted(opened.search(VECTORS[-1], k=80).positions[0].tolist()) == list(range(50))


def test_an_index_of_another_kind_takes_its_place(store: EmbeddingStore, tmp_path: Path):
    for kind in ("binary", "exact", "binary"):
        Index.build(store, kind).save(tmp_path / "index")
        assert Index.open(tmp_path / "index").kind == kind
        assert (tmp_path / "index" / "structure").is_dir() == (kind == "binary")


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_found(store: EmbeddingStore, tmp_path: Path, kind: str):
    folder = tmp_path / "index"
    for name in ["codes.npy", *(["index.faiss"] if kind != "binary" else [])]:
        Index.build(store, kind).save(folder)
        path = folder / "structure" / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 255]))
        with pytest.raises(StorageError, match=rf"{name} is damaged: its checksum is not the one written"):
            Index.verify(folder)
        path.write_bytes(whole[:-5])
        with pytest.raises(StorageError, match=rf"{name} is damaged: \d+ bytes were written, \d+ are there"):
            Index.open(folder)
        path.unlink()
        with pytest.raises(StorageError, match=rf"{name} is damaged: \d+ bytes were written, 0 are there"):
            Index.open(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rerank": "five"}, r"index\.json is damaged \(rerank must be a whole number"),
        ({"bogus": 5}, r"index\.json is damaged \(.*unexpected keyword argument"),
    ],
)
def test_a_damaged_state_is_found(store: EmbeddingStore, tmp_path: Path, changes: dict[str, Any], said: str):
    Index.build(store, "binary").save(tmp_path / "index")
    saved = read_facts(tmp_path / "index")
    write_facts(tmp_path / "index", {**saved, "state": saved["state"] | changes})
    with pytest.raises(StorageError, match=said):
        Index.open(tmp_path / "index")


@pytest.mark.parametrize("codes", [np.zeros((3, 2), np.uint8), np.zeros((80, 2), np.int8)])
def test_codes_of_another_collection(store: EmbeddingStore, tmp_path: Path, codes: np.ndarray):
    structure = Index.build(store, "binary").structure
    np.save(tmp_path / "codes.npy", codes)
    with pytest.raises(StorageError, match=r"codes\.npy is damaged: it holds u?int8 \(\d+, 2\); build the index again"):
        type(structure).open(tmp_path, VECTORS, **structure.state())
    (tmp_path / "codes.npy").write_bytes(b"no array")
    with pytest.raises(StorageError, match=r"codes\.npy is damaged .*; build the index again"):
        type(structure).open(tmp_path, VECTORS, **structure.state())
