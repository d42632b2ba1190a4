"""Whitening, expansion and pooling against numbers of the official code of dirtorch and cirtorch (float64)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pertinent.functional.expansion import augment, expand
from pertinent.functional.multi_scale import pool_descriptors
from pertinent.functional.neighbours import nearest
from pertinent.functional.whitening import (
    PrincipalComponents,
    Whitening,
    lw_whitening,
    pca_whitening,
    principal_components,
    whiten,
)
from pertinent.pipeline import Pipeline

FOLDER = Path(__file__).parent
CASES = {case["case"]: case for case in json.loads((FOLDER / "dirtorch_post.json").read_text())}


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / "dirtorch_post.npz") as stored:
        found = {key.split("/")[1]: stored[key] for key in stored if key.startswith(f"{name}/")}
    assert found
    return found


def starting(*starts: str) -> list[str]:
    names = [name for name in CASES if name.startswith(starts)]
    assert names
    return names


def close(actual, expected, tolerance=1e-10):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def same_up_to_sign(actual, expected, tolerance=1e-9):
    """Rows equal up to the sign of each."""
    signs = np.sign((actual * expected).sum(axis=1, keepdims=True))
    close(actual * signs, expected, tolerance)


def official_components() -> PrincipalComponents:
    stored = arrays("pca_fit")
    return PrincipalComponents(stored["mean"], stored["components"], stored["explained_variance"])


def test_pca_fit():
    ours, official = principal_components(arrays("pca_fit")["X"]), official_components()
    close(ours.mean, official.mean)
    close(ours.variances, official.variances)
    same_up_to_sign(ours.directions, official.directions)


@pytest.mark.parametrize("name", starting("whiten_p0", "whiten_p1"))
def test_pca_whitening(name):
    case, expected, x = CASES[name], arrays(name), arrays("pca_apply_input")["X"]
    options = {"p": case["whitenp"], "dims": case["whitenv"], "m": case["whitenm"]}
    applied = pca_whitening(official_components(), **options)
    close(whiten(x, applied), expected["out"])
    close(whiten(x, applied, normalise=False), expected["out_no_l2"])
    learned = pca_whitening(principal_components(arrays("pca_fit")["X"]), **options)
    same_up_to_sign(whiten(x, learned).T, expected["out"].T)


def test_projection_without_whitening():
    x = arrays("pca_apply_input")["X"]
    close(whiten(x, pca_whitening(official_components(), p=0)), arrays("whiten_pca_without_whiten_flag")["out"])


def test_a_mean_and_a_matrix():
    stored = arrays("whiten_dict_form")
    close(whiten(arrays("pca_apply_input")["X"], Whitening(stored["means"], stored["W"].T)), stored["out"])


def cirtorch_columns(x, whitening):
    """Columns as cirtorch keeps and normalises them."""
    y = whiten(x.T, whitening, normalise=False).T
    return y / (np.linalg.norm(y, axis=0) + 1e-6)


def test_lw_whitening():
    stored = arrays("cir_whitenlearn")
    x, pairs = stored["X"].T, (stored["qidxs"], stored["pidxs"])
    ours = lw_whitening(x, *pairs)
    close(ours.mean, stored["m"][:, 0])
    same_up_to_sign(ours.projection, stored["P"])
    same_up_to_sign(cirtorch_columns(stored["X_apply"], ours), stored["out"])
    same_up_to_sign(cirtorch_columns(stored["X_apply"], lw_whitening(x, *pairs, dims=5)), stored["out_dim5"])
    applied = Whitening(stored["m"][:, 0], stored["P"])
    close(cirtorch_columns(stored["X_apply"], applied), stored["out"])


def test_pca_whitening_of_cirtorch():
    """Its covariance is over N, ours over N - 1."""
    inputs, stored = arrays("cir_whitenlearn"), arrays("cir_pcawhitenlearn")
    x = inputs["X"].T
    components = principal_components(x)
    m = np.sqrt((len(x) - 1) / len(x))
    ours = pca_whitening(components, p=0.5, m=m)
    close(ours.mean, stored["m"][:, 0])
    same_up_to_sign(ours.projection, stored["P"])
    same_up_to_sign(cirtorch_columns(inputs["X_apply"], ours), stored["out"])
    five = pca_whitening(components, p=0.5, dims=5, m=m)
    same_up_to_sign(cirtorch_columns(inputs["X_apply"], five), stored["out_dim5"])


def expanded(queries, items, case):
    return expand(queries, items, nearest(queries, items, case["k"])[1], case["alpha"])


@pytest.mark.parametrize("name", starting("qe_k"))
def test_query_expansion(name):
    inputs = arrays("expand_inputs")
    close(expanded(inputs["q"], inputs["db"], CASES[name]), arrays(name)["out"])


def test_query_expansion_with_negative_similarities():
    stored = arrays("qe_negative_similarities_k19_alpha3")
    close(expanded(stored["q"], stored["db"], {"k": 19, "alpha": 3}), stored["out"])


@pytest.mark.parametrize("name", starting("dba_k"))
def test_database_augmentation(name):
    case = CASES[name]
    close(augment(arrays("expand_inputs")["db"], case["k"], case["alpha"]), arrays(name)["out"])


def test_augmentation_then_expansion():
    inputs, stored = arrays("expand_inputs"), arrays("dba_then_qe")
    items = augment(inputs["db"], 5, 3)
    queries = expanded(inputs["q"], items, {"k": 4, "alpha": 2})
    close(items, stored["db"])
    close(queries, stored["q"])
    close(queries @ items.T, stored["scores"])


def test_augmentation_then_expansion_as_stages():
    inputs, stored = arrays("expand_inputs"), arrays("dba_then_qe")
    pipeline = Pipeline.parse("dba(k=5, alpha=3), alpha_qe(k=4, alpha=2)")
    items = pipeline.items(inputs["db"])
    queries = pipeline.queries(inputs["q"], items, lambda x, k: nearest(x, items, k))
    close(queries @ items.T, stored["scores"], 1e-6)


@pytest.mark.parametrize("name", ["ms_pool_mean3", "ms_pool_gem3", "ms_pool_gem1", "ms_pool_gem2"])
def test_pooling_of_descriptors(name):
    stored = arrays(name)
    pooled = pool_descriptors(torch.from_numpy(arrays("ms_pool_inputs")["x"]), name[8:-1], float(name[-1]))
    close(pooled, stored["pooled"])
    close(torch.nn.functional.normalize(pooled, dim=1), stored["final"])
