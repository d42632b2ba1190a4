"""The graph: what is on disk, and what it looks into."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pertinent.functional.neighbours import unit_rows
from pertinent.index import HNSWIndex

faiss = pytest.importorskip("faiss")
VECTORS = unit_rows(np.random.default_rng(0).standard_normal((500, 64), np.float32))


def test_only_the_graph_is_written(tmp_path: Path):
    HNSWIndex(VECTORS, links=4).save(tmp_path)
    assert (tmp_path / "index.faiss").stat().st_size < VECTORS.nbytes / 2


def test_vectors_are_looked_at_where_they_lie(tmp_path: Path):
    vectors = VECTORS.copy()
    built = HNSWIndex(vectors)
    built.save(tmp_path)
    opened = HNSWIndex.open(tmp_path, vectors, **built.state())
    want = built.search(VECTORS[:5], 1)[0]
    vectors *= 2
    for index in (built, opened):
        np.testing.assert_allclose(index.search(VECTORS[:5], 1)[0], 2 * want)


def test_versions_that_cannot_look_have_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    built = HNSWIndex(VECTORS)
    built.save(tmp_path)
    monkeypatch.delattr(faiss, "MaybeOwnedVectorUInt8")
    for index in (HNSWIndex(VECTORS), HNSWIndex.open(tmp_path, VECTORS, **built.state())):
        np.testing.assert_array_equal(index.search(VECTORS, 3)[1], built.search(VECTORS, 3)[1])


def test_vectors_in_another_order_of_memory():
    turned = np.asfortranarray(VECTORS)
    np.testing.assert_array_equal(HNSWIndex(turned).search(VECTORS, 3)[1], HNSWIndex(VECTORS).search(VECTORS, 3)[1])


def test_more_effort_finds_more():
    true = np.argsort(-VECTORS @ VECTORS.T, axis=1)[:, :10]
    shares = []
    for search in (1, 40, 500):
        _, found = HNSWIndex(VECTORS, links=4, search=search).search(VECTORS, 10)
        shares.append(np.mean([len(set(a) & set(b)) for a, b in zip(found.tolist(), true.tolist(), strict=True)]))
    assert shares[0] < shares[1] < shares[2]
