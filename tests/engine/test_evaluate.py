from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from oracles import ranking
from pertinent.engine.evaluate import Report, evaluate
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


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("kind", list(kinds(np.random.default_rng(0))))
def test_every_metric_agrees_with_its_definition(kind, ties):
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
