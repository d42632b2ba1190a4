from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pertinent.errors import InputError
from pertinent.index import INDEXES, ExactIndex, exact

# Small whole numbers: products are exact, and ties abound.
whole = arrays(np.int64, st.tuples(st.integers(1, 30), st.just(3)), elements=st.integers(-1, 1))


def literal(vectors: np.ndarray, query: np.ndarray, k: int) -> list[int]:
    scores = [float(sum(a * b for a, b in zip(vector, query, strict=True))) for vector in vectors.tolist()]
    return sorted(range(len(vectors)), key=lambda place: (-scores[place], place))[:k]


@given(whole, st.integers(1, 35), st.integers(1, 9))
def test_the_nearest_come_first_and_ties_by_position(items: np.ndarray, k: int, block: int):
    vectors, queries = items.astype(np.float32), items[:4].astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "BLOCK", block)
        scores, places = ExactIndex(vectors).search(queries, k)
    assert places.tolist() == [literal(vectors, query, k) for query in queries.tolist()]
    np.testing.assert_array_equal(scores, np.take_along_axis(queries @ vectors.T, places, axis=1))
    assert (scores.dtype, places.dtype) == (np.float32, np.int64)


def test_real_numbers_in_blocks(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    vectors, queries = rng.standard_normal((300, 16), np.float32), rng.standard_normal((7, 16), np.float32)
    monkeypatch.setattr(exact, "BLOCK", 37)
    scores, places = ExactIndex(vectors).search(queries, 20)
    want = np.argsort(-(queries.astype(np.float64) @ vectors.T.astype(np.float64)), axis=1, kind="stable")[:, :20]
    np.testing.assert_array_equal(places, want)
    assert (np.diff(scores, axis=1) <= 0).all()


def test_no_queries_and_more_wanted_than_there_are():
    index = ExactIndex(np.eye(3, dtype=np.float32))
    scores, places = index.search(np.zeros((0, 3), np.float32), 2)
    assert scores.shape == places.shape == (0, 2)
    assert index.search(np.ones((1, 3), np.float32), 99)[1].tolist() == [[0, 1, 2]]


def test_it_is_registered_and_tells_its_options():
    assert INDEXES.get("exact") is ExactIndex
    assert ExactIndex(np.eye(2, dtype=np.float32)).state() == {"device": "auto"}


def test_only_what_is_allowed_is_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(exact, "BLOCK", 7)
    rng = np.random.default_rng(0)
    vectors, queries, allowed = rng.integers(-1, 2, (60, 3)).astype(np.float32), np.eye(3), rng.random(60) < 0.3
    allowed[14:28] = False  # two whole blocks
    rows = np.flatnonzero(allowed)
    for k in (1, 5, 60):
        _, places = ExactIndex(vectors).search(queries, k, allowed)
        want = [rows[literal(vectors[rows], query, k)].tolist() for query in queries.tolist()]
        assert places.tolist() == want
    assert ExactIndex(vectors).search(queries, 3, np.zeros(60, bool))[1].shape == (3, 0)


@pytest.mark.parametrize(
    ("device", "said"), [("gpu", "device must be one of auto, cpu, cuda; got 'gpu'"), ("cuda", "torch sees no GPU")]
)
def test_devices_that_are_not_there(device: str, said: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=said):
        ExactIndex(np.eye(2, dtype=np.float32), device=device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("held", [True, False])
def test_on_a_gpu_it_finds_the_same(held: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(exact, "BLOCK", 999)
    monkeypatch.setattr(exact, "SHARE", 0.5 if held else 0.0)
    rng = np.random.default_rng(0)
    vectors, queries = rng.standard_normal((5000, 64), np.float32), rng.standard_normal((20, 64), np.float32)
    allowed = rng.random(5000) < 0.5
    ours, theirs = (ExactIndex(vectors, device=device) for device in ("cuda", "cpu"))
    assert (ours._held is not None) == held
    for mask in (None, allowed):
        scores, places = ours.search(queries, 10, mask)
        np.testing.assert_allclose(scores, theirs.search(queries, 10, mask)[0], rtol=1e-5)
        assert (places == theirs.search(queries, 10, mask)[1]).mean() > 0.99


def test_vectors_are_read_in_place(tmp_path: Path):
    np.save(tmp_path / "v.npy", np.eye(4, dtype=np.float32))
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    assert exact.as_tensor(mapped).data_ptr() == mapped.ctypes.data
    assert exact.as_tensor(mapped[::2]).tolist() == mapped[::2].tolist()
