from __future__ import annotations

import numpy as np
import pytest

from pertinent.errors import InputError, UnknownNameError
from pertinent.functional.positives import Lists
from pertinent.functional.rank import RankedBlock
from pertinent.metrics import METRICS
from pertinent.metrics._parse import parse_metric, parse_metrics, per_level, spellings


def test_every_file_holds_a_metric_whose_spellings_lead_back_to_it():
    for name in METRICS.names():
        metric = METRICS.get(name)
        assert METRICS.entries[name].summary.endswith(".")
        for spelling in metric.conventions:
            request = parse_metric(spelling.replace("@K", "@12"))
            assert request.metric is metric
            assert request.name == spelling.replace("@K", "@12")
            assert ("12" in request.convention) == ("K" in metric.conventions[spelling])
    assert len(spellings()) == len(set(spellings()))


def test_parts_of_a_name():
    request = parse_metric("ap@1000/hits.2")
    assert (request.spelling, request.cut, request.level) == ("ap@K/hits", 1000, 2)
    assert request.name == "ap@1000/hits.2"
    assert "count 0" in request.convention
    assert [one.name for one in parse_metrics(["ap", "r@1", "ap"])] == ["ap", "r@1"]
    assert [one.name for one in per_level(parse_metrics(["hap", "ap", "ap.0"]), 2)] == ["hap", "ap.0", "ap.1"]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("happ", "hap"),
        ("recall@10", "r@10"),
        ("ap_r", "ap@r"),
        ("ap_hits", "ap"),
        ("asi@3", "asi"),
        ("ap/hits", "ap@K/hits"),
        ("hap@3/hits", "hap@3"),
        ("AP", "known: "),
        ("", "known: "),
        ("ap@-1", "ap"),
    ],
)
def test_unknown_names_suggest_the_nearest(name, near):
    with pytest.raises(UnknownNameError, match=f"unknown metric {name!r}.*{near}"):
        parse_metrics([name])


def test_a_cut_counts_items():
    with pytest.raises(InputError, match="at least 1"):
        parse_metrics(["ndcg@0"])


def test_a_block_by_hand():
    """One query with relevant items at ranks 1, 3 and 6 of 7; one without any."""
    ranked = RankedBlock(
        Lists(np.array([0, 3, 3]), np.array([4, 0, 2])),
        np.array([1, 3, 6]),
        np.ones(3, np.int64),
        np.array([[4, 3], [7, 0]]),
        np.array([[0.0, 1 / 3], [0.0, 0.0]]),
    )
    first, third, sixth = 1.0, 2 / 3, 3 / 6
    want = {
        "ap": (first + third + sixth) / 3,
        "ap@3": (first + third) / 3,
        "ap@2": first / 2,
        "ap@3/hits": (first + third) / 2,
        "ap@3/all": (first + third) / 3,
        "ap@r": (first + third) / 3,
        "ap_trapezoid": (first + (1 / 2 + third) / 2 + (2 / 5 + sixth) / 2) / 3,
        "rp": 2 / 3,
        "r@1": 1.0,
        "p@2": 1 / 2,
        "p@10": 3 / 10,
        "topn@4": 2 / 4,
        "mp@10": 3 / 6,
        "mrr": 1.0,
        "hap": (first + third + sixth) / 3,
        "hap@3": (first + third) / 3,
        "asi": (first + 1 / 2 + 2 / 3) / 3,
        "ndcg@2": 1 / (1 + 1 / np.log2(3)),
        "acg@4": 2 / 4,
        "wap@3": (first + third) / 2,
    }
    for request in parse_metrics(want):
        values = request.metric(ranked, request.cut)
        assert values[0] == pytest.approx(want[request.name], abs=1e-15), request.name
        np.testing.assert_equal(values[1], request.metric.nothing_relevant)
