"""`Pipeline`: order, fitting, both sides, re-ranking, and files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from oracles import post_processing as oracle
from pertinent import Relevance, pipeline
from pertinent.errors import InputError, StorageError
from pertinent.functional.neighbours import nearest, unit_rows
from pertinent.functional.whitening import (
    Whitening,
    lw_whitening,
    pca_whitening,
    principal_components,
    whiten,
)
from pertinent.pipeline import Pipeline
from pertinent.stages.lw_whiten import matching_pairs

RNG = np.random.default_rng(0)
CENTRES = RNG.standard_normal((6, 8))
LABELS = np.arange(60) % 6
ITEMS = (CENTRES[LABELS] + RNG.standard_normal((60, 8))).astype(np.float32)
QUERIES = (CENTRES + RNG.standard_normal((6, 8))).astype(np.float32)
MATCHES = Relevance.classes(LABELS)
ALL = (
    "pca_whiten(p=0.25, dims=7), lw_whiten(dims=5), dba(k=3, alpha=2.0), alpha_qe(k=4, alpha=3.0), "
    "k_reciprocal(top=20, k1=5, k2=3, weight=0.3)"
)


def search_of(items):
    return lambda queries, k: nearest(queries, items, k)


def ranked(pipeline: Pipeline, queries=QUERIES, vectors=ITEMS, k=60):
    items = pipeline.items(vectors)
    search = search_of(items)
    return pipeline.rank(pipeline.queries(queries, items, search), items, search, k)


def test_words_are_read_and_written_alike():
    made = Pipeline.parse(ALL)
    assert made.words == ALL
    assert repr(made) == f"Pipeline.parse({ALL!r})"
    assert Pipeline.parse("dba").words == "dba(k=10, alpha=3.0)"
    assert (Pipeline.parse("").words, Pipeline().fitted, Pipeline().depth) == ("", True, 0)
    assert (made.fitted, made.depth) == (False, 20)


def test_the_order_of_roles_is_kept_and_the_right_one_told():
    with pytest.raises(InputError, match=r"the order that works: lw_whiten\(.*\), dba\(.*\), alpha_qe\(.*\)$"):
        Pipeline.parse("alpha_qe, dba, lw_whiten")


def test_without_stages_vectors_are_only_normalised():
    np.testing.assert_array_equal(Pipeline().items(ITEMS), unit_rows(ITEMS))
    unit = unit_rows(ITEMS)
    unit[3] = 0
    assert Pipeline.parse("alpha_qe").items(unit) is unit
    scores, positions = ranked(Pipeline(), k=5)
    assert positions.tolist() == [oracle.nearest(query, ITEMS, 5) for query in QUERIES]
    assert (scores.dtype, positions.dtype) == (np.float32, np.int64)


def test_whitenings_learn_in_order_and_process_both_sides():
    fitted = Pipeline.parse("pca_whiten(p=.25, dims=7), lw_whiten(dims=5)").fit(ITEMS, MATCHES)
    first = pca_whitening(principal_components(ITEMS), 0.25, 7)
    between = whiten(ITEMS, first)
    second = lw_whitening(between, *matching_pairs(MATCHES), dims=5)
    np.testing.assert_allclose(fitted.learned[1].projection, second.projection, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(fitted.items(ITEMS), whiten(between, second), atol=1e-6)
    queries = fitted.queries(QUERIES, ITEMS, search_of(ITEMS))
    np.testing.assert_allclose(queries, whiten(whiten(QUERIES, first), second), atol=1e-6)


def test_augmentation_and_expansion_read_what_came_before():
    fitted = Pipeline.parse("pca_whiten(dims=6), dba(k=3, alpha=2), alpha_qe(k=4, alpha=1)").fit(ITEMS)
    white = whiten(ITEMS, fitted.learned[0])
    items = [oracle.expand(x, white, oracle.nearest(x, white, 3, own), 2) for own, x in enumerate(white)]
    np.testing.assert_allclose(fitted.items(ITEMS), items, atol=1e-5)
    queries = whiten(QUERIES, fitted.learned[0])
    want = [oracle.expand(x, items, oracle.nearest(x, items, 4), 1) for x in queries]
    np.testing.assert_allclose(fitted.queries(QUERIES, np.array(items), search_of(np.array(items))), want, atol=1e-5)


def test_reranking_orders_the_top_anew_and_leaves_the_rest():
    made = Pipeline.parse("k_reciprocal(top=20, k1=5, k2=3)")
    scores, positions = ranked(made)
    for row, query in enumerate(QUERIES):
        before = oracle.nearest(query, ITEMS, 60)
        distances = oracle.k_reciprocal(query, ITEMS[before[:20]], 5, 3, 0.3)
        after = [before[place] for place in np.argsort(distances, kind="stable")]
        assert positions[row].tolist() == after + before[20:]
        np.testing.assert_allclose(scores[row, :20], 1 - np.sort(distances), atol=1e-5)
    assert (np.diff(scores) <= 0).all()


@pytest.mark.parametrize("words", [ALL, "diffusion(top=15, k=5), k_reciprocal(top=9)", "alpha_qe(k=3), alpha_qe(k=5)"])
def test_the_first_of_a_long_list_are_a_short_list(words):
    made = Pipeline.parse(words).fit(ITEMS, MATCHES)
    long, short = ranked(made), ranked(made, k=7)
    np.testing.assert_array_equal(long[1][:, :7], short[1])
    np.testing.assert_array_equal(long[0][:, :7], short[0])
    assert (np.diff(long[0]) <= 0).all()
    assert (np.sort(long[1]) == np.arange(60)).all()


@pytest.mark.parametrize("words", [ALL, "diffusion(top=15, k=5)"])
def test_order_of_the_gallery_and_company_of_queries_have_no_say(words):
    made, mixed = Pipeline.parse(words).fit(ITEMS, MATCHES), RNG.permutation(60)
    _, ours = ranked(made, k=10)
    _, theirs = ranked(made, vectors=ITEMS[mixed], k=10)
    np.testing.assert_array_equal(mixed[theirs], ours)
    alone = [ranked(made, queries=QUERIES[row : row + 1], k=10)[1][0] for row in range(6)]
    np.testing.assert_array_equal(alone, ours)


@pytest.mark.parametrize(
    "words", ["dba(k=0)", "alpha_qe(k=0)", "k_reciprocal(top=0)", "diffusion(top=0)", "diffusion(top=1)"]
)
def test_nothing_asked_for_changes_nothing(words):
    _, positions = ranked(Pipeline.parse(words))
    np.testing.assert_array_equal(positions, ranked(Pipeline())[1])


@pytest.mark.parametrize("stage", ["dba(k=99)", "alpha_qe(k=99)", "k_reciprocal(top=999)", "diffusion(top=999, k=99)"])
@pytest.mark.parametrize("items", [ITEMS[:1], np.zeros((3, 8), np.float32), np.ones((5, 8), np.float16), ITEMS[:4]])
def test_small_zero_and_equal_collections_are_finite(stage, items):
    scores, positions = ranked(Pipeline.parse(stage), queries=np.concatenate([QUERIES, 0 * QUERIES]), vectors=items)
    assert np.isfinite(scores).all()
    assert (np.sort(positions) == np.arange(len(items))).all()


def test_places_that_hold_no_item_stay_at_the_end():
    made = Pipeline.parse("k_reciprocal(top=9, k1=3)")
    items = made.items(ITEMS)

    def search(queries, k):
        scores, positions = nearest(queries, items, k)
        scores[:, 4:], positions[:, 4:] = -np.inf, -1
        return scores, positions

    scores, positions = made.rank(unit_rows(QUERIES), items, search, 12)
    assert (positions[:, 4:] == -1).all()
    assert (scores[:, 4:] == -np.inf).all()
    np.testing.assert_array_equal(np.sort(positions[:, :4]), np.sort(nearest(QUERIES, ITEMS, 4)[1]))


def test_large_collections_go_through_a_temporary_file(monkeypatch, tmp_path):
    np.save(tmp_path / "items.npy", ITEMS.astype(np.float16))
    mapped = np.load(tmp_path / "items.npy", mmap_mode="r")
    made = Pipeline.parse("pca_whiten, dba(k=2)").fit(mapped)
    small = made.items(mapped)
    monkeypatch.setattr(pipeline, "MEMORY_BYTES", 100)
    monkeypatch.setattr(pipeline, "ROWS", 7)
    large = made.items(mapped)
    assert isinstance(large, np.memmap)
    np.testing.assert_allclose(large, small, atol=1e-6)


def test_what_is_not_fitted_cannot_process():
    made = Pipeline.parse("pca_whiten")
    for call in (lambda: made.items(ITEMS), lambda: made.queries(QUERIES, ITEMS, search_of(ITEMS))):
        with pytest.raises(InputError, match=r"pca_whiten\(.*\): its whitening has learned nothing yet; call fit"):
            call()
    with pytest.raises(InputError, match="there are 1 whitenings, and 2 were learned"):
        Pipeline(made.stages, [Whitening(np.zeros(8), np.eye(8))] * 2)
    with pytest.raises(InputError, match="takes vectors of 8 numbers"):
        made.fit(ITEMS).items(ITEMS[:, :5])


def test_published_whitening_can_be_given():
    made = Pipeline(Pipeline.parse("pca_whiten").stages, [Whitening(np.ones(8), np.eye(8)[:3])])
    np.testing.assert_allclose(made.items(ITEMS), unit_rows(ITEMS[:, :3] - 1), atol=1e-6)


def test_saved_and_loaded_it_does_the_same(tmp_path: Path):
    made = Pipeline.parse(ALL).fit(ITEMS, MATCHES)
    made.save(tmp_path / "stages")
    loaded = Pipeline.load(tmp_path / "stages")
    assert (loaded.words, loaded.fingerprint) == (made.words, made.fingerprint)
    for ours, theirs in zip(ranked(made), ranked(loaded), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    unfitted = Pipeline.parse(ALL)
    unfitted.save(tmp_path / "stages")
    assert not Pipeline.load(tmp_path / "stages").fitted


def test_fingerprints_tell_apart_options_and_what_was_learned():
    prints = [
        Pipeline.parse(words).fit(vectors).fingerprint
        for words in ("pca_whiten", "pca_whiten(p=.5)", "pca_whiten, dba")
        for vectors in (ITEMS, QUERIES)
    ]
    assert len({*prints, Pipeline().fingerprint}) == 7
    assert Pipeline.parse("pca_whiten").fit(ITEMS).fingerprint == prints[0]


def test_damage_is_found(tmp_path: Path):
    folder = tmp_path / "stages"
    with pytest.raises(StorageError, match=r"holds no pipeline \(pipeline.json is missing\)"):
        Pipeline.load(folder)
    Pipeline.parse("pca_whiten").fit(ITEMS).save(folder)
    good = json.loads((folder / "pipeline.json").read_text())
    dba = {"name": "dba", "options": {"k": -1}}
    changes = [{"format": 9}, {"stages": [dba]}, {"stages": [{"name": "no"}]}, {"stages": 3}, {"learned": 2}]
    for change, said in zip(changes, ["pipeline format 9", *["damaged"] * 4], strict=True):
        (folder / "pipeline.json").write_text(json.dumps(good | change))
        with pytest.raises(StorageError, match=said):
            Pipeline.load(folder)
    (folder / "pipeline.json").write_text(json.dumps(good))
    tensors = load_file(folder / "whitening.safetensors")
    save_file({**tensors, "0.mean": tensors["0.mean"] + 1}, folder / "whitening.safetensors")
    with pytest.raises(StorageError, match="another fingerprint than it states"):
        Pipeline.load(folder)
    (folder / "whitening.safetensors").write_bytes(b"\x00" * 9)
    with pytest.raises(StorageError, match="damaged"):
        Pipeline.load(folder)
    (folder / "whitening.safetensors").unlink()
    with pytest.raises(StorageError, match="damaged"):
        Pipeline.load(folder)
