from __future__ import annotations

import numpy as np
import pytest

from pertinent.data.ground_truth import read_ground_truth
from pertinent.engine.evaluate import evaluate
from pertinent.engine.protocols import PROTOCOLS, evaluate_protocol, overall
from pertinent.errors import InputError, UnknownNameError
from pertinent.metrics._parse import parse_metrics
from pertinent.relevance import Relevance


def example(kind, rng, n):
    """Labels of `n` items of a kind."""
    if kind == "tags":
        return rng.random((n, 6)) < 0.3
    fine = rng.integers(0, 6, n)
    return np.stack([fine, fine // 3, fine // 6], 1) if kind == "tree" else fine


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_runs(name):
    protocol = PROTOCOLS[name]
    assert parse_metrics(protocol.metrics)
    rng = np.random.default_rng(0)
    queries, gallery = rng.standard_normal((20, 8)), rng.standard_normal((40, 8))
    if protocol.kind == "judged":
        words = ("ok", "junk") if name == "classic" else ("easy", "hard", "junk")
        gnd = [dict(zip(words, rng.permutation(40)[:9].reshape(3, 3), strict=False)) for _ in range(20)]
        reports = evaluate_protocol(name, queries, gallery, labels=gnd)
        assert list(reports) == (["easy", "medium", "hard"] if name == "revisited" else [""])
    else:
        mine, theirs = example(protocol.kind, rng, 20), example(protocol.kind, rng, 40)
        reports = evaluate_protocol(name, queries, gallery, labels=mine, gallery_labels=theirs)
        assert list(reports) == [""]
    for report in reports.values():
        assert report.similarity == protocol.similarity
        assert all(0 <= value <= 1 for value in report.mean.values())


def test_happier_counts_the_query_in_its_table():
    rng = np.random.default_rng(1)
    x, labels = rng.standard_normal((40, 5)), example("tree", rng, 40)
    report = evaluate_protocol("happier", x, labels=labels)[""]
    want = evaluate(x, relevance=Relevance.tree(labels, count_self=True), metrics=["hap", "ap", "asi"])
    assert report.mean["hap"] == want.mean["hap"]
    assert report.mean["ap.1"] == want.mean["ap.1"]
    assert report.relevance["count_self"] is True


def test_hashing_divides_by_hits_and_takes_the_mean_over_ties():
    rng = np.random.default_rng(2)
    queries, gallery = rng.standard_normal((9, 4)), rng.standard_normal((60, 4))
    mine, theirs = example("tags", rng, 9), example("tags", rng, 60)
    given = {"labels": mine, "gallery_labels": theirs}
    report = evaluate_protocol("hyp2/flickr25k", queries, gallery, **given)[""]
    assert (report.ties, report.similarity) == ("expected", "hamming")
    assert "relevant items among them" in report.convention["ap@1000/hits"]
    stable = evaluate_protocol("hyp2/flickr25k", queries, gallery, **given, ties="index")[""]
    assert stable.mean["ap@1000/hits"] != report.mean["ap@1000/hits"]


def test_class_protocols_take_the_finest_column():
    rng = np.random.default_rng(3)
    x, labels = rng.standard_normal((40, 5)), example("tree", rng, 40)
    fine, tree = (evaluate_protocol("hist/sop", x, labels=some)[""] for some in (labels[:, 0], labels))
    assert fine.mean == tree.mean


def test_revisited_oxford(shared):
    """The genuine judgements, with vectors made up so that easy items are nearer than hard ones."""
    truth = read_ground_truth(shared / "data" / "revisitop" / "gnd_roxford5k.pkl")
    rng = np.random.default_rng(4)
    queries = rng.standard_normal((70, 32)).astype(np.float32)
    gallery = rng.standard_normal((len(truth.items), 32)).astype(np.float32)
    for query, record in zip(queries, truth.records, strict=True):
        for word, weight in (("hard", 0.8), ("easy", 2.0)):
            gallery[record[word]] += weight * query
    reports = evaluate_protocol("revisited", queries, gallery, labels=truth.records)
    easy, medium, hard = (reports[word].mean["ap_trapezoid"] for word in ("easy", "medium", "hard"))
    assert easy > medium > hard > 0
    assert reports["easy"].skipped["ap_trapezoid"] == sum(not record["easy"] for record in truth.records)
    for word in reports:
        alone = evaluate(
            queries, gallery, relevance=Relevance.judged(truth.records, word), metrics=["ap_trapezoid", "mp@10"]
        )
        assert alone.mean["ap_trapezoid"] == reports[word].mean["ap_trapezoid"]
        assert alone.mean["mp@10"] == reports[word].mean["mp@10"]


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("revisited", {"gallery_labels": [0]}, "leave gallery_labels out"),
        ("revisited", {"gallery": None}, "pass both"),
        ("hist", {"gallery_labels": None}, "or neither"),
        ("hist", {"gallery": None}, "or neither"),
    ],
)
def test_arguments_that_do_not_fit(name, change, says):
    given = {"gallery": np.ones((1, 2)), "labels": [0], "gallery_labels": [0]}
    if name == "revisited":
        given |= {"labels": [{"easy": [0], "hard": [], "junk": []}], "gallery_labels": None}
    with pytest.raises(InputError, match=says):
        evaluate_protocol(name, np.ones((1, 2)), **(given | change))


def test_unknown_protocols_suggest_the_nearest():
    with pytest.raises(UnknownNameError, match="revisited"):
        evaluate_protocol("revisit", np.ones((1, 2)), labels=[0])


def test_overall_needs_reports_alike():
    x = np.random.default_rng(5).standard_normal((6, 3))
    one, other = (evaluate(x, relevance=Relevance.classes([0, 0, 1, 1, 2, 2]), metrics=[name]) for name in ("ap", "rp"))
    assert overall([one, one])["ap"] == pytest.approx(one.mean["ap"])
    for wrong in ([one, other], []):
        with pytest.raises(InputError, match="same metrics"):
            overall(wrong)
