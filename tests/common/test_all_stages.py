"""What every registered stage must do, whatever it is; a new stage needs nothing here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pertinent import Pipeline, Relevance
from pertinent.functional.neighbours import nearest
from pertinent.stages import STAGES

RNG = np.random.default_rng(0)
LABELS = np.arange(40) % 4
CENTRES = RNG.standard_normal((4, 6))
ITEMS = (CENTRES[LABELS] + 0.2 * RNG.standard_normal((40, 6))).astype(np.float32)
QUERIES = (CENTRES + 0.2 * RNG.standard_normal((4, 6))).astype(np.float32)

every_stage = pytest.mark.parametrize("name", STAGES.names())


def made(name: str) -> Pipeline:
    return Pipeline.parse(name).fit(ITEMS, Relevance.classes(LABELS))


def ranked(pipeline: Pipeline, queries: np.ndarray, vectors: np.ndarray, k: int = 99) -> tuple[np.ndarray, np.ndarray]:
    items = pipeline.items(vectors)

    def search(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        return nearest(x, items, k)

    return pipeline.rank(pipeline.queries(queries, items, search), items, search, k)


@every_stage
def test_every_item_is_ranked_once_and_scores_fall(name: str):
    scores, positions = ranked(made(name), QUERIES, ITEMS)
    assert (np.sort(positions) == np.arange(40)).all()
    assert np.isfinite(scores).all()
    assert (np.diff(scores) <= 0).all()
    assert LABELS[positions[:, 0]].tolist() == [0, 1, 2, 3]


@every_stage
def test_a_query_is_answered_the_same_alone_and_in_any_gallery_order(name: str):
    pipeline, mixed = made(name), RNG.permutation(40)
    _, together = ranked(pipeline, QUERIES, ITEMS)
    for row in range(4):
        np.testing.assert_array_equal(ranked(pipeline, QUERIES[row : row + 1], ITEMS)[1][0], together[row])
    np.testing.assert_array_equal(mixed[ranked(pipeline, QUERIES, ITEMS[mixed])[1]], together)


@every_stage
def test_a_shorter_list_is_the_start_of_a_longer_one(name: str):
    long, short = (ranked(made(name), QUERIES, ITEMS, k) for k in (40, 5))
    for ours, theirs in zip(long, short, strict=True):
        np.testing.assert_array_equal(ours[:, :5], theirs)


@every_stage
@pytest.mark.parametrize("items", [ITEMS[:1], 0 * ITEMS[:3], np.repeat(ITEMS[:1], 9, axis=0), -ITEMS[:2]])
def test_one_item_zeros_equals_and_few_are_finite(name: str, items: np.ndarray):
    scores, positions = ranked(made(name), np.concatenate([QUERIES, 0 * QUERIES]), items)
    assert np.isfinite(scores).all()
    assert (np.sort(positions) == np.arange(len(items))).all()


@every_stage
def test_half_precision_memory_maps(name: str, tmp_path: Path):
    np.save(tmp_path / "items.npy", ITEMS.astype(np.float16))
    mapped = np.load(tmp_path / "items.npy", mmap_mode="r")
    relevance = Relevance.classes(LABELS)
    narrow, wide = (Pipeline.parse(name).fit(x, relevance) for x in (mapped, np.asarray(mapped, np.float64)))
    ours, theirs = ranked(narrow, QUERIES, mapped), ranked(wide, QUERIES, np.asarray(mapped, np.float64))
    np.testing.assert_array_equal(ours[1], theirs[1])
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-5)


@every_stage
def test_words_files_and_fingerprint(name: str, tmp_path: Path):
    pipeline = made(name)
    assert Pipeline.parse(pipeline.words).words == pipeline.words
    pipeline.save(tmp_path / "stages")
    json.loads((tmp_path / "stages" / "pipeline.json").read_text())
    loaded = Pipeline.load(tmp_path / "stages")
    assert (loaded.stages, loaded.fingerprint) == (pipeline.stages, pipeline.fingerprint)
    for ours, theirs in zip(ranked(pipeline, QUERIES, ITEMS), ranked(loaded, QUERIES, ITEMS), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@every_stage
def test_nothing_given_is_changed(name: str):
    queries, items = QUERIES.copy(), ITEMS.copy()
    ranked(made(name), queries, items)
    np.testing.assert_array_equal(queries, QUERIES)
    np.testing.assert_array_equal(items, ITEMS)
