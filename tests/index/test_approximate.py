"""What the approximate kinds over vectors have in common: hnsw, ivf_flat and ivf_pq."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pertinent import EmbeddingStore, Index
from pertinent.errors import InputError, MissingDependencyError, StorageError
from pertinent.functional.neighbours import unit_rows
from pertinent.index import INDEXES

RNG = np.random.default_rng(0)
CENTRES = RNG.standard_normal((40, 12))


def learned(count: int) -> np.ndarray:
    spread = 0.7 * RNG.standard_normal((count, 12))
    return unit_rows((CENTRES[RNG.integers(0, 40, count)] + spread).astype(np.float32))


VECTORS, QUERIES = learned(3000), learned(30)
KINDS = ["hnsw", "ivf_flat", "ivf_pq"]
THOROUGH: dict[str, dict[str, Any]] = {
    "hnsw": {"search": 3000},
    "ivf_flat": {"cells": 9, "probes": 9},
    "ivf_pq": {"cells": 9, "probes": 9, "rerank": 3000},
}
EXACT = INDEXES.build("exact", vectors=VECTORS)


def build(kind: str, **options: Any) -> Any:
    return INDEXES.build(kind, vectors=VECTORS, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_most_of_the_nearest_are_found_with_their_cosines(kind: str):
    true, _ = EXACT.search(QUERIES, 10)
    scores, positions = build(kind).search(QUERIES, 10)
    assert (scores >= true[:, -1:] - 1e-6).mean() > 0.9
    np.testing.assert_allclose(scores, np.einsum("qd,qkd->qk", QUERIES, VECTORS[positions]), atol=1e-6)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert (scores.dtype, positions.dtype) == (np.float32, np.int64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [None, 0.5, 0.1])
def test_searched_thoroughly_it_is_exact(kind: str, share: float | None):
    allowed = None if share is None else np.random.default_rng(1).random(3000) < share
    index = build(kind, **THOROUGH[kind])
    scores, positions = index.search(QUERIES, 20, allowed)
    np.testing.assert_array_equal(positions, EXACT.search(QUERIES, 20, allowed)[1])
    np.testing.assert_allclose(scores, EXACT.search(QUERIES, 20, allowed)[0], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_filter_costs_no_recall(kind: str):
    allowed = np.random.default_rng(1).random(3000) < 0.2
    true, _ = EXACT.search(QUERIES, 10, allowed)
    scores, positions = build(kind).search(QUERIES, 10, allowed)
    assert allowed[positions].all()
    assert (scores >= true[:, -1:] - 1e-6).mean() > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_asked_for_comes_back(kind: str):
    index = build(kind, **({} if kind == "hnsw" else {"probes": 1}))
    scores, positions = index.search(QUERIES[:3], 5000)
    np.testing.assert_array_equal(np.sort(positions, axis=1), np.tile(np.arange(3000), (3, 1)))
    assert (np.diff(scores, axis=1) <= 0).all()
    few = np.zeros(3000, bool)
    few[[5, 2999]] = True
    assert np.sort(index.search(QUERIES[:2], 9, few)[1]).tolist() == [[5, 2999]] * 2
    assert index.search(QUERIES[:0], 5)[1].shape == (0, 5)
    assert index.search(QUERIES, 5, np.zeros(3000, bool))[1].shape == (30, 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 40, 300])
def test_small_collections_and_equal_vectors(kind: str, count: int):
    vectors = np.tile(unit_rows(np.ones((1, 4), np.float32)), (count, 1))
    if kind == "ivf_pq" and count < 256:
        with pytest.raises(InputError, match=f"learned from at least 256 vectors, got {count}; use kind exact"):
            INDEXES.build(kind, vectors=vectors)
        return
    scores, positions = INDEXES.build(kind, vectors=vectors).search(vectors[:1], 500)
    np.testing.assert_allclose(scores, np.ones((1, count)), rtol=1e-6)
    assert sorted(positions[0].tolist()) == list(range(count))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_every_time(kind: str):
    options = {"threads": 1} if kind == "hnsw" else {}
    first, again = (build(kind, **options).search(QUERIES, 9)[1] for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_opened_it_answers_alike(kind: str, tmp_path: Path):
    store = EmbeddingStore.write(tmp_path / "store", VECTORS, [f"i{i}" for i in range(3000)])
    index = Index.build(store, kind)
    index.save(tmp_path / "index")
    Index.verify(tmp_path / "index")
    opened = Index.open(tmp_path / "index")
    assert opened.structure.state() == index.structure.state()
    assert opened.structure.nbytes == index.structure.nbytes > 3000
    ours, theirs = index.search(QUERIES), opened.search(QUERIES)
    assert ours.ids == theirs.ids
    np.testing.assert_array_equal(ours.scores, theirs.scores)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_not_its_own(kind: str, tmp_path: Path):
    index, small = build(kind), tmp_path / "small"
    small.mkdir()
    INDEXES.build(kind, vectors=VECTORS[:300]).save(small)
    index.save(tmp_path)
    (small / "index.faiss").replace(tmp_path / "index.faiss")
    said = r"index\.faiss is damaged: it holds 300 vectors of 12 numbers, not 3000 of 12; build the index again"
    with pytest.raises(StorageError, match=said):
        type(index).open(tmp_path, VECTORS, **index.state())
    (tmp_path / "index.faiss").write_bytes(b"nothing of the kind")
    with pytest.raises(StorageError, match=r"index\.faiss is damaged, faiss cannot read it; build the index again"):
        type(index).open(tmp_path, VECTORS, **index.state())


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_library(kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingDependencyError, match="pip install faiss-cpu"):
        build(kind)


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("hnsw", {"links": 1}, "links must be a whole number of at least 2, got 1"),
        ("hnsw", {"build": 0}, "build must be a whole number of at least 1, got 0"),
        ("hnsw", {"search": "many"}, "search must be a whole number of at least 1, got 'many'"),
        ("hnsw", {"threads": 0}, "threads must be a whole number of at least 1, got 0"),
        ("ivf_flat", {"cells": 3001}, "cells must be at most the number of vectors, 3000, got 3001"),
        ("ivf_flat", {"cells": 0}, "cells must be a whole number of at least 1, got 0"),
        ("ivf_flat", {"probes": 0}, "probes must be a whole number of at least 1, got 0"),
        ("ivf_pq", {"bytes": 5}, "bytes must divide the 12 numbers of a vector: 1, 2, 3, 4, 6, 12; got 5"),
        ("ivf_pq", {"bytes": 0}, "bytes must be a whole number of at least 1, got 0"),
        ("ivf_pq", {"rerank": 0}, "rerank must be a whole number of at least 1, got 0"),
    ],
)
def test_options_out_of_range(kind: str, options: dict[str, Any], said: str):
    with pytest.raises(InputError, match=said):
        build(kind, **options)


BESIDE_TORCH_UTILS = """
import subprocess
import sys
import faiss.contrib.torch_utils
import numpy as np
from pertinent.index import INDEXES

for kind in ("hnsw", "ivf_flat", "ivf_pq", "binary_hnsw", "binary_ivf"):
    vectors = np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores, positions = INDEXES.build(kind, vectors=vectors).search(vectors[:5], 1)
    assert positions.ravel().tolist() == [0, 1, 2, 3, 4], (kind, positions)
"""


def test_beside_what_replaces_the_methods_of_faiss():
    """pytorch-metric-learning imports faiss.contrib.torch_utils, for the whole process."""
    done = subprocess.run([sys.executable, "-c", BESIDE_TORCH_UTILS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
