"""k-reciprocal and diffusion scores (`functional/reranking.py`), against sets and walks one at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracles import post_processing as oracle
from pertinent.functional.reranking import diffusion_scores, k_reciprocal_scores


def case(seed: int, n: int, dim: int = 5):
    """A query and its candidates, nearest first."""
    rng = np.random.default_rng(seed)
    centre = rng.standard_normal(dim)
    query, items = centre + rng.standard_normal(dim), centre + rng.standard_normal((n, dim))
    return query, items[oracle.nearest(query, items, n)]


@pytest.mark.parametrize("n", [1, 2, 9, 25])
@pytest.mark.parametrize(("k1", "k2", "weight"), [(20, 6, 0.3), (4, 2, 0.3), (5, 1, 0.0), (1, 3, 1.0), (3, 99, 0.5)])
def test_k_reciprocal_agrees_with_sets(n, k1, k2, weight):
    query, items = case(n, n)
    found = k_reciprocal_scores(query, items, k1, k2, weight)
    np.testing.assert_allclose(1 - found, oracle.k_reciprocal(query, items, k1, k2, weight), atol=1e-9)
    assert ((found >= -1e-9) & (found <= 1 + 1e-9)).all()


def test_a_weight_of_one_keeps_the_order():
    query, items = case(0, 20)
    assert (np.diff(k_reciprocal_scores(query, items, weight=1.0)) <= 0).all()


def test_k_reciprocal_lifts_the_query_s_own_group():
    """An item between two groups is near the query, and has its neighbours elsewhere."""
    rng = np.random.default_rng(0)
    angle = np.concatenate([rng.normal(0.28, 0.01, 6), rng.normal(-0.42, 0.003, 8), [-0.24]])
    items = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    query = np.array([1.0, 0.0])
    order = oracle.nearest(query, items, 15)
    assert order[0] == 14
    scores = k_reciprocal_scores(query, items[order], k1=6, k2=3, weight=0.1)
    assert order[int(scores.argmax())] < 6


@pytest.mark.parametrize("n", [1, 2, 9, 20])
@pytest.mark.parametrize("k", [1, 4, 50])
@pytest.mark.parametrize("gamma", [1.0, 3.0])
def test_diffusion_agrees_with_a_walk(n, k, gamma):
    query, items = case(n, n)
    found = diffusion_scores(query, items, k=k, k_query=3, alpha=0.9, gamma=gamma)
    want = oracle.diffusion(query, items, k, 3, alpha=0.9, gamma=gamma, steps=300)
    np.testing.assert_allclose(found, want, atol=1e-10)
    assert (found >= 0).all()


def test_diffusion_follows_a_chain():
    """Items on an arc from the query come before one beside it that leads nowhere, however near that is."""
    arc = np.stack([np.cos(np.arange(1, 9) / 6), np.sin(np.arange(1, 9) / 6), np.zeros(8)], axis=1)
    aside = np.array([[np.cos(0.9), 0.0, np.sin(0.9)]])
    scores = diffusion_scores(np.array([1.0, 0, 0]), np.concatenate([arc, aside]), k=2, k_query=1, gamma=9.0)
    assert (scores[:8] > scores[8]).all()


@given(st.integers(0, 2**32 - 1))
def test_scores_belong_to_items_not_to_places(seed):
    query, items = case(seed, 12)
    mixed = np.random.default_rng(seed).permutation(12)
    options = {"k1": 4, "k2": 3}
    np.testing.assert_allclose(
        k_reciprocal_scores(query, items, **options)[mixed],
        k_reciprocal_scores(query, items[mixed], **options),
        atol=1e-9,
    )
    options = {"k": 4, "k_query": 3}
    np.testing.assert_allclose(
        diffusion_scores(query, items, **options)[mixed], diffusion_scores(query, items[mixed], **options), atol=1e-9
    )


@pytest.mark.parametrize("items", [np.zeros((4, 3)), np.ones((30, 3)), -np.ones((4, 3)), np.eye(3), np.ones((1, 3))])
@pytest.mark.parametrize("query", [np.zeros(3), np.ones(3)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_zeros_equals_and_opposites_are_finite(query, items, dtype):
    query, items = query.astype(dtype), items.astype(dtype)
    for scores in (k_reciprocal_scores(query, items), diffusion_scores(query, items)):
        assert scores.shape == (len(items),)
        assert np.isfinite(scores).all()
    if len({tuple(row) for row in items.tolist()}) == 1:
        np.testing.assert_allclose(
            diffusion_scores(query, items, k_query=99), diffusion_scores(query, items, k_query=99)[0]
        )
