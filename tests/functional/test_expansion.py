"""Query expansion and database augmentation (`functional/expansion.py`), against literal sums."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracles import post_processing as oracle
from pertinent.errors import InputError
from pertinent.functional import expansion
from pertinent.functional.expansion import augment, expand
from pertinent.functional.neighbours import nearest

RNG = np.random.default_rng(0)
QUERIES, ITEMS = RNG.standard_normal((5, 6)), RNG.standard_normal((12, 6))


@pytest.mark.parametrize("alpha", [0, 0.5, 1, 2, 3])
@pytest.mark.parametrize("k", [1, 4, 99])
def test_expansion_is_a_weighted_sum(alpha, k, monkeypatch):
    monkeypatch.setattr(expansion, "NEIGHBOUR_BYTES", 8 * 6 * 9)
    _, positions = nearest(QUERIES, ITEMS, k)
    want = [oracle.expand(x, ITEMS, oracle.nearest(x, ITEMS, k), alpha) for x in QUERIES]
    np.testing.assert_allclose(expand(QUERIES, ITEMS, positions, alpha), want, atol=1e-12)


@pytest.mark.parametrize("k", [0, 1, 5, 99])
def test_augmentation_expands_every_item_by_the_others(k):
    want = [oracle.expand(x, ITEMS, oracle.nearest(x, ITEMS, k, own), 3) for own, x in enumerate(ITEMS)]
    np.testing.assert_allclose(augment(ITEMS, k), want, atol=1e-12)
    out = np.empty(ITEMS.shape, np.float32)
    assert augment(ITEMS, k, out=out) is out
    np.testing.assert_allclose(out, want, atol=1e-6)


def test_no_neighbours_leave_the_query_as_it_is():
    np.testing.assert_array_equal(expand(QUERIES, ITEMS, np.zeros((5, 0), np.int64)), QUERIES)
    one = np.full((1, 3), 7.0)
    np.testing.assert_array_equal(augment(one, 4), one)


def test_missing_neighbours_have_no_say():
    _, positions = nearest(QUERIES, ITEMS, 2)
    padded = np.concatenate([positions, np.full((5, 3), -1)], axis=1)
    for alpha in (0, 2):
        want = expand(QUERIES, ITEMS, positions, alpha)
        np.testing.assert_allclose(expand(QUERIES, ITEMS, padded, alpha), want, atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.sampled_from([0.0, 0.7, 3.0]))
def test_order_of_the_gallery_has_no_say(seed, k, alpha):
    rng = np.random.default_rng(seed)
    items, mixed = rng.standard_normal((15, 4)), rng.permutation(15)
    query = rng.standard_normal((1, 4))
    ours = expand(query, items, nearest(query, items, k)[1], alpha)
    theirs = expand(query, items[mixed], nearest(query, items[mixed], k)[1], alpha)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    np.testing.assert_allclose(augment(items, k, alpha)[mixed], augment(items[mixed], k, alpha), atol=1e-10)


def test_length_of_vectors_has_no_say():
    _, positions = nearest(QUERIES, ITEMS, 3)
    scaled = expand(QUERIES * 7, ITEMS * RNG.uniform(0.1, 9, (12, 1)), positions)
    np.testing.assert_allclose(scaled, expand(QUERIES, ITEMS, positions), atol=1e-12)


def test_zeros_opposites_and_equals_stay_finite():
    items = np.array([[0, 0], [1, 0], [-1, 0], [1, 0]], np.float32)
    for alpha in (0, 0.5, 3):
        assert np.isfinite(augment(items, 3, alpha)).all()
    np.testing.assert_array_equal(augment(items, 3, 1)[0], [0, 0])
    np.testing.assert_allclose(augment(items, 3, 0.5)[1], [1, 0])


def test_half_precision_memory_map(tmp_path):
    np.save(tmp_path / "items.npy", ITEMS.astype(np.float16))
    mapped = np.load(tmp_path / "items.npy", mmap_mode="r")
    found = augment(mapped, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, augment(ITEMS.astype(np.float16).astype(np.float64), 3), atol=1e-6)


def test_a_negative_power_is_refused():
    for alpha in (-1, np.nan):
        with pytest.raises(InputError, match="alpha must be at least 0"):
            expand(QUERIES, ITEMS, np.zeros((5, 1), np.int64), alpha)
