"""Unit vectors and exact neighbours (`functional/neighbours.py`)."""

from __future__ import annotations

import numpy as np
import pytest

from oracles import post_processing as oracle
from pertinent.functional import neighbours
from pertinent.functional.neighbours import nearest, unit_rows

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("length", [1.0, 1e-30, 1e30])
def test_rows_of_any_length_get_length_one(length):
    x = RNG.standard_normal((5, 7)).astype(np.float32)
    np.testing.assert_allclose(unit_rows(x * np.float32(length)), [oracle.unit(row) for row in x], rtol=1e-6, atol=1e-7)


def test_types_and_zeros():
    assert unit_rows(np.ones((2, 4), np.float16)).dtype == np.float32
    assert unit_rows(np.ones((2, 4))).dtype == np.float64
    assert unit_rows(np.ones((2, 4), np.int64)).tolist() == [[0.5] * 4] * 2
    assert unit_rows(np.zeros((2, 4), np.float32)).tolist() == [[0.0] * 4] * 2
    assert unit_rows(np.zeros((0, 4), np.float32)).shape == (0, 4)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("k", [1, 4, 30, 99])
def test_neighbours_are_those_of_a_plain_sort(dtype, k, monkeypatch):
    monkeypatch.setattr(neighbours, "tile_rows", lambda *_: 7)
    monkeypatch.setattr(neighbours, "SCORE_BYTES", 200)
    queries, items = RNG.standard_normal((5, 6)).astype(dtype), RNG.standard_normal((30, 6)).astype(dtype)
    scores, places = nearest(queries, items, k)
    assert places.tolist() == [oracle.nearest(query, items, k) for query in queries]
    want = [[oracle.cosine(query, items[place]) for place in row] for query, row in zip(queries, places, strict=True)]
    np.testing.assert_allclose(scores, want, atol=2e-6)


def test_a_query_is_not_its_own_neighbour(monkeypatch):
    monkeypatch.setattr(neighbours, "tile_rows", lambda *_: 4)
    items = RNG.standard_normal((9, 3))
    for k in (3, 8, 50):
        _, places = nearest(items, items, k, own=np.arange(9))
        assert places.tolist() == [oracle.nearest(x, items, k, own) for own, x in enumerate(items)]
    _, places = nearest(items[:2], items, 3, own=np.array([-1, 1]))
    assert places[0, 0] == 0
    assert 1 not in places[1]


def test_equal_items_come_by_position():
    items = np.ones((20, 4), np.float32)
    _, places = nearest(items[:3], items, 5, own=np.array([-1, 1, 19]))
    assert places.tolist() == [[0, 1, 2, 3, 4], [0, 2, 3, 4, 5], [0, 1, 2, 3, 4]]


def test_nothing_to_find():
    x = np.ones((1, 3), np.float32)
    assert nearest(x, x, 5, own=np.array([0]))[1].shape == (1, 0)
    assert nearest(x, x, 0)[1].shape == (1, 0)
    assert nearest(x[:0], x, 2)[1].shape == (0, 1)
