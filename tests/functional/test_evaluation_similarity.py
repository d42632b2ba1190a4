from __future__ import annotations

import numpy as np
import pytest
import torch

from pertinent.errors import InputError, UnknownNameError
from pertinent.functional import similarity
from pertinent.functional.similarity import Scorer


def literal(name, q, g):
    if name == "cosine":
        return q @ g / (np.linalg.norm(q) * np.linalg.norm(g))
    if name == "dot":
        return q @ g
    if name == "euclidean":
        return -np.sqrt(((q - g) ** 2).sum())
    return -0.5 * np.abs(np.sign(q) - np.sign(g)).sum()


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "hamming"])
def test_scores_order_as_the_definition(name, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    queries, items = rng.standard_normal((5, 9)), rng.standard_normal((40, 9))
    want = np.array([[literal(name, q, g) for g in items] for q in queries])
    mapped = np.memmap(tmp_path / "items", np.float64, "w+", shape=items.shape)
    mapped[:] = items
    monkeypatch.setattr(similarity, "TILE_ROWS", 16)
    for gallery in (items, torch.from_numpy(items), mapped):
        scores = Scorer(queries, gallery, name).block(1, 5)
        for row in range(4):
            np.testing.assert_array_equal(
                np.argsort(-scores[row], kind="stable"), np.argsort(-want[row + 1], kind="stable")
            )


def test_own_gallery_out_and_types():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((6, 4)).astype(np.float32)
    scorer = Scorer(x)
    assert scorer.dtype is np.float32
    assert (scorer.n_queries, scorer.n_items) == (6, 6)
    memory = np.empty((4, 6), np.float32)
    out = scorer.block(2, 5, memory)
    assert out.base is memory
    np.testing.assert_allclose(np.diag(scorer.block(0, 6)), 1.0, rtol=1e-6)
    np.testing.assert_allclose(scorer.block(3, 4), scorer.block(0, 6)[3:4], rtol=1e-6)
    assert Scorer(x.astype(np.float16)).dtype is np.float32
    assert Scorer(torch.from_numpy(x).to(torch.bfloat16)).dtype is np.float32
    assert Scorer(x.astype(np.int32), similarity="dot").dtype is np.float64
    assert Scorer(x, similarity="euclidean").dtype is np.float64
    assert Scorer(x, x.astype(np.float64)).dtype is np.float64


def test_equal_items_get_equal_scores_also_for_a_single_query():
    rng = np.random.default_rng(2)
    items = rng.standard_normal((1003, 37)).astype(np.float32)
    items[500:1000] = items[:500]
    scores = Scorer(rng.standard_normal((3, 37)).astype(np.float32), items).block(1, 2)
    np.testing.assert_array_equal(scores[0, :500], scores[0, 500:1000])


def test_zero_vectors_and_zero_codes():
    scores = Scorer(np.zeros((1, 3)), np.eye(3)).block(0, 1)
    np.testing.assert_array_equal(scores, np.zeros((1, 3)))
    codes = Scorer(np.array([[1.0, 0.0, -2.0]]), np.array([[3.0, 1.0, -1.0], [0.0, 0.0, 0.0]]), "hamming").block(0, 1)
    np.testing.assert_array_equal(codes, [[2.0, 0.0]])


def test_bool_codes_are_plus_and_minus_one():
    rng = np.random.default_rng(3)
    bits = rng.random((7, 12)) < 0.5
    distance = (bits[:, None] != bits[None]).sum(-1)
    np.testing.assert_array_equal(Scorer(bits, similarity="hamming").block(0, 7), 12 - 2 * distance)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda x: Scorer(x, similarity="cosin"), UnknownNameError, "cosine"),
        (lambda x: Scorer(x[0]), InputError, "got shape"),
        (lambda x: Scorer(x[:0]), InputError, "at least one vector"),
        (lambda x: Scorer(x, x[:, :2]), InputError, "3 dimensions and the gallery 2"),
        (lambda x: Scorer(x.astype(np.uint8)), InputError, "unpack packed codes"),
        (lambda x: Scorer(x.astype(np.complex64)), InputError, "real numbers"),
        (lambda x: Scorer(np.where(x == x.max(), np.nan, x)), InputError, "queries row 3 holds NaN"),
        (lambda x: Scorer(x, np.where(x == x.max(), np.inf, x)), InputError, "gallery row 3"),
        (lambda x: Scorer(np.float32(1e20) * x.astype(np.float32), similarity="dot"), InputError, "scale them down"),
    ],
)
def test_errors(make, error, says):
    with pytest.raises(error, match=says):
        make(np.arange(12.0).reshape(4, 3))
