"""Approximate search by signs with faiss: lists and graphs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pertinent.errors import InputError, MissingDependencyError, StorageError
from pertinent.index import INDEXES
from pertinent.index.binary_ivf import default_lists

RNG = np.random.default_rng(0)
# Fifty clusters whose signs flip now and then.
CENTRES = np.where(RNG.random((50, 60)) < 0.5, -1, 1)


def learned(count: int) -> np.ndarray:
    signs = CENTRES[RNG.integers(0, 50, count)] * np.where(RNG.random((count, 60)) < 0.05, -1, 1)
    return (signs * RNG.uniform(0.1, 1, signs.shape)).astype(np.float32)


VECTORS, QUERIES = learned(4000), learned(40)
KINDS = ["binary_hnsw", "binary_ivf"]


def build(kind: str, **options: Any) -> Any:
    return INDEXES.build(kind, vectors=VECTORS, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_most_of_the_nearest_are_found(kind: str):
    exact, _ = build("binary").search(QUERIES, 20)
    scores, positions = build(kind).search(QUERIES, 20)
    # Of items at equal distances any will do.
    assert (scores >= exact[:, -1:]).mean() > 0.95
    signs = np.where(QUERIES > 0, 1, -1)
    dots = np.einsum("qd,qkd->qk", signs, np.where(VECTORS[positions] > 0, 1, -1))
    np.testing.assert_allclose(scores, dots / 60, atol=1e-6)
    assert all(len(set(row)) == 20 for row in positions.tolist())
    for score, place in zip(scores.tolist(), positions.tolist(), strict=True):
        assert list(zip(score, place, strict=True)) == sorted(
            zip(score, place, strict=True), key=lambda hit: (-hit[0], hit[1])
        )


@pytest.mark.parametrize("kind", KINDS)
def test_searched_thoroughly_it_is_exact(kind: str):
    options = {"binary_ivf": {"nlist": 7, "nprobe": 99}, "binary_hnsw": {"ef_search": 4000}}[kind]
    exact, _ = build("binary").search(QUERIES, 20)
    np.testing.assert_array_equal(build(kind, **options).search(QUERIES, 20)[0], exact)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_asked_for_comes_back(kind: str):
    index = build(kind, **({"nprobe": 1} if kind == "binary_ivf" else {}))
    _, positions = index.search(QUERIES, 5000)
    assert sorted(positions[0].tolist()) == list(range(4000))
    assert index.search(QUERIES[:0], 5)[1].shape == (0, 5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 40])
def test_small_collections_and_equal_codes(kind: str, count: int):
    index = INDEXES.build(kind, vectors=np.ones((count, 3), np.float32))
    scores, positions = index.search(np.ones((1, 3), np.float32), 50)
    assert (positions.tolist(), scores.tolist()) == ([list(range(count))], [[1.0] * count])


def test_the_same_lists_every_time():
    first, again = (build("binary_ivf", nprobe=1).search(QUERIES, 9)[1] for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_centres_by_the_size_of_the_collection():
    assert [default_lists(count) for count in (1, 100, 10_000, 1_000_000)] == [1, 2, 256, 4000]


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("binary_ivf", {"nlist": 0}, "nlist must be a whole number of at least 1, got 0"),
        ("binary_ivf", {"nlist": 4001}, "nlist must be at most the number of vectors, 4000, got 4001"),
        ("binary_ivf", {"nprobe": 0}, "nprobe must be a whole number of at least 1, got 0"),
        ("binary_hnsw", {"m": 1}, "m must be a whole number of at least 2, got 1"),
        ("binary_hnsw", {"ef_construction": 0}, "ef_construction must be a whole number of at least 1"),
        ("binary_hnsw", {"ef_search": "many"}, "ef_search must be a whole number of at least 1, got 'many'"),
    ],
)
def test_options_out_of_range(kind: str, options: dict[str, Any], said: str):
    with pytest.raises(InputError, match=said):
        build(kind, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_library(kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingDependencyError, match="pip install faiss-cpu"):
        build(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_not_its_own(kind: str, tmp_path: Path):
    index, small = build(kind), tmp_path / "small"
    small.mkdir()
    INDEXES.build(kind, vectors=VECTORS[:100]).save(small)
    index.save(tmp_path)
    (small / "index.faiss").replace(tmp_path / "index.faiss")
    with pytest.raises(
        StorageError, match=r"index\.faiss is damaged: it holds 100 codes of 4000; build the index again"
    ):
        type(index).open(tmp_path, VECTORS, **index.state())
    (tmp_path / "index.faiss").write_bytes(b"nothing of the kind")
    with pytest.raises(StorageError, match=r"index\.faiss is damaged, faiss cannot read it; build the index again"):
        type(index).open(tmp_path, VECTORS, **index.state())


def test_other_lists_than_stated(tmp_path: Path):
    index = build("binary_ivf")
    index.save(tmp_path)
    with pytest.raises(InputError, match="it states nlist 3, and there are 102 lists"):
        type(index).open(tmp_path, VECTORS, **index.state() | {"nlist": 3})
