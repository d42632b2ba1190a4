from __future__ import annotations

import numpy as np
import pytest
import torch

from pertinent.errors import InputError, UnknownNameError
from pertinent.functional import similarity
from pertinent.functional.similarity import Scorer, cluster_vectors, tile_rows


def literal(name, q, g):
    if name == "cosine":
        return q @ g / (np.linalg.norm(q) * np.linalg.norm(g))
    return q @ g if name == "dot" else -((q - g) ** 2).sum()


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("cache", [0, 2**30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_are_the_definition(name, cache, dtype, tmp_path, monkeypatch):
    monkeypatch.setattr(similarity, "CACHE_BYTES", cache)
    rng = np.random.default_rng(0)
    queries, items = (rng.standard_normal((n, 9)).astype(dtype) for n in (5, 40))
    want = np.array([[literal(name, q, g) for g in items.astype(float)] for q in queries.astype(float)])
    mapped = np.memmap(tmp_path / "items", dtype, "w+", shape=items.shape)
    mapped[:] = items
    rows, ids = rng.integers(0, 4, 50), rng.integers(0, 40, 50)
    rtol = 1e-12 if dtype == np.float64 else 2e-6
    for gallery in (items, np.asfortranarray(items), torch.from_numpy(items), mapped):
        scorer = Scorer(queries, gallery, name)
        np.testing.assert_allclose(scorer.rows(1, 5), want[1:], rtol=rtol, atol=rtol)
        exact = scorer.pair_scores(scorer.queries(1, 5), rows, ids, step=16)
        np.testing.assert_allclose(exact, want[1:][rows, ids], rtol=1e-12 if name != "cosine" else rtol, atol=rtol / 10)
        for first, tile in scorer.tiles(16):
            product = scorer.queries(0, 5).vectors @ tile.vectors.T
            far = np.abs(product - want[:, first : first + len(tile.lengths)])
            assert (far <= scorer.slack * np.outer(scorer.queries(0, 5).lengths, tile.lengths) + 1e-7).all()


def test_similarities_are_symmetric():
    x = np.random.default_rng(1).standard_normal((30, 7)).astype(np.float32)
    rows, ids = np.divmod(np.arange(900), 30)
    for name in ("cosine", "dot", "euclidean"):
        scorer = Scorer(x, similarity=name)
        scores = scorer.pair_scores(scorer.queries(0, 30), rows, ids).reshape(30, 30)
        np.testing.assert_allclose(scores, scores.T, rtol=1e-13, atol=1e-13)


def test_squared_lengths_lose_no_digit():
    x = np.random.default_rng(2).integers(0, 1024, (20, 300)).astype(np.float32)
    scorer = Scorer(x, similarity="euclidean")
    rows, ids = np.divmod(np.arange(400), 20)
    want = -((x[rows].astype(float) - x[ids]) ** 2).sum(1)
    np.testing.assert_array_equal(scorer.pair_scores(scorer.queries(0, 20), rows, ids), want)


def test_types():
    x = np.random.default_rng(3).standard_normal((6, 4)).astype(np.float32)
    scorer = Scorer(x)
    assert (scorer.n_queries, scorer.n_items, scorer.dtype, scorer.own_gallery) == (6, 6, np.float32, True)
    memory = np.empty((4, 6), np.float32)
    assert scorer.rows(2, 5, memory).base is memory
    np.testing.assert_allclose(np.diag(scorer.rows(0, 6)), 1.0, rtol=1e-6)
    np.testing.assert_allclose(scorer.rows(3, 4), scorer.rows(0, 6)[3:4], rtol=1e-6)
    assert Scorer(x.astype(np.float16)).dtype is np.float32
    assert Scorer(torch.from_numpy(x).to(torch.bfloat16)).dtype is np.float32
    assert Scorer(x.astype(np.int32), similarity="dot").dtype is np.float64
    assert Scorer(x, x.astype(np.float64)).dtype is np.float64
    assert Scorer(x > 0, similarity="dot").rows(0, 1)[0, 0] == 4
    assert tile_rows(2048, 16384) == 4096


def test_equal_items_get_equal_scores_also_for_a_single_query():
    rng = np.random.default_rng(4)
    items = rng.standard_normal((1003, 37)).astype(np.float32)
    items[500:1000] = items[:500]
    scores = Scorer(rng.standard_normal((3, 37)).astype(np.float32), items).rows(1, 2)
    np.testing.assert_array_equal(scores[0, :500], scores[0, 500:1000])


def test_zero_and_tiny_vectors_are_like_nothing():
    scorer = Scorer(np.array([[0.0, 0.0, 0.0], [1e-310, 0.0, 0.0]]), np.eye(3))
    np.testing.assert_array_equal(scorer.rows(0, 1), np.zeros((1, 3)))
    assert np.isfinite(scorer.rows(0, 2)).all()
    tiny = Scorer(np.full((1, 3), 1e-40, np.float32), np.eye(3, dtype=np.float32))
    np.testing.assert_allclose(tiny.rows(0, 1), np.full((1, 3), 3**-0.5), rtol=1e-4)


def test_vectors_to_cluster():
    x = np.array([[3.0, 4.0], [0.0, -2.0]])
    np.testing.assert_allclose(cluster_vectors(x, "cosine"), [[0.6, 0.8], [0, -1]])
    np.testing.assert_array_equal(cluster_vectors(x, "hamming"), [[1, 1], [0, -1]])
    np.testing.assert_array_equal(cluster_vectors(x, "euclidean"), x)


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
        (lambda x: Scorer(1e200 * x, similarity="dot"), InputError, "scale them down"),
    ],
)
def test_errors(make, error, says):
    with pytest.raises(error, match=says):
        make(np.arange(12.0).reshape(4, 3))


def test_a_bad_row_far_down_a_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(similarity, "CACHE_BYTES", 0)
    mapped = np.memmap(tmp_path / "items", np.float16, "w+", shape=(50, 3))
    mapped[:] = 1
    mapped[41, 2] = np.inf
    scorer = Scorer(np.ones((2, 3), np.float32), mapped)
    with pytest.raises(InputError, match="gallery row 41 holds NaN or infinity"):
        list(scorer.tiles(20))
    with pytest.raises(InputError, match="gallery row 41"):
        scorer.pair_scores(scorer.queries(0, 1), np.zeros(2, int), np.array([41, 3]))
