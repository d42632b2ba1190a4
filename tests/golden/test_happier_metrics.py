"""H-AP, ASI, NDCG and the binary metrics against values that HAPPIER's official code gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pertinent.engine.evaluate import evaluate
from pertinent.engine.ranker import rank_block
from pertinent.metrics import METRICS
from pertinent.relevance import Relevance

GOLDEN = np.load(Path(__file__).with_name("happier_metrics.npz"))
ALPHA = {"metrics_01": 1.0, "metrics_02": 1.0, "metrics_04": 3.0, "metrics_06": 1.0}
TREE_NAMES = {"hap": "H-AP", "asi": "ASI", "ndcg": "NDCG"}
LEVEL_NAMES = {"ap": "AP", "ap@r": "mAP@R", "p@1": "P@1", "asi": "ASI"} | {
    f"r@{cut}": f"R@{cut}" for cut in (1, 2, 4, 10)
}
METRIC_NAMES = ["hap", "asi", "ndcg", "ap", "ap@r", "p@1", "r@1", "r@2", "r@4", "r@10"]


def golden(case):
    return {key.split("/")[1]: GOLDEN[key] for key in GOLDEN.files if key.startswith(case + "/")}


def compare(report, values, levels, keep=slice(None)):
    names = {**TREE_NAMES}
    for level in range(levels):
        names |= {f"{ours}.{level}": f"{theirs}_level{level}" for ours, theirs in LEVEL_NAMES.items()}
    for ours, theirs in names.items():
        np.testing.assert_allclose(
            report.per_query[ours][keep], values[theirs][keep], rtol=1e-10, atol=1e-10, err_msg=ours
        )


@pytest.mark.parametrize("case", ["metrics_01", "metrics_02", "metrics_04"])
def test_all_against_all(case):
    values = golden(case)
    labels = values["query_labels"].astype(np.int64)
    levels = labels.shape[1]
    rel = Relevance.tree(labels, alpha=ALPHA[case], count_self=True)
    gains, table = rel.gains(slice(None)), values["relevance_table"]
    np.testing.assert_allclose(gains / gains[:, -1:], table / table[:, -1:], rtol=1e-12)
    names = METRIC_NAMES + [f"asi.{level}" for level in range(levels)]
    report = evaluate(values["query"], relevance=rel, metrics=names, similarity="dot")
    compare(report, values, levels)
    assert report.mean["hap"] == pytest.approx(values["H-AP"].mean(), abs=1e-12)


def test_queries_against_a_gallery():
    """The official code drops the last item of the ranking, so only queries to which that item is unrelated compare."""
    values = golden("metrics_06")
    mine, theirs = values["query_labels"].astype(np.int64), values["gallery_labels"].astype(np.int64)
    rel = Relevance.tree(mine, theirs)
    names = [*METRIC_NAMES, "asi.0", "asi.1"]
    report = evaluate(values["query"], values["gallery"], relevance=rel, metrics=names, similarity="dot")
    dropped = [np.setdiff1d(np.arange(len(theirs)), order)[0] for order in values["sorted_indices"]]
    levels = rel.block(slice(None), slice(None))[np.arange(len(mine)), dropped]
    assert (levels == 0).sum() > 10
    compare(report, values, 2, levels == 0)


@pytest.mark.parametrize("order", ["perfect", "worst"])
def test_given_orders(order):
    values = golden("metrics_09")
    rel = Relevance.tree(values["labels"].astype(np.int64), count_self=True)
    n_items = len(values["labels"])
    scores = np.zeros((n_items, n_items))
    np.put_along_axis(scores, values[f"{order}_order"].astype(np.int64), -np.arange(n_items - 1.0)[None], axis=1)
    ranked = rank_block(scores, rel, slice(None))
    for ours, theirs in (("hap", "H-AP_definition"), ("asi", "ASI"), ("ndcg", "NDCG")):
        np.testing.assert_allclose(METRICS.get(ours)(ranked), values[f"{order}_{theirs}"], rtol=1e-10, err_msg=ours)
    assert values["collision"].any()


def test_levels_of_equal_worth_are_counted_once():
    values = golden("metrics_08")
    rel = Relevance.tree(values["labels"].astype(np.int64), count_self=True)
    scores = np.zeros((1, 8))
    scores[0, values["order_row0"].astype(np.int64)] = -np.arange(7.0)
    ranked = rank_block(scores, rel, slice(0, 1))
    assert ranked.gains[0, 1] == ranked.gains[0, 2]
    np.testing.assert_allclose(METRICS.get("hap")(ranked), values["hap_definition"], rtol=1e-12)


@pytest.mark.parametrize(
    ("table", "weights", "alpha"),
    [
        ("pop_a1", "pop", 1.0),
        ("pop_a2", "pop", 2.0),
        ("pop_a05", "pop", 0.5),
        ("map_w", "map", [0.2, 0.3, 0.5]),
    ],
)
def test_relevance_tables(table, weights, alpha):
    """Official `pop` weights are a constant above ours, which cancels in H-AP."""
    values = golden("relevance_01")
    rel = Relevance.tree(values["labels"].astype(np.int64), weights=weights, alpha=alpha, count_self=True)
    gains, want = rel.gains(slice(None)), values[f"table_{table}"]
    np.testing.assert_allclose(gains[:, 1:] / gains[:, -1:], want[:, 1:] / want[:, -1:], rtol=1e-12)
    levels = rel.block(slice(None), slice(None)) + np.eye(len(gains), dtype=int) * 4
    np.testing.assert_array_equal(levels, values["target"])
