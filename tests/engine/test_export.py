from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pertinent.data.table import Judgement
from pertinent.engine.export import write_kapture, write_npy
from pertinent.errors import InputError
from pertinent.store import EmbeddingStore, StoreLabels

X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def store(folder: Path, ids: list[str], labels: StoreLabels | None = None) -> EmbeddingStore:
    return EmbeddingStore.write(folder / "s", X, ids, labels=labels)


def test_queries_that_are_no_items_have_a_file_of_their_own(tmp_path: Path):
    labels = StoreLabels("judged", None, judgements=[Judgement(4, (1,))], probes=2)
    made = store(tmp_path, list("abcde"), labels)
    items, queries = write_npy(made, tmp_path / "x.npy")
    assert (items.name, queries.name) == ("x.dbdescs.npy", "x.qdescs.npy")
    assert np.array_equal(np.load(items), X[:3])
    assert np.array_equal(np.load(queries), X[3:])
    assert (tmp_path / "x.qdescs.ids.txt").read_text() == "d\ne\n"
    assert not (tmp_path / "x.npy").exists()


def test_a_path_that_is_no_npy(tmp_path: Path):
    with pytest.raises(InputError, match=r"NAME\.npy, got .*x\.bin"):
        write_npy(store(tmp_path, list("abcde")), tmp_path / "x.bin")


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden"])
def test_features_need_a_plain_name(tmp_path: Path, name: str):
    with pytest.raises(InputError, match="need a plain name"):
        write_kapture(store(tmp_path, list("abcde")), tmp_path / "k", name)


@pytest.mark.parametrize("bad", ["../x.jpg", "/x.jpg"])
def test_features_stay_in_their_folder(tmp_path: Path, bad: str):
    with pytest.raises(InputError, match="leads out of"):
        write_kapture(store(tmp_path, [*"abcd", bad]), tmp_path / "k", "n")
    assert not (tmp_path / "k").exists()
