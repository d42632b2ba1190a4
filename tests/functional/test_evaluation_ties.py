"""Expected values over tied items against the mean over every order, tried one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from oracles import ranking
from pertinent.engine.ranker import rank_block
from pertinent.functional.ties import _hypergeometric
from pertinent.metrics import METRICS
from pertinent.metrics._metric import Metric
from pertinent.metrics._parse import parse_metrics
from pertinent.relevance import Relevance

CUTS = (1, 2, 3, 5, 7, 20)


def all_spellings():
    """Every ranking metric, with several cuts where it takes one."""
    found = []
    for name in METRICS.names():
        metric = METRICS.get(name)
        if isinstance(metric, Metric):
            for spelling in metric.conventions:
                found += [spelling.replace("@K", f"@{cut}") for cut in CUTS] if "@K" in spelling else [spelling]
    return found


# Scores and levels of one query; groups of equals are small, so that all their orders can be tried.
CASES = {
    "one group": ([1, 1, 1, 1, 1], [0, 1, 0, 1, 0]),
    "no ties": ([5, 4, 3, 2, 1], [0, 1, 0, 2, 1]),
    "all relevant": ([1, 1, 1, 0, 0], [1, 1, 1, 1, 1]),
    "levels": ([2, 2, 2, 1, 1, 1, 1, 0], [1, 0, 2, 0, 3, 1, 0, 2]),
    "late": ([3, 2, 2, 1, 1, 1, 0, 0], [0, 0, 0, 0, 2, 1, 0, 1]),
    "ignored": ([3, 3, 3, 3, 1, 1, 1], [-1, 1, 0, -1, 0, 2, -1]),
    "mixed": ([4, 4, 3, 3, 3, 3, 2, 1, 1], [1, 0, 0, 2, 1, 0, 3, 0, 1]),
    "nothing relevant": ([1, 1, 0], [0, 0, 0]),
    "one item": ([1], [1]),
    "top level missing": ([2, 2, 2, 2, 1, 1], [1, 0, 1, 0, 1, 2]),
}


def block_of(scores, levels):
    """The case as a tree, so that it goes the way of a user's data: levels are counts of equal columns."""
    top = max(1, *levels)
    labels = [[7 if level >= top - column else 8 + item for column in range(top)] for item, level in enumerate(levels)]
    keep = [item for item, level in enumerate(levels) if level >= 0]
    rel = Relevance.tree(np.full((1, top), 7), np.array(labels)[keep])
    return rank_block(np.array([scores], np.float64)[:, keep], rel, slice(0, 1))


@pytest.mark.parametrize("case", CASES)
def test_every_metric_is_the_mean_over_all_orders(case):
    scores, levels = CASES[case]
    ranked = block_of(scores, levels)
    gains = ranked.gains[0].tolist()
    for request in parse_metrics(all_spellings()):
        got = request.metric(ranked, request.cut, expected=True)[0]
        want = ranking.expected(request.name, scores, levels, gains)
        assert got == pytest.approx(want, rel=1e-12, abs=1e-14, nan_ok=True), request.name


@pytest.mark.parametrize("case", CASES)
def test_best_and_worst_orders(case):
    scores, levels = CASES[case]
    ranked = block_of(scores, levels)
    gains = ranked.gains[0].tolist()
    # Gains grow with the level here, so that best first is best for H-AP too.
    monotone = gains == sorted(gains)
    for request in parse_metrics(all_spellings()):
        low, high = ranking.bounds(request.name, scores, levels, gains)
        worst = request.metric(ranked.irrelevant_first, request.cut)[0]
        best = request.metric(ranked.relevant_first, request.cut)[0]
        if math.isnan(low):
            assert math.isnan(worst)
        elif request.metric.bounded and (monotone or request.spelling[:3] != "hap"):
            assert (worst, best) == pytest.approx((low, high), rel=1e-12), request.name
        else:
            assert low - 1e-12 <= worst <= high + 1e-12


def test_random_cases_with_many_queries_in_a_block():
    rng = np.random.default_rng(0)
    labels, theirs = rng.integers(0, 3, (40, 2)), rng.integers(0, 3, (9, 2))
    rel = Relevance.tree(labels, theirs, weights="map", alpha=[0.3, 0.7])
    scores = rng.integers(0, 4, (40, 9)).astype(np.float64)
    ranked = rank_block(scores.copy(), rel, slice(None))
    levels = rel.block(slice(None), slice(None))
    for request in parse_metrics(all_spellings()):
        got = request.metric(ranked, request.cut, expected=True)
        for query in range(0, 40, 8):
            few = max(np.bincount(scores[query].astype(int))) <= 4
            if few:
                want = ranking.expected(
                    request.name, scores[query].tolist(), levels[query].tolist(), ranked.gains[query].tolist()
                )
                assert got[query] == pytest.approx(want, rel=1e-12, abs=1e-14, nan_ok=True), request.name


def test_without_ties_expected_is_plain():
    rng = np.random.default_rng(1)
    rel = Relevance.tree(rng.integers(0, 4, (30, 2)))
    ranked = rank_block(rng.standard_normal((30, 30)), rel, slice(None))
    assert ranked.tied is None
    assert not ranked.has_ties.any()
    for request in parse_metrics(all_spellings()):
        np.testing.assert_allclose(
            request.metric(ranked, request.cut, expected=True), request.metric(ranked, request.cut),
            rtol=1e-12, err_msg=request.name,
        )  # fmt: skip


@pytest.mark.parametrize(("size", "relevant", "drawn"), [(5, 2, 3), (7, 7, 2), (6, 1, 6), (90_000, 40_000, 2500)])
def test_hypergeometric_probabilities(size, relevant, drawn):
    low, odds = _hypergeometric(size, relevant, drawn)
    number = low + np.arange(len(odds))
    assert odds.sum() == pytest.approx(1)
    assert (odds * number).sum() == pytest.approx(drawn * relevant / size)
    want = [
        math.comb(relevant, h) * math.comb(size - relevant, drawn - h) / math.comb(size, drawn)
        for h in number.tolist()
        if size < 100
    ]
    if want:
        np.testing.assert_allclose(odds, want, rtol=1e-12)
