"""An index with stages: what is served is what is evaluated, before and after it is saved."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pertinent import EmbeddingStore, Index, Pipeline, Relevance, evaluate
from pertinent.data.table import Judgement
from pertinent.engine.fitting import fitted_pipeline
from pertinent.engine.ranking import Ranking, evaluate_ranking
from pertinent.errors import ConfigError, InputError, StorageError
from pertinent.store import StoreLabels

RNG = np.random.default_rng(0)
CENTRES, LABELS = RNG.standard_normal((5, 6)), np.arange(40) % 5
VECTORS = (CENTRES[LABELS] + RNG.standard_normal((40, 6))).astype(np.float32)
QUERIES = (CENTRES + RNG.standard_normal((5, 6))).astype(np.float32)
FULL = "lw_whiten(dims=4), dba(k=3), alpha_qe(k=3), k_reciprocal(top=15, k1=5)"
WORDS = ["", "pca_whiten(dims=4)", "dba(k=3)", "alpha_qe(k=3)", "diffusion(top=9, k=4)", FULL]


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    labels = StoreLabels("classes", LABELS, ["kind"], [list("vwxyz")])
    return EmbeddingStore.write(tmp_path / "store", unit, [f"i{i}" for i in range(40)], labels=labels)


@pytest.mark.parametrize("words", WORDS)
def test_the_served_ranking_is_the_evaluated_one(store: EmbeddingStore, tmp_path: Path, words: str):
    pipeline = fitted_pipeline(words, store)
    index = Index.build(store, pipeline=pipeline)
    index.save(tmp_path / "index")
    opened = Index.open(tmp_path / "index")
    assert (opened.pipeline.words, opened.pipeline.fingerprint) == (pipeline.words, pipeline.fingerprint)
    relevance = Relevance.classes(np.arange(5), LABELS)
    evaluated = evaluate(QUERIES, store.vectors, pipeline=pipeline, relevance=relevance, metrics=["ap", "ap@r", "r@1"])
    for one in (index, opened):
        hits = one.search(QUERIES, k=40)
        served = evaluate_ranking(
            Ranking(hits.positions, 40, hits.scores), relevance=relevance, metrics=["ap", "ap@r", "r@1"]
        )
        for name, values in evaluated.per_query.items():
            np.testing.assert_allclose(served.per_query[name], values, atol=1e-12)
        few = one.search(QUERIES, k=3)
        np.testing.assert_array_equal(few.positions, hits.positions[:, :3])
        assert few.ids == [[f"i{place}" for place in row] for row in few.positions.tolist()]


def test_items_that_stages_change_are_memory_mapped_beside_the_index(store: EmbeddingStore, tmp_path: Path):
    Index.build(store, pipeline=fitted_pipeline(FULL, store)).save(tmp_path / "index")
    opened = Index.open(tmp_path / "index")
    assert isinstance(opened.items, np.memmap)
    assert opened.items.shape == (40, 4)
    Index.build(store, pipeline=fitted_pipeline("alpha_qe", store)).save(tmp_path / "plain")
    assert not (tmp_path / "plain" / "vectors.npy").exists()
    assert Index.open(tmp_path / "plain").structure.vectors.base is not None


def test_an_index_is_built_again_with_other_stages_or_none(store: EmbeddingStore, tmp_path: Path):
    for words in (FULL, "", "alpha_qe", "pca_whiten"):
        Index.build(store, pipeline=fitted_pipeline(words, store)).save(tmp_path / "index")
        assert Index.open(tmp_path / "index").pipeline.stages == Pipeline.parse(words).stages


def test_index_and_store_move_together(store: EmbeddingStore, tmp_path: Path):
    Index.build(store, pipeline=fitted_pipeline(FULL, store)).save(tmp_path / "index")
    want = Index.open(tmp_path / "index").search(QUERIES).ids
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("store", "index"):
        (tmp_path / name).rename(moved / name)
    assert Index.open(moved / "index").search(QUERIES).ids == want


def test_damage_is_found(store: EmbeddingStore, tmp_path: Path):
    def saved() -> Path:
        Index.build(store, pipeline=fitted_pipeline(FULL, store)).save(tmp_path / "index")
        return tmp_path / "index"

    folder = saved()
    np.save(folder / "vectors.npy", np.zeros((3, 4), np.float32))
    with pytest.raises(StorageError, match=r"vectors.npy is damaged: it holds float32 \(3, 4\); build"):
        Index.open(folder)
    (folder / "vectors.npy").unlink()
    with pytest.raises(StorageError, match=r"vectors\.npy"):
        Index.open(folder)
    (saved() / "pipeline" / "whitening.safetensors").unlink()
    with pytest.raises(StorageError, match=r"the pipeline in .* is damaged"):
        Index.open(folder)
    Pipeline.parse("dba").save(saved() / "pipeline")
    with pytest.raises(StorageError, match="was built with other stages than lie in it; build it again"):
        Index.open(folder)
    facts = json.loads((saved() / "index.json").read_text())
    assert facts["pipeline"] == fitted_pipeline(FULL, store).fingerprint


def test_a_pipeline_that_does_not_fit(store: EmbeddingStore):
    with pytest.raises(InputError, match="its whitening has learned nothing yet"):
        Index.build(store, pipeline=Pipeline.parse("pca_whiten"))
    with pytest.raises(InputError, match="takes vectors of 4 numbers"):
        Index.build(store, pipeline=Pipeline.parse("pca_whiten").fit(VECTORS[:, :4]))


def test_stages_from_words_or_from_a_folder(store: EmbeddingStore, tmp_path: Path):
    made = fitted_pipeline("lw_whiten(dims=3)", store)
    assert (
        made.fingerprint
        == Pipeline.parse("lw_whiten(dims=3)").fit(store.vectors, Relevance.classes(LABELS)).fingerprint
    )
    made.save(tmp_path / "stages")
    Index.build(store, pipeline=made).save(tmp_path / "index")
    for folder in ("stages", "index"):
        assert fitted_pipeline(str(tmp_path / folder), store).fingerprint == made.fingerprint
    for words in (str(tmp_path / "stages"), "alpha_qe"):
        with pytest.raises(InputError, match=r"nothing in .* is left to be learned from .*store"):
            fitted_pipeline(words, store, store)
    other = EmbeddingStore.write(tmp_path / "other", QUERIES, list("abcde"))
    learned = fitted_pipeline("pca_whiten", store, other).fingerprint
    assert learned == Pipeline.parse("pca_whiten").fit(QUERIES).fingerprint
    with pytest.raises(ConfigError, match="cannot be read"):
        fitted_pipeline("dba(", store)
    judgements = [Judgement(query, (query + 5, query + 10)) for query in range(5)]
    names = [str(i) for i in range(40)]
    judged = EmbeddingStore.write(
        tmp_path / "judged", VECTORS, names, labels=StoreLabels("judged", judgements=judgements)
    )
    relevance = Relevance.judged(judgements, n_items=40)
    assert (
        fitted_pipeline("lw_whiten", judged).fingerprint
        == Pipeline.parse("lw_whiten").fit(VECTORS, relevance).fingerprint
    )
    unlabelled = EmbeddingStore.write(tmp_path / "bare", VECTORS, names)
    assert fitted_pipeline("pca_whiten", unlabelled).fitted
    with pytest.raises(InputError, match="these vectors have none; use pca_whiten"):
        fitted_pipeline("lw_whiten", unlabelled)
