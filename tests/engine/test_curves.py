from __future__ import annotations

import json

import numpy as np
import pytest

from oracles import ranking
from pertinent.engine import curves
from pertinent.engine.curves import metric_curve, precision_recall, precision_recall_by_radius
from pertinent.errors import InputError, UnknownNameError
from pertinent.relevance import Relevance


def literal(levels_of, scores):
    """Mean precision and recall at each rank, over every order of equals."""
    rows = []
    for query, line in enumerate(scores):
        levels = levels_of[query]
        if not any(level > 0 for level in levels):
            continue
        ignored = [item for item, level in enumerate(levels) if level < 0]
        orders = [[levels[item] > 0 for item in order] for order in ranking.tie_orders(line, ignored)]
        rows.append(np.mean(np.cumsum(orders, axis=1), axis=0))
    found = np.array(rows)
    return (found / np.arange(1, found.shape[1] + 1)).mean(0), (found / found[:, -1:]).mean(0)


@pytest.mark.parametrize("ties", ["index", "expected"])
def test_precision_and_recall_at_every_rank(ties):
    rng = np.random.default_rng(0)
    rel = Relevance.classes([0, 1, 2, 7], [0, 0, 1, 1, 2, 0, 1])
    queries, gallery = rng.standard_normal((4, 3)), rng.standard_normal((7, 3))
    if ties == "expected":
        queries, gallery = np.sign(queries), np.sign(gallery)
    curve = precision_recall(queries, gallery, relevance=rel, similarity="dot", ties=ties)
    precision, recall = literal(rel.block(slice(None), slice(None)).tolist(), (queries @ gallery.T).tolist())
    np.testing.assert_allclose(curve.precision, precision, atol=1e-12)
    np.testing.assert_allclose(curve.recall, recall, atol=1e-12)
    assert (curve.by, curve.n_queries, curve.at.tolist()) == ("rank", 3, list(range(1, 8)))
    assert json.loads(json.dumps(curve.to_json()))["n_queries"] == 3


def test_own_ranking_is_one_shorter():
    x = np.random.default_rng(1).standard_normal((6, 3))
    curve = precision_recall(x, relevance=Relevance.classes([0, 0, 0, 1, 1, 1]))
    assert len(curve.at) == 5
    assert curve.recall[-1] == pytest.approx(1.0)
    assert curve.precision[-1] == pytest.approx(2 / 5)


def test_by_radius(monkeypatch):
    monkeypatch.setattr(curves, "BLOCK", 3)
    rng = np.random.default_rng(2)
    queries, gallery = rng.choice([-1.0, 1.0], (7, 6)), rng.choice([-1.0, 1.0], (30, 6))
    queries[0], gallery[4, :2] = 1.0, 0.0
    rel = Relevance.judged(
        [{"easy": ids[:4], "hard": ids[4:6], "junk": ids[6:9]} for ids in (rng.permutation(30) for _ in range(7))],
        "easy", n_items=30,
    )  # fmt: skip
    curve = precision_recall_by_radius(queries, gallery, relevance=rel)
    far = (6 - queries @ gallery.T) / 2
    levels = rel.block(slice(None), slice(None))
    for radius in range(7):
        inside = (far <= radius) & (levels >= 0)
        found = (inside & (levels > 0)).sum(1)
        assert curve.empty[radius] == (inside.sum(1) == 0).sum()
        assert curve.precision[radius] == pytest.approx((found / np.maximum(inside.sum(1), 1)).mean())
        assert curve.recall[radius] == pytest.approx((found / (levels > 0).sum(1)).mean())


def test_codes_among_themselves():
    x = np.array([[1.0, 1.0], [1.0, 2.0], [-1.0, 1.0]])
    curve = precision_recall_by_radius(x, relevance=Relevance.classes([0, 0, 1]))
    assert curve.precision.tolist() == [2 / 3, 1 / 3, 1 / 3]
    assert curve.recall.tolist() == [1.0, 1.0, 1.0]
    assert curve.empty.tolist() == [1, 0, 0]


def test_metrics_over_cuts():
    rng = np.random.default_rng(3)
    x, labels = rng.standard_normal((30, 4)), rng.integers(0, 4, (30, 2))
    rises = metric_curve("r@K", [1, 2, 8, 29], x, relevance=Relevance.classes(labels[:, 0]))
    assert list(rises) == [1, 2, 8, 29]
    assert list(rises.values()) == sorted(rises.values())
    assert metric_curve("r@K.0", [2], x, relevance=Relevance.tree(labels)) == {2: rises[2]}
    with pytest.raises(InputError, match=r"name a level, such as 'r@K\.0'"):
        metric_curve("r@K", [1], x, relevance=Relevance.tree(labels))
    with pytest.raises(InputError, match="with @K"):
        metric_curve("r@1", [1], x, relevance=Relevance.tree(labels))
    with pytest.raises(UnknownNameError, match="tie rule"):
        precision_recall(x, relevance=Relevance.tree(labels), ties="any")
