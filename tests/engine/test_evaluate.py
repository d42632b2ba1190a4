from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from oracles import ranking
from pertinent.engine import ranker
from pertinent.engine.evaluate import Report, evaluate, evaluate_all
from pertinent.errors import InputError, UnknownNameError
from pertinent.relevance import Relevance

NAMES = [
    "ap",
    "ap@1",
    "ap@7",
    "ap@999",
    "ap@7/hits",
    "ap@7/all",
    "ap@r",
    "ap_trapezoid",
    "rp",
    "r@1",
    "r@5",
    "p@1",
    "p@7",
    "p@999",
    "topn@7",
    "topn@999",
    "mp@1",
    "mp@7",
    "mp@999",
    "mrr",
    "hap",
    "hap@1",
    "hap@7",
    "hap@999",
    "asi",
    "ndcg",
    "ndcg@1",
    "ndcg@7",
    "ndcg@999",
    "acg@7",
    "acg@999",
    "wap@7",
    "wap@999",
]
GRADED = ("hap", "asi", "ndcg", "acg", "wap")


def embeddings(rng, n, ties=False):
    return rng.integers(-1, 2, (n, 4)).astype(np.float64) if ties else rng.standard_normal((n, 6))


def kinds(rng, n=30, gallery=45):
    """Relevance of every kind for `n` queries, and how many gallery items it is for (None: the queries)."""
    labels = rng.integers(-1, 4, (gallery, 3))
    tags, gallery_tags = rng.random((n, 5)) < 0.3, rng.random((gallery, 5)) < 0.3
    places = np.where(rng.random(n) < 0.5, rng.permutation(gallery)[:n], -1)
    gnd = []
    for _ in range(n):
        ids = rng.permutation(gallery)
        gnd.append({"easy": ids[: rng.integers(0, 5)], "hard": ids[10:14], "junk": ids[20:25]})
    return {
        "classes": (Relevance.classes(rng.integers(0, 8, n)), None),
        "one class": (Relevance.classes(np.zeros(n, int)), None),
        "all alone": (Relevance.classes(np.arange(n) + 2**60), None),
        "unlabelled": (Relevance.classes(np.full(n, -1), np.full(gallery, -1)), gallery),
        "classes in a gallery": (Relevance.classes(labels[:n, 0], labels[:, 0], query_positions=places), gallery),
        "tree": (Relevance.tree(labels[:n]), None),
        "tree of a gallery": (Relevance.tree(labels[:n], rng.integers(-1, 3, (gallery, 3)), alpha=2.0), gallery),
        "tags": (Relevance.tags(tags), None),
        "graded tags": (Relevance.tags(tags, gallery_tags, graded=True), gallery),
        "judged": (Relevance.judged(gnd, "hard", n_items=gallery), gallery),
    }


@pytest.mark.parametrize("way", ["count", "sort"])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("kind", list(kinds(np.random.default_rng(0))))
def test_every_metric_agrees_with_its_definition(kind, ties, way, monkeypatch):
    monkeypatch.setattr(ranker, "COUNTED", -1 if way == "sort" else 1000)
    rng = np.random.default_rng(0)
    rel, gallery_size = kinds(rng)[kind]
    queries = embeddings(rng, 30, ties)
    gallery = None if gallery_size is None else embeddings(rng, gallery_size, ties)
    report = evaluate(queries, gallery, relevance=rel, metrics=NAMES, similarity="dot", block=11)
    scores = queries @ (queries if gallery is None else gallery).T
    alpha = rel.alpha if isinstance(rel.alpha, float) else 1.0
    for name in NAMES:
        if rel.kind == "tree" and not name.startswith(GRADED):
            parts = {f"{name}.{level}": rel.at(level) for level in range(rel.levels)}
        else:
            parts = {name: rel}
        for column, part in parts.items():
            want = ranking.evaluate(
                scores, part.block(slice(None), slice(None)), name,
                lambda _, listed, part=part: ranking.pop_gains(listed, part.levels, alpha),
            )  # fmt: skip
            np.testing.assert_allclose(report.per_query[column], want, rtol=1e-10, atol=1e-12, err_msg=column)
            assert report.skipped[column] == int(np.isnan(want).sum())
            assert report.mean[column] == pytest.approx(
                math.nan if np.isnan(want).all() else np.nanmean(want), nan_ok=True
            )


def test_graded_metrics_of_one_level_are_binary():
    rng = np.random.default_rng(1)
    rel = Relevance.tree(rng.integers(0, 4, (40, 2)))
    report = evaluate(embeddings(rng, 40), relevance=rel, metrics=["hap.0", "ap.0", "ndcg.1", "asi.1"])
    np.testing.assert_allclose(report.per_query["hap.0"], report.per_query["ap.0"], rtol=1e-12)
    assert list(report.mean) == ["hap.0", "ap.0", "ndcg.1", "asi.1"]


def test_map_weights_make_hap_the_weighted_mean_of_average_precisions():
    rng = np.random.default_rng(2)
    fine = rng.integers(0, 9, 60)
    rel = Relevance.tree(np.stack([fine, fine // 3], 1), weights="map", alpha=[0.3, 0.7])
    report = evaluate(embeddings(rng, 60), relevance=rel, metrics=["hap", "ap"])
    both = ~np.isnan(report.per_query["ap.0"])
    want = 0.3 * report.per_query["ap.1"] + 0.7 * report.per_query["ap.0"]
    np.testing.assert_allclose(report.per_query["hap"][both], want[both], rtol=1e-12)


def test_order_of_queries_and_items_does_not_matter():
    rng = np.random.default_rng(3)
    labels, x = rng.integers(0, 4, (50, 2)), embeddings(rng, 50)
    mine, theirs = rng.permutation(50), rng.permutation(50)
    names = ["hap", "asi", "ndcg", "ap", "r@1"]
    plain = evaluate(x, relevance=Relevance.tree(labels), metrics=names)
    moved = evaluate(
        x[mine], x[theirs],
        relevance=Relevance.tree(labels[mine], labels[theirs], query_positions=np.argsort(theirs)[mine]), metrics=names,
    )  # fmt: skip
    for name, values in plain.per_query.items():
        np.testing.assert_allclose(moved.per_query[name], values[mine], rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("block", [1, 2, 7, 200])
def test_block_size_does_not_change_values(block):
    rng = np.random.default_rng(4)
    rel, x = Relevance.tree(rng.integers(0, 5, (60, 3))), embeddings(rng, 60, ties=True)
    plain = evaluate(x, relevance=rel, metrics=NAMES, similarity="dot")
    other = evaluate(x, relevance=rel, metrics=NAMES, similarity="dot", block=block)
    for name, values in plain.per_query.items():
        np.testing.assert_array_equal(other.per_query[name], values, err_msg=name)


def test_a_query_leaves_its_own_ranking_but_its_duplicates_stay():
    x = np.repeat(np.eye(3), 2, axis=0)
    report = evaluate(x, relevance=Relevance.classes([0, 0, 1, 1, 2, 2]), metrics=["r@1", "ap"])
    assert report.mean == {"r@1": 1.0, "ap": 1.0}


def test_one_item_alone_has_nothing_to_find():
    report = evaluate(np.ones((1, 3)), relevance=Relevance.classes([4]), metrics=["ap", "ap@5/hits", "ndcg"])
    assert math.isnan(report.mean["ap"])
    assert math.isnan(report.mean["ndcg"])
    assert report.skipped == {"ap": 1, "ap@5/hits": 0, "ndcg": 1}
    assert report.mean["ap@5/hits"] == 0.0


def test_numpy_torch_half_and_memory_maps_agree(tmp_path):
    rng = np.random.default_rng(5)
    x = rng.integers(-3, 4, (40, 5)).astype(np.float32)
    rel = Relevance.classes(rng.integers(0, 4, 40), np.arange(40) % 4)
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=x.shape)
    mapped[:] = x
    want = evaluate(x, x, relevance=rel, metrics=["ap"], similarity="dot").per_query["ap"]
    tensor = torch.from_numpy(x).requires_grad_()
    for queries, gallery in ((tensor, tensor), (x, mapped), (tensor.bfloat16(), x.astype(np.float16)), (x.tolist(), x)):
        values = evaluate(queries, gallery, relevance=rel, metrics=["ap"], similarity="dot").per_query["ap"]
        np.testing.assert_allclose(values, want, rtol=1e-12)


def test_report_goes_to_json_and_back():
    rel = Relevance.tree([[0, 0], [0, 0], [1, 0], [5, 7]])
    report = evaluate(np.eye(4)[:, :3] + 0.1, relevance=rel, metrics=["hap", "ap", "r@1.0"])
    again = Report.from_json(json.loads(json.dumps(report.to_json(per_query=True), allow_nan=False)))
    for name in report.mean:
        assert again.mean[name] == pytest.approx(report.mean[name], nan_ok=True)
        np.testing.assert_array_equal(again.per_query[name], report.per_query[name])
    assert again.relevance == {**rel.describe()}
    assert again.table() == report.table()
    short = Report.from_json(report.to_json() | {"encoder": "named beside it"})
    assert short.per_query == {}
    assert [row.metric for row in short.table()] == ["hap", "ap.0", "ap.1", "r@1.0"]
    assert "skipped" in report.table()[0].convention
    with pytest.raises(InputError, match="no report: mean"):
        Report.from_json({})


def tied_data(rng):
    queries, gallery = rng.choice([-1.0, 1.0], (12, 3)), rng.choice([-1.0, 1.0], (30, 3))
    return queries, gallery, Relevance.tags(rng.random((12, 4)) < 0.3, rng.random((30, 4)) < 0.3)


def test_the_report_says_how_much_ties_matter():
    queries, gallery, rel = tied_data(np.random.default_rng(7))
    names = ["ap", "r@1", "p@5"]
    given = {"relevance": rel, "metrics": names, "similarity": "hamming"}
    expected, index = evaluate(queries, gallery, **given), evaluate(queries, gallery, **given, ties="index")
    assert (expected.ties, index.ties) == ("expected", "index")
    for name in names:
        worst, mean, best = expected.tie_range[name]
        assert worst < mean < best
        assert mean == pytest.approx(expected.mean[name])
        assert worst <= index.mean[name] <= best
        assert index.tie_range[name] == expected.tie_range[name]
    assert 0 < expected.tied_queries <= 12
    (note,) = expected.notes()
    assert note.startswith(f"{expected.tied_queries} of 12 queries have items of different relevance with equal scores")


def test_order_of_the_gallery_does_not_change_the_mean_over_ties():
    rng = np.random.default_rng(8)
    queries, gallery, _ = tied_data(rng)
    order = rng.permutation(30)
    tags = rng.random((12, 4)) < 0.3, rng.random((30, 4)) < 0.3
    names = ["ap", "ap@5/hits", "ndcg", "mrr", "rp", "mp@3", "wap@4"]
    given = {"metrics": names, "similarity": "hamming"}
    plain = evaluate(queries, gallery, relevance=Relevance.tags(*tags), **given)
    moved = evaluate(queries, gallery[order], relevance=Relevance.tags(tags[0], tags[1][order]), **given)
    for name, values in plain.per_query.items():
        np.testing.assert_allclose(moved.per_query[name], values, rtol=1e-12, err_msg=name)


def test_equals_of_one_level_are_no_ties_that_matter():
    x = np.repeat(np.eye(3), 3, axis=0)
    report = evaluate(x, relevance=Relevance.classes(np.repeat([0, 1, 2], 3)), metrics=["ap", "r@1"])
    assert (report.tied_queries, dict(report.tie_range), report.notes()) == (0, {}, [])


@pytest.mark.parametrize("kind", ["tree", "tags"])
def test_metrics_with_cuts_alone_need_not_rank_everything(kind):
    """By codes, what lies beyond the largest cut is left out; the values are the same as with all."""
    rng = np.random.default_rng(9)
    queries, gallery = rng.standard_normal((20, 6)), rng.standard_normal((50, 6))
    labels, theirs = rng.integers(-1, 3, (20, 2)), rng.integers(-1, 3, (50, 2))
    rel = Relevance.tree(labels, theirs)
    if kind == "tags":
        rel = Relevance.tags(rng.random((20, 4)) < 0.4, rng.random((50, 4)) < 0.4, graded=True)
    cuts = ["ap@3", "ap@9/hits", "ap@4/all", "hap@7", "ndcg@9", "r@1", "p@5", "topn@9", "mp@6", "acg@9", "wap@5"]
    for ties in ("index", "expected"):
        given = {"relevance": rel, "similarity": "hamming", "ties": ties}
        short = evaluate(queries, gallery, metrics=cuts, **given)
        whole = evaluate(queries, gallery, metrics=[*cuts, "ap"], **given)
        for name, values in short.per_query.items():
            np.testing.assert_allclose(values, whole.per_query[name], rtol=1e-12, err_msg=name)
            assert short.tie_range[name] == pytest.approx(whole.tie_range[name])
        assert dict(short.limits) == {}


def test_several_relevances_in_one_pass():
    rng = np.random.default_rng(10)
    x, labels = embeddings(rng, 40), rng.integers(0, 5, (40, 2))
    rels = {"fine": Relevance.classes(labels[:, 0]), "coarse": Relevance.classes(labels[:, 1])}
    together = evaluate_all(x, relevances=rels, metrics=["ap", "r@3"])
    for name, rel in rels.items():
        assert together[name].mean == evaluate(x, relevance=rel, metrics=["ap", "r@3"]).mean
    with pytest.raises(InputError, match="at least one relevance"):
        evaluate_all(x, relevances={}, metrics=["ap"])


def test_cluster_metrics():
    rng = np.random.default_rng(11)
    labels = np.repeat(np.arange(5), 12)
    x = 8 * rng.standard_normal((5, 6))[labels] + 0.1 * rng.standard_normal((60, 6))
    labels[[3, 50]] = -1
    rel = Relevance.tree(np.stack([labels, np.where(labels < 0, -1, labels // 3)], 1))
    report = evaluate(x, relevance=rel, metrics=["nmi", "ap", "ami.0", "nmi/geometric"], similarity="euclidean")
    assert list(report.mean) == ["nmi.0", "nmi.1", "ap.0", "ap.1", "ami.0", "nmi/geometric.0", "nmi/geometric.1"]
    assert report.mean["nmi.0"] == report.mean["ami.0"] == pytest.approx(1.0)
    assert report.mean["nmi.1"] < 1
    assert report.skipped["nmi.0"] == 2
    assert set(report.per_query) == {"ap.0", "ap.1"}
    assert "unlabelled items are left out" in report.convention["nmi.0"]
    alone = evaluate(x, relevance=Relevance.classes(labels), metrics=["nmi"], similarity="hamming")
    assert 0.5 < alone.mean["nmi"] <= 1
    nothing = evaluate(x, relevance=Relevance.classes(np.full(60, -1)), metrics=["nmi"])
    assert math.isnan(nothing.mean["nmi"])


def test_tie_range_and_limits_go_to_json_and_back():
    queries, gallery, rel = tied_data(np.random.default_rng(12))
    report = evaluate(queries, gallery, relevance=rel, metrics=["ap", "r@1"], similarity="hamming")
    again = Report.from_json(json.loads(json.dumps(report.to_json(), allow_nan=False)))
    assert again.tie_range == report.tie_range
    assert again.tied_queries == report.tied_queries
    assert again.notes() == report.notes()


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"metrics": ["happ"]}, UnknownNameError, "hap"),
        ({"metrics": ["r@0"]}, InputError, "at least 1"),
        ({"metrics": []}, InputError, "list of names"),
        ({"metrics": "ap"}, InputError, "list of names"),
        ({"metrics": ["ap.2"]}, InputError, "levels 0 to 1"),
        ({"metrics": ["ap.0"], "relevance": Relevance.classes(range(4))}, InputError, "no label columns"),
        ({"similarity": "cos"}, UnknownNameError, "similarity 'cos'; did you mean 'cosine'"),
        ({"ties": "random"}, UnknownNameError, "tie rule"),
        ({"block": 0}, InputError, "at least 1 query"),
        ({"relevance": Relevance.tags(np.ones((4, 1))), "metrics": ["nmi"]}, InputError, "needs classes or a tree"),
        ({"queries": np.full((4, 2), np.nan)}, InputError, "queries row 0 holds NaN"),
        ({"queries": np.ones((3, 2))}, InputError, "made for 4 queries, there are 3"),
        ({"gallery": np.ones((3, 2))}, InputError, "made for 4 items, the gallery has 3"),
        ({"gallery": np.ones((4, 3))}, InputError, "2 dimensions and the gallery 3"),
        ({"relevance": Relevance.classes(range(4), range(4))}, InputError, "pass that gallery"),
    ],
)
def test_errors_say_what_is_wrong(change, error, says):
    rel = Relevance.tree(np.ones((4, 2), int))
    given = {"queries": np.ones((4, 2)), "gallery": None, "metrics": ["ap"], "relevance": rel} | change
    with pytest.raises(error, match=says):
        evaluate(given.pop("queries"), given.pop("gallery"), **given)
