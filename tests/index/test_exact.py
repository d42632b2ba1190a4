from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

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


def test_it_is_registered_and_needs_no_state():
    assert INDEXES.get("exact") is ExactIndex
    assert ExactIndex(np.eye(2, dtype=np.float32)).state() == {}
