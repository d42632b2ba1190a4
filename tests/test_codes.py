from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pertinent.codes import write_codes
from pertinent.errors import StorageError
from pertinent.store import EmbeddingStore, StoreLabels

VECTORS = np.random.default_rng(0).standard_normal((6, 13)).astype(np.float32)
IDS = list("abcdef")


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return EmbeddingStore.write(tmp_path / "store", VECTORS, IDS)


def test_codes_lie_beside_the_vectors(store: EmbeddingStore):
    codes = write_codes(store)
    opened = EmbeddingStore.open(store.folder)
    for one in (codes, store.codes, opened.codes, np.load(store.folder / "codes.npy")):
        np.testing.assert_array_equal(one, np.packbits(VECTORS > 0, axis=1))
    assert isinstance(opened.codes, np.memmap)
    assert not opened.codes.flags.writeable
    facts = json.loads((store.folder / "manifest.json").read_text())["codes"]
    assert (facts["bits"], facts["bytes"]) == (13, (store.folder / "codes.npy").stat().st_size)
    opened.verify()


def test_codes_can_be_written_again(store: EmbeddingStore):
    first = write_codes(store).copy()
    np.testing.assert_array_equal(write_codes(EmbeddingStore.open(store.folder)), first)


def test_a_store_that_is_written_anew_has_no_codes(store: EmbeddingStore):
    write_codes(store)
    anew = EmbeddingStore.write(store.folder, -VECTORS, IDS)
    with pytest.raises(StorageError, match=r"holds no codes; write them with: pertinent codes"):
        _ = anew.codes
    assert not (store.folder / "codes.npy").exists()


def test_damage_is_found(store: EmbeddingStore):
    path = store.folder / "codes.npy"
    size = len(write_codes(store).tobytes()) and path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size - 1)
        file.write(b"\xff")
    with pytest.raises(StorageError, match=r"codes\.npy is damaged: its checksum"):
        EmbeddingStore.open(store.folder).verify()
    with path.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(StorageError, match=r"codes\.npy is damaged: \d+ bytes were written, \d+ are there"):
        EmbeddingStore.open(store.folder)
    path.unlink()
    with pytest.raises(StorageError, match=r"codes\.npy is damaged: \d+ bytes were written, 0 are there"):
        EmbeddingStore.open(store.folder)


def test_codes_of_another_shape(store: EmbeddingStore):
    write_codes(store)
    np.save(store.folder / "codes.npy", np.zeros((3, 4), np.uint8))
    with pytest.raises(StorageError, match=r"codes\.npy is damaged: it holds uint8 \(3, 4\)"):
        _ = EmbeddingStore.open(store.folder).codes


def test_queries_are_no_items(store: EmbeddingStore, tmp_path: Path):
    assert store.items is store.vectors
    probed = EmbeddingStore.write(tmp_path / "probed", VECTORS, IDS, labels=StoreLabels(probes=2))
    np.testing.assert_array_equal(EmbeddingStore.open(probed.folder).items, VECTORS[:4])
    assert len(write_codes(probed)) == 6
