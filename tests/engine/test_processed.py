"""Measuring through a pipeline (`evaluate`, `engine/processed.py`): the evaluated ranking is the served one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracles.post_processing import nearest as plain_nearest
from pertinent import Relevance, evaluate
from pertinent.engine.evaluate import evaluate_all
from pertinent.engine.ranking import Ranking, evaluate_ranking
from pertinent.errors import InputError, UnknownNameError
from pertinent.functional.neighbours import nearest
from pertinent.pipeline import Pipeline

METRICS = ["ap", "r@1", "r@5", "ap@r"]
STAGES = [
    "",
    "pca_whiten(dims=5)",
    "lw_whiten",
    "dba(k=3)",
    "alpha_qe(k=3)",
    "pca_whiten, dba(k=2), alpha_qe(k=2, alpha=0)",
    "k_reciprocal(top=12, k1=5)",
    "pca_whiten, alpha_qe(k=3), diffusion(top=15, k=4), k_reciprocal(top=8, k1=3)",
]


def collection(seed: int, n: int = 50, q: int = 9):
    rng = np.random.default_rng(seed)
    centres, labels = rng.standard_normal((5, 7)), rng.integers(0, 5, n + q)
    x = (centres[labels] + rng.standard_normal((n + q, 7))).astype(np.float32)
    return x[n:], x[:n], labels[n:], labels[:n]


def measured(pipeline: Pipeline, queries, gallery, relevance: Relevance):
    return evaluate_all(queries, gallery, pipeline=pipeline, relevances={"": relevance}, metrics=METRICS)[""]


def served(pipeline: Pipeline, queries, gallery):
    """The whole ranking as an index serves it."""
    items = pipeline.items(gallery)

    def search(x, k):
        return nearest(x, items, k)

    return pipeline.rank(pipeline.queries(queries, items, search), items, search, len(gallery))[1]


@given(st.integers(0, 2**32 - 1), st.sampled_from(STAGES))
def test_the_evaluated_ranking_is_the_served_one(seed, words):
    queries, gallery, mine, theirs = collection(seed)
    pipeline = Pipeline.parse(words).fit(gallery, Relevance.classes(theirs))
    relevance = Relevance.classes(mine, theirs)
    report = measured(pipeline, queries, gallery, relevance)
    positions = served(pipeline, queries, gallery)
    want = evaluate_ranking(Ranking(positions, len(gallery)), relevance=relevance, metrics=METRICS)
    for name in METRICS:
        np.testing.assert_allclose(report.per_query[name], want.per_query[name], atol=1e-12)


@pytest.mark.parametrize("words", STAGES)
def test_a_query_of_the_gallery_is_left_out_at_every_step(words):
    """As if each query were searched for in a gallery without it, but for what was made of the gallery at first."""
    _, gallery, _, labels = collection(0, n=30)
    pipeline = Pipeline.parse(words).fit(gallery, Relevance.classes(labels))
    report = measured(pipeline, gallery, None, Relevance.classes(labels))
    items = pipeline.items(gallery)
    after = Pipeline(pipeline.expanders + pipeline.rerankers)
    whitened = Pipeline(pipeline.whiteners, pipeline.learned).items(gallery)
    for own in range(30):
        others = np.delete(np.arange(30), own)
        positions = others[served(after, whitened[own : own + 1], items[others])]
        ranking = Ranking(positions, 30)
        relevance = Relevance.classes(labels[own : own + 1], labels, query_positions=[own])
        want = evaluate_ranking(ranking, relevance=relevance, metrics=METRICS)
        for name in METRICS:
            np.testing.assert_allclose(report.per_query[name][own], want.per_query[name][0], atol=1e-12)


def test_without_stages_it_is_evaluation_by_cosine():
    queries, gallery, mine, theirs = collection(1)
    relevance = Relevance.classes(mine, theirs)
    assert dict(measured(Pipeline(), queries, gallery, relevance).mean) == dict(
        evaluate(queries, gallery, relevance=relevance, metrics=METRICS).mean
    )
    report = measured(Pipeline.parse("dba(k=2)"), queries, gallery, relevance)
    assert report.similarity == "cosine after dba(k=2, alpha=3.0)"


def test_protocols_are_measured_at_once_and_junk_is_left_out_after_ranking():
    queries, gallery, _, _ = collection(2, q=2)
    order = [plain_nearest(query, gallery, 50) for query in queries]
    records = [{"easy": row[3:6], "hard": row[8:10], "junk": row[:2]} for row in order]
    relevances = {name: Relevance.judged(records, name, n_items=50) for name in ("easy", "medium")}
    for words in ("alpha_qe(k=0)", "k_reciprocal(weight=1.0)"):
        reports = evaluate_all(
            queries, gallery, pipeline=Pipeline.parse(words), relevances=relevances, metrics=["ap_trapezoid", "mrr"]
        )
        assert list(reports) == ["easy", "medium"]
        assert reports["easy"].mean["mrr"] == pytest.approx(1 / 2)
        for name, relevance in relevances.items():
            plain = evaluate(queries, gallery, relevance=relevance, metrics=["ap_trapezoid"])
            assert reports[name].mean["ap_trapezoid"] == pytest.approx(plain.mean["ap_trapezoid"])


def test_a_whitening_helps_where_one_direction_drowns_the_rest():
    queries, gallery, mine, theirs = collection(3, n=200, q=40)
    drowning = np.random.default_rng(0).standard_normal((240, 1)) * 30 @ np.ones((1, 7))
    queries, gallery = queries + drowning[:40], gallery + drowning[40:]
    relevance = Relevance.classes(mine, theirs)
    values = {
        words: measured(Pipeline.parse(words).fit(gallery), queries, gallery, relevance).mean["ap"]
        for words in ("", "pca_whiten(p=.5)", "pca_whiten(p=.5), dba(k=5), alpha_qe(k=5)")
    }
    assert values[""] + 0.1 < values["pca_whiten(p=.5)"] < values["pca_whiten(p=.5), dba(k=5), alpha_qe(k=5)"]


def test_cluster_metrics_are_of_the_processed_vectors():
    _, gallery, _, labels = collection(4)
    made = Pipeline.parse("pca_whiten").fit(gallery)
    relevances = {"": Relevance.classes(labels)}
    report = evaluate_all(gallery, pipeline=made, relevances=relevances, metrics=["nmi"])[""]
    assert report.mean["nmi"] == evaluate(made.items(gallery), relevance=relevances[""], metrics=["nmi"]).mean["nmi"]
    with pytest.raises(InputError, match="'nmi' compares vectors, which re-ranking leaves"):
        evaluate_all(gallery, pipeline=Pipeline.parse("diffusion"), relevances=relevances, metrics=["nmi"])


@pytest.mark.parametrize("words", ["alpha_qe(k=2)", "k_reciprocal(top=5, k1=3)"])
def test_blocks_do_not_matter_and_progress_is_told(words):
    queries, gallery, mine, theirs = collection(6)
    told: list[tuple[int, int]] = []
    how = {"relevance": Relevance.classes(mine, theirs), "metrics": METRICS, "pipeline": Pipeline.parse(words)}
    whole = evaluate(queries, gallery, **how)
    parts = evaluate(queries, gallery, block=2, progress=lambda *done: told.append(done), **how)
    assert told[-1] == (9, 9)
    for name in METRICS:
        np.testing.assert_array_equal(whole.per_query[name], parts.per_query[name])


def test_what_cannot_be_measured():
    queries, gallery, mine, theirs = collection(5)
    relevance = Relevance.classes(mine, theirs)
    with pytest.raises(InputError, match="at least one relevance"):
        evaluate_all(queries, gallery, pipeline=Pipeline(), relevances={}, metrics=METRICS)
    with pytest.raises(InputError, match="made for 9 queries, there are 8"):
        measured(Pipeline(), queries[:8], gallery, relevance)
    with pytest.raises(InputError, match="made for 50 items, the gallery has 49"):
        measured(Pipeline(), queries, gallery[:49], relevance)
    with pytest.raises(InputError, match="queries have 7 dimensions and the gallery 6"):
        measured(Pipeline(), queries, gallery[:, :6], relevance)
    with pytest.raises(InputError, match="compared by cosine, not by 'euclidean'"):
        evaluate(queries, gallery, relevance=relevance, metrics=METRICS, similarity="euclidean", pipeline=Pipeline())
    with pytest.raises(InputError, match="its whitening has learned nothing yet"):
        measured(Pipeline.parse("pca_whiten"), queries, gallery, relevance)
    with pytest.raises(InputError, match="block must be at least 1 query, got 0"):
        evaluate(queries, gallery, relevance=relevance, metrics=METRICS, block=0, pipeline=Pipeline.parse("diffusion"))
    with pytest.raises(UnknownNameError, match="unknown tie rule 'both'"):
        evaluate(queries, gallery, relevance=relevance, metrics=METRICS, ties="both", pipeline=Pipeline())
    gallery[7, 3] = np.nan
    with pytest.raises(InputError, match="gallery row 7 holds NaN"):
        measured(Pipeline(), queries, gallery, relevance)
    with pytest.raises(UnknownNameError, match="unknown metric 'app'"):
        evaluate_all(
            queries,
            queries,
            pipeline=Pipeline.parse("diffusion"),
            relevances={"": Relevance.classes(mine, mine)},
            metrics=["app"],
        )
