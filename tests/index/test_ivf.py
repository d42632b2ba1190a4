"""The inverted files: cells and codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pertinent.errors import InputError
from pertinent.functional.neighbours import unit_rows
from pertinent.index import IVFFlatIndex, IVFPQIndex
from pertinent.index._faiss_vectors import cells_of

pytest.importorskip("faiss")
VECTORS = unit_rows(np.random.default_rng(0).standard_normal((1000, 30), np.float32))


def test_cells_by_the_size_of_the_collection():
    assert [cells_of(None, count) for count in (1, 100, 10_000, 1_000_000)] == [1, 2, 256, 4000]


def test_other_cells_than_stated(tmp_path: Path):
    flat = IVFFlatIndex(VECTORS)
    flat.save(tmp_path)
    with pytest.raises(InputError, match="it states 3 cells, and there are 25"):
        IVFFlatIndex.open(tmp_path, VECTORS, **flat.state() | {"cells": 3})
    codes = IVFPQIndex(VECTORS)
    codes.save(tmp_path)
    with pytest.raises(InputError, match="it states 25 cells of 5 bytes, and there are 25 of 6"):
        IVFPQIndex.open(tmp_path, VECTORS, **codes.state() | {"bytes": 5})


def test_bytes_of_a_code():
    assert IVFPQIndex(VECTORS).state()["bytes"] == 6
    assert IVFPQIndex(VECTORS[:, :7]).state()["bytes"] == 1
    assert IVFPQIndex(VECTORS, bytes=30).nbytes > IVFPQIndex(VECTORS).nbytes


def test_candidates_are_ordered_by_their_vectors():
    few, many = (IVFPQIndex(VECTORS, bytes=1, cells=1, rerank=rerank) for rerank in (10, 1000))
    true = np.argsort(-VECTORS[:50] @ VECTORS.T, axis=1)[:, :10]
    shares = [
        np.mean([len(set(a) & set(b)) / 10 for a, b in zip(index.search(VECTORS[:50], 10)[1], true, strict=True)])
        for index in (few, many)
    ]
    assert shares[0] < 0.8
    assert shares[1] == 1
