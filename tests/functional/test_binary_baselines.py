"""ITQ and LSH (`functional/binary_baselines.py`): literal steps, what they promise, wrong input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pertinent.errors import InputError
from pertinent.functional import binary_baselines
from pertinent.functional.binary_baselines import binary_codes, fit_itq, fit_lsh, random_rotation
from pertinent.functional.whitening import principal_components, whiten

RNG = np.random.default_rng(0)
CENTRES = RNG.standard_normal((8, 12))
LABELS = np.arange(240) % 8
X = (CENTRES[LABELS] + 0.4 * RNG.standard_normal((240, 12)) + 3).astype(np.float32)


def quantisation_error(x: np.ndarray, fitted) -> float:
    real = whiten(x, fitted, normalise=False)
    return float(((real - np.where(real >= 0, 1, -1)) ** 2).sum())


def test_itq_is_the_literal_alternation():
    components = principal_components(X)
    v = (X.astype(np.float64) - components.mean) @ components.directions[:6].T
    rotation = random_rotation(6, 3)
    for _ in range(7):
        b = np.where(v @ rotation >= 0, 1.0, -1.0)
        # Orthogonal Procrustes: of B^T V = S Omega T^T the nearest rotation is T S^T.
        s, _, t = np.linalg.svd(b.T @ v)
        rotation = t.T @ s.T
    fitted = fit_itq(X, 6, iterations=7, seed=3)
    np.testing.assert_allclose(whiten(X, fitted, normalise=False), v @ rotation, atol=1e-9)
    np.testing.assert_array_equal(binary_codes(X, fitted), np.where(v @ rotation >= 0, 1, -1))


def test_itq_loses_less_with_every_step():
    errors = [quantisation_error(X, fit_itq(X, 6, iterations=steps)) for steps in (0, 1, 2, 5, 20)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.98 * errors[0]


def test_itq_keeps_the_lengths_of_principal_components():
    fitted = fit_itq(X, 6)
    np.testing.assert_allclose(fitted.projection @ fitted.projection.T, np.eye(6), atol=1e-12)


def test_a_random_rotation_is_one():
    rotation = random_rotation(5, 0)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(5), atol=1e-12)
    assert (random_rotation(5, 0) == rotation).all()
    assert (random_rotation(5, 1) != rotation).any()


def test_lsh_differs_in_proportion_to_the_angle():
    pair = np.array([[1.0, 0, 0], [1, 1, 0], [0, 1, 0], [-1, 0, 0]])
    codes = binary_codes(pair, fit_lsh(pair, 20_000, centre=False))
    differing = (codes[0] != codes).mean(1)
    np.testing.assert_allclose(differing, [0, 0.25, 0.5, 1], atol=0.02)


def test_lsh_through_the_mean_does_not_see_where_the_origin_is():
    near, far = X - X.mean(0), X + 100
    np.testing.assert_array_equal(binary_codes(near, fit_lsh(near, 9)), binary_codes(far, fit_lsh(far, 9)))
    assert len(np.unique(binary_codes(far, fit_lsh(far, 9, centre=False)), axis=0)) == 1


@pytest.mark.parametrize("fit", [fit_itq, fit_lsh])
def test_equal_classes_come_near(fit):
    codes = binary_codes(X, fit(X, 8))
    apart = (codes[:, None] != codes[None]).sum(2)
    same = LABELS[:, None] == LABELS[None]
    assert apart[same].mean() < 0.6 * apart[~same].mean()


@pytest.mark.parametrize("fit", [fit_itq, fit_lsh])
def test_memory_maps_blocks_and_seeds(fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = binary_codes(X, fit(X, 7))
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    monkeypatch.setattr(binary_baselines, "ROWS", 50)
    out = np.zeros((240, 7), np.float32)
    assert binary_codes(mapped, fit(mapped, 7), out) is out
    np.testing.assert_array_equal(out, whole)
    assert (binary_codes(X, fit(X, 7, seed=1)) != whole).any()


def test_many_vectors_are_thinned_evenly_for_the_rotation(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(binary_baselines, "ROTATION_ROWS", 60)
    monkeypatch.setattr(binary_baselines, "ROWS", 16)
    components = principal_components(X)
    plain = (X[::4].astype(np.float64) - components.mean) @ components.directions[:5].T
    rotation = random_rotation(5, 0)
    for _ in range(3):
        left, _, right = np.linalg.svd(plain.T @ np.where(plain @ rotation >= 0, 1.0, -1.0))
        rotation = left @ right
    np.testing.assert_allclose(fit_itq(X, 5, 3).projection, rotation.T @ components.directions[:5], atol=1e-9)


def test_a_zero_is_a_positive_bit():
    fitted = fit_lsh(X, 4)
    assert (binary_codes(fitted.mean[None], fitted) == 1).all()


def test_wrong_input():
    flat = X.copy()
    flat[:, 4:] = 0
    with pytest.raises(InputError, match="6 bits were asked for, but the vectors vary in 4 directions only"):
        fit_itq(flat, 6)
    assert binary_codes(flat, fit_lsh(flat, 1000)).shape == (240, 1000)
    assert binary_codes(X, fit_itq(X, 1)).shape == (240, 1)
    for call in (
        lambda: fit_itq(X, 0),
        lambda: fit_lsh(X, 0),
        lambda: fit_itq(X, 4, iterations=-1),
        lambda: fit_lsh(X, 4, seed=-1),
    ):
        with pytest.raises(InputError, match="bits must be at least 1"):
            call()
    with pytest.raises(InputError, match="no vector to learn from"):
        fit_lsh(X[:0], 4)
    with pytest.raises(InputError, match="finite"):
        fit_lsh(np.full((3, 2), np.nan), 4)
    with pytest.raises(InputError, match="takes vectors of 12"):
        binary_codes(X[:, :5], fit_lsh(X, 4))
