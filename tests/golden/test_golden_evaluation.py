"""The other systems' evaluations against the numbers that their official code gave."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from pertinent.engine.curves import metric_curve, precision_recall, precision_recall_by_radius
from pertinent.engine.evaluate import Report, evaluate, evaluate_all
from pertinent.engine.protocols import evaluate_protocol, overall
from pertinent.engine.ranker import rank_block
from pertinent.engine.ranking import Ranking, evaluate_ranking
from pertinent.functional import clustering
from pertinent.interop.pml import AccuracyCalculator
from pertinent.metrics import METRICS
from pertinent.relevance import Relevance

CASES = json.loads(Path(__file__).with_name("evaluation.json").read_text())
ARRAYS = np.load(Path(__file__).with_name("evaluation.npz"))
PML = {"precision_at_1", "r_precision", "mean_average_precision_at_r", "mean_average_precision", "mean_reciprocal_rank"}


def arrays(case):
    return {key.split("/", 1)[1]: ARRAYS[key] for key in ARRAYS.files if key.startswith(case + "/")}


def of_kind(*kinds):
    return [name for name, case in CASES.items() if case["kind"] in kinds]


def scored(scores):
    """Queries and gallery whose dot products are exactly these scores."""
    return np.eye(len(scores)), scores.T


# HyP2: Hamming ranking


@pytest.mark.parametrize("case", of_kind("hamming"))
def test_hamming_average_precision(case):
    a, c = arrays(case), CASES[case]
    rel = Relevance.tags(a["q_lab"], a["db_lab"])
    name = f"ap@{c['retrieve']}/hits"
    given = {"relevance": rel, "metrics": [name, f"ap@{c['retrieve']}"], "similarity": "hamming"}
    expected = evaluate(a["q_out"], a["db_out"], **given)
    assert expected.ties == "expected"
    if c["error"] is not None:
        # The original crashes where more are asked for than there are; the first R are then all.
        assert math.isfinite(expected.mean[name])
        return
    stable = evaluate(a["q_out"], a["db_out"], **given, ties="index")
    np.testing.assert_allclose(expected.per_query[name], a["ap_tie_expected"], atol=1e-12)
    np.testing.assert_allclose(stable.per_query[name], a["ap_stable"], atol=1e-12)
    assert expected.mean[name] == pytest.approx(c["map_tie_expected"], abs=1e-12)
    assert stable.mean[name] == pytest.approx(c["map_stable"], abs=1e-12)
    if (a["q_lab"] @ a["db_lab"].T.astype(int)).any(1).all():
        assert stable.mean[f"ap@{c['retrieve']}"] == pytest.approx(c["map_stable_norm_min"], abs=1e-12)
    for report in (stable, expected):
        if report.tied_queries:
            worst, mean, best = report.tie_range[name]
            assert best == pytest.approx(c["map_relevant_first"], abs=1e-12)
            assert worst == pytest.approx(c["map_irrelevant_first"], abs=1e-12)
            assert mean == pytest.approx(c["map_tie_expected"], abs=1e-12)
        else:
            assert c["map_relevant_first"] == pytest.approx(c["map_irrelevant_first"])


@pytest.mark.parametrize("case", [name for name in of_kind("hamming") if CASES[name]["error"] is None])
def test_the_official_order_as_a_ranking(case):
    a, c = arrays(case), CASES[case]
    rel = Relevance.tags(a["q_lab"], a["db_lab"])
    name = f"ap@{c['retrieve']}/hits"
    ranking = Ranking(a["order_official"].astype(np.int64)[:, : c["retrieve"]], len(a["db_lab"]))
    report = evaluate_ranking(ranking, relevance=rel, metrics=[name])
    np.testing.assert_allclose(report.per_query[name], a["ap_official"], atol=1e-12)
    assert report.limits[name] == "exact"
    assert report.mean[name] == pytest.approx(c["map_official"], abs=1e-12)


@pytest.mark.parametrize("case", [name for name in of_kind("hamming") if CASES[name]["error"] is None])
def test_hamming_curves(case):
    a, c = arrays(case), CASES[case]
    rel = Relevance.tags(a["q_lab"], a["db_lab"])
    sides = a["q_out"], a["db_out"]
    curve = precision_recall(*sides, relevance=rel, similarity="hamming", ties="index")
    np.testing.assert_allclose(curve.precision, a["pr_precision_stable"], atol=1e-12)
    np.testing.assert_allclose(curve.recall, a["pr_recall_stable"], atol=1e-12)
    for ties, word in (("index", "stable"), ("expected", "tie_expected")):
        top = metric_curve("topn@K", c["topN"]["N"], *sides, relevance=rel, similarity="hamming", ties=ties)
        np.testing.assert_allclose(list(top.values()), c["topN"][f"precision_{word}"], atol=1e-12)
    if "radius" in c and case != "e_exact_zeros":
        curve = precision_recall_by_radius(*sides, relevance=rel)
        assert curve.at.tolist() == c["radius"]["radius"]
        np.testing.assert_allclose(curve.precision, c["radius"]["precision_empty_as_zero"], atol=1e-12)
        np.testing.assert_allclose(curve.recall, c["radius"]["recall_over_queries_with_relevant"], atol=1e-12)
        assert curve.empty.tolist() == c["radius"]["queries_with_empty_ball"]


@pytest.mark.parametrize("case", [name for name in of_kind("hamming") if "graded_stable" in CASES[name]])
def test_graded_relevance_of_tags(case):
    a, c = arrays(case), CASES[case]["graded_stable"]
    rel = Relevance.tags(a["q_lab"], a["db_lab"], graded=True)
    names = {f"acg@{c['at']}": "ACG", f"ndcg@{c['at']}": "NDCG", f"wap@{c['at']}": "WAP"}
    report = evaluate(a["q_out"], a["db_out"], relevance=rel, metrics=list(names), similarity="hamming", ties="index")
    for ours, theirs in names.items():
        # The original counts 0 for queries with nothing relevant in every mean, also in that of NDCG.
        assert np.nan_to_num(report.per_query[ours]).mean() == pytest.approx(c[theirs], abs=1e-12), ours


# Landmarks: the revisited and the classic protocol


@pytest.mark.parametrize("case", of_kind("landmarks"))
def test_landmark_protocols(case):
    a, c = arrays(case), CASES[case]
    cuts = c["kappas"] or [1, 5, 10]
    names = ["ap_trapezoid", *(f"mp@{cut}" for cut in cuts)]
    words = ("easy", "medium", "hard") if case.startswith("revisited") else ("classic",)
    rels = {word: Relevance.judged(c["gnd"], word) for word in words}
    reports = evaluate_all(*scored(a["scores"]), relevances=rels, metrics=names, similarity="dot")
    for word, report in reports.items():
        head = "" if word == "classic" else f"{word}_"
        np.testing.assert_allclose(report.per_query["ap_trapezoid"], a[f"{head}AP"], atol=1e-12)
        assert report.mean["ap_trapezoid"] == pytest.approx(float(a[f"{head}mAP"]), abs=1e-12)
        for column, cut in enumerate(cuts):
            np.testing.assert_allclose(report.per_query[f"mp@{cut}"], a[f"{head}Pk"][:, column], atol=1e-12)
            assert report.mean[f"mp@{cut}"] == pytest.approx(float(a[f"{head}mPk"][column]), abs=1e-12)


@pytest.mark.parametrize("row", CASES["trapezoid_ap"]["table"])
def test_trapezoid_average_precision(row):
    ranks = row["zero_based_positive_ranks"]
    scores = -np.arange(max(ranks, default=0) + 3.0)[None]
    rel = Relevance.judged([{"ok": ranks, "junk": []}], "classic", n_items=scores.shape[1])
    values = np.nan_to_num(METRICS.get("ap_trapezoid")(rank_block(scores, rel, slice(None))))
    assert values[0] == pytest.approx(row["ap"], abs=1e-12)


def test_average_precision_of_label_lists():
    a = arrays("labels_finite_sum_AP")
    labels = np.unique(CASES["labels_finite_sum_AP"]["labels"], return_inverse=True)[1]
    scores = a["scores"]
    rel = Relevance.classes(labels, labels, query_positions=np.arange(len(labels)))
    report = evaluate(*scored(scores), relevance=rel, metrics=["ap"], similarity="dot")
    want = np.where(a["AP"] < 0, np.nan, a["AP"])
    np.testing.assert_allclose(report.per_query["ap"], want, atol=1e-12)


# HIST


@pytest.mark.parametrize("case", of_kind("hist_eval"))
def test_recall_among_all_images(case):
    a, c = arrays(case), CASES[case]
    names = [f"r@{cut}" for cut in c["params"]["ks"]]
    report = evaluate(a["embeddings"], relevance=Relevance.classes(a["labels"]), metrics=[*names, "rp", "ap@r"])
    got = [report.mean[name] for name in names]
    # The smallest gap of the second case is below the rounding of the official float32 scores.
    atol = 1e-12 if c["params"]["min_pos_neg_gap"] > 1e-5 else 2e-3
    np.testing.assert_allclose(got, c["scalars"]["recall"], atol=atol)
    assert report.mean["rp"] == pytest.approx(c["scalars"]["RP"], abs=max(atol, 1e-7))
    assert report.mean["ap@r"] == pytest.approx(c["scalars"]["MAP_at_R"], abs=max(atol, 1e-7))


@pytest.mark.parametrize("case", of_kind("hist_eval_qg"))
def test_recall_in_a_gallery(case):
    a, c = arrays(case), CASES[case]
    reports = evaluate_protocol(
        "hist/inshop", a["query"], a["gallery"], labels=a["query_labels"], gallery_labels=a["gallery_labels"]
    )
    got = [reports[""].mean[f"r@{cut}"] for cut in c["params"]["ks"]]
    np.testing.assert_allclose(got, c["scalars"]["recall"], atol=1e-12)


@pytest.mark.parametrize("case", of_kind("nmi"))
def test_mutual_information(case):
    a, c = arrays(case), CASES[case]["scalars"]
    values = {
        "nmi_geometric_official": clustering.normalised_mutual_information(a["labels"], a["clusters"], "geometric"),
        "nmi_arithmetic_pml": clustering.normalised_mutual_information(a["labels"], a["clusters"]),
        "ami_arithmetic_pml": clustering.adjusted_mutual_information(a["labels"], a["clusters"]),
    }
    assert values == pytest.approx(c, abs=1e-10)


# pytorch-metric-learning


def comparison(case):
    if case == "a16_two_level_custom":
        return lambda x, y: (x[..., 0] == y[..., 0]) & (x[..., 1] != y[..., 1])
    return (lambda x, y: (x - y).abs() < 0.1) if case == "a18_float_close" else None


@pytest.mark.parametrize("case", of_kind("accuracy_calculator"))
def test_accuracy_calculator(case):
    a, c = arrays(case), CASES[case]
    p = c["params"]
    calculator = AccuracyCalculator(
        exclude=("NMI", "AMI"), k=p["k"], avg_of_avgs=p["avg_of_avgs"], label_comparison_fn=comparison(case),
        similarity={"squared_l2": "euclidean", "cosine": "cosine"}[p["metric"]],
    )  # fmt: skip
    if p["reference_is_query"]:
        got = calculator.get_accuracy(a["query"], a["query_labels"])
    else:
        got = calculator.get_accuracy(
            a["query"], a["query_labels"], a["reference"], a["reference_labels"], p["ref_includes_query"]
        )
    assert set(got) == PML
    for name, want in c["scalars"].items():
        if case == "a16_two_level_custom" and name not in ("precision_at_1", "mean_reciprocal_rank"):
            # The original's R is one too small here: an item does not match itself.
            assert got[name] < want
            continue
        expected = math.nan if want is None else want
        # pytorch-metric-learning's reciprocal ranks are float32.
        assert got[name] == pytest.approx(expected, abs=1e-6 if name == "mean_reciprocal_rank" else 1e-10, nan_ok=True)


# HAPPIER


def test_overall_numbers_of_dyml():
    c = CASES["overall_hook_01"]
    words = {"AP": "ap", "P@1": "p@1", "mAP@R": "ap@r", "R@10": "r@10", "R@20": "r@20", "ASI": "asi"}

    def report(values):
        mean = {}
        for name, value in values.items():
            word, _, level = name.partition("_")
            if word in words:
                mean[words[word] + ("" if level == "multi" else "." + level[-1])] = value
        return Report(mean, {}, dict.fromkeys(mean, 0), {}, 1, 1, "cosine", "index", {})

    sets = overall({name: report(values) for name, values in c["inter_input"].items()})
    for name, want in c["inter_output"].items():
        word, _, level = name.partition("_")
        assert sets[f"{words[word]}.{level[-1]}"] == pytest.approx(want, abs=1e-12)
    tree = overall(report(c["intra_input"]["test"]))
    assert tree == pytest.approx({words[name]: value for name, value in c["intra_output"].items()}, abs=1e-12)
