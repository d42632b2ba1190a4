from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from pertinent.engine import compare as engine
from pertinent.engine.compare import by_label, by_tag_count, compare, confidence
from pertinent.engine.report import Report
from pertinent.errors import InputError


def report(**metrics):
    values = {name: np.array(row, np.float64) for name, row in metrics.items()}
    n_queries = len(next(iter(values.values())))
    mean = {name: float(np.nanmean(row)) for name, row in values.items()}
    return Report(mean, values, {}, {}, n_queries, 10, "cosine", "index", {"kind": "classes"})


def test_intervals_hold_the_mean_of_the_population_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(200):
        found = confidence(report(ap=rng.exponential(1.0, 80)), level=0.9, resamples=400, seed=seed)["ap"]
        held += found.low <= 1.0 <= found.high
    assert 165 <= held <= 195


def test_intervals_do_not_depend_on_memory_and_skip_what_is_undefined(monkeypatch):
    one = report(ap=[0.1, 0.9, math.nan, 0.5], nan=[math.nan, math.nan, math.nan, 0.25])
    found = confidence(one)
    assert (found["ap"].mean, found["ap"].queries) == (pytest.approx(0.5), 3)
    assert found["ap"].low < 0.5 < found["ap"].high
    assert (found["nan"].low, found["nan"].high, found["nan"].queries) == (0.25, 0.25, 1)
    monkeypatch.setattr(engine, "DRAWN_AT_A_TIME", 7)
    again = confidence(one)["ap"]
    assert (again.low, again.high) == (found["ap"].low, found["ap"].high)
    empty = replace(one, per_query={"ap": np.full(4, math.nan)})
    assert confidence(empty)["ap"].queries == 0


def test_paired_test_against_all_signs():
    rng = np.random.default_rng(1)
    first, second = rng.random(9), rng.random(9) + 0.2
    second[3] = first[3]
    (found,) = compare(report(ap=first), report(ap=second), resamples=40_000)
    change = second - first
    sums = np.array([change @ signs for signs in itertools.product((-1, 1), repeat=9)])
    want = (np.abs(sums) >= abs(change.sum()) - 1e-12).mean()
    assert found.p == pytest.approx(want, abs=0.01)
    assert found.gain.mean == pytest.approx(change.mean())
    assert found.gain.low < found.gain.mean < found.gain.high
    assert (found.better, found.worse, found.queries) == ((change > 0).sum(), (change < 0).sum(), 9)


def test_only_queries_with_both_values_count():
    first, second = report(ap=[0.5, math.nan, 0.2]), report(ap=[0.6, 0.9, math.nan])
    (found,) = compare(first, second)
    assert (found.first, found.second, found.queries) == (0.5, 0.6, 1)


def test_equal_runs_do_not_differ():
    one = report(ap=[0.5, 0.1], rp=[0.0, 1.0])
    for found in compare(one, one):
        assert (found.p, found.gain.mean, found.better, found.worse) == (1.0, 0.0, 0, 0)
    assert [found.metric for found in compare(one, one, ["rp"])] == ["rp"]


def test_a_clear_gain_is_clear():
    rng = np.random.default_rng(2)
    first = rng.random(300)
    (found,) = compare(report(ap=first), report(ap=first + 0.1 + 0.05 * rng.standard_normal(300)), resamples=1000)
    assert found.p == pytest.approx(1 / 1001)
    assert found.gain.low > 0.09


def test_breakdown_by_label_and_by_number_of_tags():
    one = report(ap=[0.1, 0.3, math.nan, 1.0], rp=[1.0, 1.0, 0.0, 0.0])
    rows = by_label(one, [5, 5, 5, 2])
    assert [(row.name, row.queries) for row in rows] == [("5", 3), ("2", 1)]
    assert rows[0].mean == {"ap": pytest.approx(0.2), "rp": pytest.approx(2 / 3)}
    assert [row.name for row in by_label(one, [1, 0, -1, 1], ["cat", "dog"])] == ["dog", "cat"]
    rows = by_tag_count(one, [[1, 0], [1, 1], [1, 1], [0, 0]])
    assert [(row.name, row.queries) for row in rows] == [("0 tags", 1), ("1 tag", 1), ("2 tags", 2)]
    assert rows[2].mean["ap"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda r: confidence(r, level=1.0), "between 0 and 1"),
        (lambda r: confidence(r, resamples=3), "at least 20"),
        (lambda r: confidence(replace(r, per_query={})), "no per-query values"),
        (lambda r: compare(r, r, ["hap"]), "not both reports have hap"),
        (lambda r: compare(r, report(rp=[0.0, 1.0])), "a metric in common"),
        (lambda r: compare(r, report(ap=[0.0, 1.0, 0.0])), "other test set|different queries"),
        (lambda r: compare(r, replace(r, relevance={"kind": "tree"})), "different queries or relevance"),
        (lambda r: by_label(r, [1]), "one a query"),
        (lambda r: by_label(r, [0, 3], ["a"]), "label 3 has no name"),
        (lambda r: by_tag_count(r, [[1, 0]]), "of the 2 queries, got 1"),
    ],
)
def test_errors(call, says):
    with pytest.raises(InputError, match=says):
        call(report(ap=[0.5, 0.1]))
