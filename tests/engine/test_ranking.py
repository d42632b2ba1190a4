from __future__ import annotations

import numpy as np
import pytest

from oracles import ranking as oracle
from pertinent.engine import ranking as engine
from pertinent.engine.evaluate import evaluate
from pertinent.engine.ranking import Ranking, evaluate_ranking
from pertinent.errors import InputError, UnknownNameError
from pertinent.metrics import METRICS
from pertinent.metrics._metric import Metric
from pertinent.relevance import Relevance

CUTS = (1, 4, 9, 200)


def spellings():
    found = []
    for name in METRICS.names():
        metric = METRICS.get(name)
        if isinstance(metric, Metric):
            for spelling in metric.conventions:
                found += [spelling.replace("@K", f"@{cut}") for cut in CUTS] if "@K" in spelling else [spelling]
    return found


def full_lists(scores, ignored=None):
    return np.array([np.argsort(-row, kind="stable") for row in scores])


def cases(rng):
    labels = rng.integers(-1, 4, (60, 2))
    own = np.where(np.arange(25) % 3, np.arange(25), -1)
    gnd = [{"easy": ids[:3], "hard": ids[3:5], "junk": ids[5:12]} for ids in (rng.permutation(60) for _ in range(25))]
    return {
        "tree": Relevance.tree(labels[:25], labels, query_positions=own),
        "classes": Relevance.classes(labels[:25, 0], labels[:, 0]),
        "judged": Relevance.judged(gnd, "medium", n_items=60),
        "tags": Relevance.tags(rng.random((25, 5)) < 0.3, rng.random((60, 5)) < 0.3, graded=True),
    }


@pytest.mark.parametrize("kind", ["tree", "classes", "judged", "tags"])
@pytest.mark.parametrize("depth", [1, 4, 10, 30, 60])
def test_truncation_does_to_each_metric_what_the_report_says(kind, depth, monkeypatch):
    monkeypatch.setattr(engine, "BLOCK_PLACES", 300)
    rng = np.random.default_rng(0)
    relevance = cases(rng)[kind]
    queries, gallery = rng.standard_normal((25, 5)), rng.standard_normal((60, 5))
    whole = evaluate(queries, gallery, relevance=relevance, metrics=spellings(), similarity="dot")
    lists = full_lists(queries @ gallery.T)
    report = evaluate_ranking(Ranking(lists[:, :depth], 60), relevance=relevance, metrics=spellings())
    assert list(report.mean) == list(whole.mean)
    for name, want in whole.per_query.items():
        got, limit = report.per_query[name], report.limits[name]
        if limit == "exact":
            np.testing.assert_allclose(got, want, rtol=1e-12, err_msg=name)
        elif limit.startswith("a lower bound"):
            assert (got[~np.isnan(want)] <= want[~np.isnan(want)] + 1e-12).all(), name
            assert f"{len(got)} queries" in limit
        else:
            assert limit.startswith("undefined")
            known = ~np.isnan(got)
            np.testing.assert_allclose(got[known], want[known], rtol=1e-12, err_msg=name)
    exact = {name for name, limit in report.limits.items() if limit == "exact"}
    if depth == 60:
        assert exact == set(whole.mean)
    if depth == 10 and kind in ("classes", "tags"):
        assert {name for name in whole.mean if "@1" in name or "@4" in name or "@9" in name} <= exact
    if depth == 1:
        assert not exact & {"ap", "hap", "ap_trapezoid", "r@4", "ap@9/hits", "hap@9"}


def test_values_against_the_literal_definition():
    rng = np.random.default_rng(1)
    relevance = Relevance.classes(rng.integers(0, 3, 8), rng.integers(0, 3, 20))
    scores = rng.standard_normal((8, 20))
    report = evaluate_ranking(Ranking(full_lists(scores)[:, :7], 20), relevance=relevance, metrics=["ap@5", "r@7"])
    levels = relevance.block(slice(None), slice(None))
    for name in ("ap@5", "r@7"):
        want = oracle.evaluate(scores, levels, name, lambda *_: [0, 1])
        np.testing.assert_allclose(report.per_query[name], want)
    assert report.ties == "as listed"
    assert report.notes() == []


def test_a_query_in_its_own_list_and_junk_shorten_it():
    relevance = Relevance.classes([0, 1], [0, 1, 0, 1], query_positions=[0, 1])
    report = evaluate_ranking(Ranking([[0, 1, 2], [3, 0, 2]], 4), relevance=relevance, metrics=["r@2", "r@3", "mrr"])
    assert report.per_query["r@2"].tolist() == [1.0, 1.0]
    assert report.per_query["mrr"].tolist() == [0.5, 1.0]
    assert report.limits == {"r@2": "exact", "r@3": "exact", "mrr": "exact"}
    short = evaluate_ranking(Ranking([[0, 1], [0, -1]], 4), relevance=relevance, metrics=["r@2", "mrr", "ap@2/hits"])
    assert short.limits["r@2"] == "a lower bound for 2 of 2 queries, whose lists end too early"
    assert short.limits["ap@2/hits"].startswith("undefined for 2 of 2")
    assert short.skipped == {"r@2": 0, "mrr": 0, "ap@2/hits": 2}
    assert len(short.notes()) == 3


def test_names_instead_of_positions():
    ranking = Ranking.of_ids([["c", "a"], ["b"]], ["a", "b", "c"], np.array([[0.9, 0.1], [0.5, 0.0]]))
    assert ranking.positions.tolist() == [[2, 0], [1, -1]]
    assert len(ranking) == 2
    with pytest.raises(InputError, match="query 1 lists 'z', which is not in the gallery"):
        Ranking.of_ids([["a"], ["z"]], ["a"])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Ranking(np.zeros(3, int), 5), "must be"),
        (lambda: Ranking([[0, 5]], 5), r"0..4"),
        (lambda: Ranking([[0, 1], [2, 2]], 5), "query 1 lists item 2 twice"),
        (lambda: Ranking([[-1, 1]], 5), "only at the end"),
        (lambda: Ranking([[0.5]], 5), "whole numbers"),
        (lambda: Ranking([[0, 1, 2]], 5, np.array([[1.0, 3.0, 2.0]])), "neither fall nor rise"),
        (lambda: Ranking([[0, 1]], 5, np.array([1.0])), "one score a place"),
        (lambda: evaluate_ranking(Ranking([[0]], 4), relevance=Relevance.classes([0], [0]), metrics=["ap"]), "4"),
        (
            lambda: evaluate_ranking(Ranking([[0]], 1), relevance=Relevance.classes([0, 0], [0]), metrics=["ap"]),
            "2 queries, the ranking has 1",
        ),
        (
            lambda: evaluate_ranking(Ranking([[0]], 1), relevance=Relevance.classes([0], [0]), metrics=["nmi"]),
            "needs the vectors",
        ),
    ],
)
def test_errors(make, says):
    with pytest.raises(InputError, match=says):
        make()


def test_unknown_metric():
    with pytest.raises(UnknownNameError, match="hap"):
        evaluate_ranking(Ranking([[0]], 1), relevance=Relevance.classes([0], [0]), metrics=["happ"])


def test_distances_rise_and_padding_is_free():
    Ranking([[0, 1, -1]], 5, np.array([[1.0, 3.0, 0.0]]))
    Ranking(np.zeros((2, 0), int), 5)
