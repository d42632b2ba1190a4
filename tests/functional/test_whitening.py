"""PCA and Lw whitening (`functional/whitening.py`), against literal definitions."""

from __future__ import annotations

import numpy as np
import pytest

from oracles import post_processing as oracle
from pertinent.errors import InputError
from pertinent.functional import whitening
from pertinent.functional.whitening import (
    Whitening,
    lw_whitening,
    moments,
    pca_whitening,
    principal_components,
    whiten,
)

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 6)) @ np.diag([5, 3, 2, 1, 0.5, 0.1]) @ RNG.standard_normal((6, 6)) + 40


@pytest.fixture(params=[7, 8192])
def rows(request, monkeypatch):
    monkeypatch.setattr(whitening, "ROWS", request.param)


@pytest.mark.usefixtures("rows")
def test_moments_are_those_of_the_whole():
    found = moments(X)
    mean, scatter = oracle.moments(X)
    assert found.n_vectors == 60
    np.testing.assert_allclose(found.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(found.scatter, scatter, rtol=1e-9)


@pytest.mark.usefixtures("rows")
def test_principal_components():
    found = principal_components(X)
    np.testing.assert_allclose(found.directions @ found.directions.T, np.eye(6), atol=1e-12)
    projected = (X - X.mean(0)) @ found.directions.T
    np.testing.assert_allclose(projected.T @ projected / 59, np.diag(found.variances), atol=1e-9)
    assert (np.diff(found.variances) < 0).all()
    assert (found.directions[np.arange(6), np.abs(found.directions).argmax(1)] > 0).all()


def test_a_half_makes_every_variance_one_and_zero_keeps_distances():
    components = principal_components(X)
    flat = whiten(X, pca_whitening(components, p=0.5), normalise=False)
    np.testing.assert_allclose(np.cov(flat.T), np.eye(6), atol=1e-9)
    turned = whiten(X, pca_whitening(components, p=0), normalise=False)
    np.testing.assert_allclose(turned @ turned.T, (X - X.mean(0)) @ (X - X.mean(0)).T, atol=1e-8)


def test_m_is_seen_only_without_normalisation():
    components = principal_components(X)
    plain, scaled = pca_whitening(components), pca_whitening(components, m=4)
    np.testing.assert_allclose(whiten(X, plain), whiten(X, scaled), atol=1e-14)
    np.testing.assert_allclose(whiten(X, plain, normalise=False), 4 * whiten(X, scaled, normalise=False), atol=1e-12)


def test_order_of_the_vectors_has_no_say():
    mixed = RNG.permutation(60)
    ours, theirs = principal_components(X), principal_components(X[mixed])
    np.testing.assert_allclose(ours.directions, theirs.directions, atol=1e-9)
    pairs = np.arange(0, 20), np.arange(20, 40)
    place = np.argsort(mixed)
    first, second = lw_whitening(X, *pairs), lw_whitening(X[mixed], *(place[ids] for ids in pairs))
    np.testing.assert_allclose(
        first.projection.T @ first.projection, second.projection.T @ second.projection, rtol=1e-7
    )


def test_directions_without_variance_are_left_out():
    flat = np.concatenate([X[:, :3], X[:, :2] * 2, np.ones((60, 4))], axis=1)
    assert len(principal_components(flat).variances) == 3
    assert len(principal_components(X[:4]).variances) == 3
    with pytest.raises(InputError, match=r"dims must be 1 to 3, the number of directions .* got 4"):
        pca_whitening(principal_components(flat), dims=4)


@pytest.mark.usefixtures("rows")
def test_lw_agrees_with_its_definition():
    queries, positives = RNG.integers(0, 60, (2, 40))
    positives[queries == positives] = (queries[queries == positives] + 1) % 60
    found = lw_whitening(X, queries, positives)
    mean, projection = oracle.lw(X, list(zip(queries.tolist(), positives.tolist(), strict=True)))
    np.testing.assert_allclose(found.mean, mean, rtol=1e-12)
    signs = np.sign((found.projection * projection).sum(1, keepdims=True))
    np.testing.assert_allclose(found.projection * signs, projection, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(lw_whitening(X, queries, positives, dims=2).projection, found.projection[:2])


def test_lw_after_fewer_pairs_than_dimensions_uses_a_ridge():
    pairs = np.array([0, 1]), np.array([2, 3])
    found = lw_whitening(X, *pairs)
    assert np.isfinite(found.projection).all()
    assert np.isfinite(whiten(X, found)).all()


def test_lw_shrinks_what_matching_vectors_differ_in():
    places = RNG.standard_normal((30, 4))
    noise = np.array([0.01, 0.01, 3.0, 0.01])
    x = np.concatenate([places + noise * RNG.standard_normal((30, 4)) for _ in range(2)])
    white = whiten(x, lw_whitening(x, np.arange(30), np.arange(30, 60)))
    assert (np.argmax(white[:30] @ white[30:].T, axis=1) == np.arange(30)).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_memory_maps_of_any_width(tmp_path, dtype):
    x = np.asarray(X / 100, dtype)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    ours, theirs = principal_components(mapped), principal_components(x.astype(np.float64))
    np.testing.assert_array_equal(ours.directions, theirs.directions)
    pairs = np.arange(30), np.arange(30, 60)
    np.testing.assert_array_equal(
        lw_whitening(mapped, *pairs).projection, lw_whitening(x.astype(np.float64), *pairs).projection
    )
    assert whiten(mapped, pca_whitening(ours)).dtype == np.float64


def test_zero_and_empty_inputs():
    applied = Whitening(np.zeros(3), np.eye(3))
    assert whiten(np.zeros((2, 3)), applied).tolist() == [[0.0] * 3] * 2
    assert whiten(np.zeros((0, 3)), applied).shape == (0, 3)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (np.ones((1, 4)), "at least two different vectors, got 1, all alike"),
        (np.ones((0, 4)), "at least two different vectors, got 0"),
        (np.ones((9, 4)), "at least two different vectors, got 9, all alike"),
        (np.array([[1.0, np.nan], [0, 1]]), "must be finite"),
        (np.array([[1e250, 0], [0, 1]]), "too long to learn a whitening from; scale them down"),
        (np.ones(4), r"vectors must be \(N, D\), got shape \(4,\)"),
    ],
)
def test_vectors_that_teach_nothing(vectors, said):
    with pytest.raises(InputError, match=said):
        principal_components(vectors)


def test_pairs_that_teach_nothing():
    with pytest.raises(InputError, match="learns from pairs, got 0 queries and 0 positives"):
        lw_whitening(X, np.zeros(0, np.int64), np.zeros(0, np.int64))
    with pytest.raises(InputError, match="got 2 queries and 1 positives"):
        lw_whitening(X, np.arange(2), np.arange(1))
    with pytest.raises(InputError, match="vectors of matching pairs are equal"):
        lw_whitening(X, np.arange(3), np.arange(3))
    with pytest.raises(InputError, match="dims must be 1 to 6"):
        lw_whitening(X, np.arange(9), np.arange(9, 18), dims=7)


def test_vectors_of_another_length():
    with pytest.raises(InputError, match=r"takes vectors of 6 numbers, got shape \(2, 5\)"):
        whiten(np.ones((2, 5)), pca_whitening(principal_components(X)))
    with pytest.raises(InputError, match=r"got shape \(6,\)"):
        whiten(np.ones(6), pca_whitening(principal_components(X)))
