"""`write_baseline`: a store of ITQ or LSH codes, measured as codes are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pertinent.data.table import Judgement
from pertinent.engine.codes_baseline import write_baseline
from pertinent.engine.measure import measure
from pertinent.errors import InputError, UnknownNameError
from pertinent.functional.binary_baselines import binary_codes, fit_itq
from pertinent.store import EmbeddingStore, StoreLabels

RNG = np.random.default_rng(0)
LABELS = np.arange(60) % 6
TAGS = np.eye(6, dtype=bool)[LABELS]
X = (RNG.standard_normal((6, 10))[LABELS] + 0.3 * RNG.standard_normal((60, 10))).astype(np.float32)


def store_of(folder: Path, labels: StoreLabels | None = None) -> EmbeddingStore:
    labels = labels or StoreLabels("tags", TAGS, class_names=[list("abcdef")])
    return EmbeddingStore.write(folder / "vectors", X, [f"i{row}" for row in range(60)], labels=labels, encoder="f00d")


@pytest.mark.parametrize("baseline", ["itq", "lsh"])
def test_codes_are_written_and_measured(tmp_path: Path, baseline: str):
    made = write_baseline(store_of(tmp_path), tmp_path / "codes", baseline, 8)
    again = EmbeddingStore.open(tmp_path / "codes")
    again.verify()
    assert set(np.unique(again.vectors)) == {-1, 1}
    assert (again.dim, again.ids, again.labels.kind) == (8, made.ids, "tags")
    assert again.encoder is None  # an encoder's vectors do not fit these
    assert again.manifest["baseline"]["name"] == baseline
    assert again.manifest["baseline"]["vectors_of"] == "f00d"
    report = measure(again, ["ap"], "hamming")
    assert report.mean["ap"] > 0.6


def test_the_map_is_learned_from_items_alone_or_elsewhere(tmp_path: Path):
    judged = StoreLabels(
        "judged", None, judgements=[Judgement(58, (1,), (), ()), Judgement(59, (0,), (), ())], probes=2
    )
    store = store_of(tmp_path, judged)
    codes = write_baseline(store, tmp_path / "codes", "itq", 6, iterations=9, seed=4).vectors
    np.testing.assert_array_equal(codes, binary_codes(X, fit_itq(X[:58], 6, 9, 4)))
    half = EmbeddingStore.write(tmp_path / "half", X[:30], [str(row) for row in range(30)])
    codes = write_baseline(store, tmp_path / "other", "itq", 6, learn_from=half).vectors
    np.testing.assert_array_equal(codes, binary_codes(X, fit_itq(X[:30], 6)))


def test_wrong_calls(tmp_path: Path):
    store = store_of(tmp_path)
    with pytest.raises(UnknownNameError, match="did you mean 'itq'"):
        write_baseline(store, tmp_path / "codes", "ipq", 8)
    with pytest.raises(InputError, match="holds the vectors themselves"):
        write_baseline(store, tmp_path / "vectors", "lsh", 8)
    half = EmbeddingStore.write(tmp_path / "half", X[:30], [str(row) for row in range(30)])
    with pytest.raises(InputError, match="holds the vectors themselves"):
        write_baseline(store, tmp_path / "half", "lsh", 8, learn_from=half)
    with pytest.raises(InputError, match="ask for fewer bits, or use lsh"):
        write_baseline(store, tmp_path / "codes", "itq", 11)
    assert not (tmp_path / "codes").exists()
