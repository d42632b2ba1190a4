from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pertinent.data.table import Judgement
from pertinent.engine.evaluate import evaluate, evaluate_all
from pertinent.engine.judging import make_trial
from pertinent.engine.measure import load_evaluation, measure, queries_of, relevance_of, save_evaluation
from pertinent.errors import DataError, StorageError, UnknownNameError
from pertinent.relevance import Relevance
from pertinent.store import EmbeddingStore, StoreLabels

COUNT = 8
VECTORS = np.random.default_rng(0).standard_normal((COUNT, 3)).astype(np.float32)
TREE = np.array([[0, 0], [0, 0], [1, 0], [1, 0], [2, 1], [2, 1], [3, 1], [4, 2]])
KINDS: dict[str, tuple[StoreLabels, Relevance]] = {
    "tree": (StoreLabels("tree", TREE, ["kind", "group"]), Relevance.tree(TREE)),
    "classes": (StoreLabels("classes", TREE[:, 0]), Relevance.classes(TREE[:, 0])),
    "tags": (StoreLabels("tags", TREE > 0), Relevance.tags(TREE > 0)),
}


def store_of(folder: Path, labels: StoreLabels, **changes: Any) -> EmbeddingStore:
    ids = [str(i) for i in range(COUNT)]
    return EmbeddingStore.write(folder / "s", VECTORS, ids, labels=labels, encoder="f00d", **changes)


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_is_measured_against_itself(tmp_path: Path, kind: str):
    labels, relevance = KINDS[kind]
    names = ["hap", "ap", "r@1"]
    report = measure(store_of(tmp_path, labels), names)
    want = evaluate(VECTORS, relevance=relevance, metrics=names, similarity="cosine")
    assert report.mean == want.mean
    assert (report.n_queries, report.n_items) == (COUNT, COUNT)
    assert relevance_of(labels, COUNT).describe() == relevance.describe()


def test_another_similarity(tmp_path: Path):
    store = store_of(tmp_path, KINDS["tree"][0])
    assert measure(store, ["hap"], "euclidean").similarity == "euclidean"
    assert measure(store, ["hap"], "dot").mean["hap"] != measure(store, ["hap"], "cosine").mean["hap"]
    with pytest.raises(UnknownNameError, match="did you mean 'cosine'"):
        measure(store, ["hap"], "cosin")


@pytest.mark.parametrize(("probes", "protocol"), [(0, None), (2, None), (2, "hard"), (0, "easy")])
def test_judged_queries_among_the_items_or_beside_them(tmp_path: Path, probes: int, protocol: str | None):
    judged = [Judgement(6, (1, 2), (3,), (4,)), Judgement(7, (0,), (2, 5), ())]
    store = store_of(tmp_path, StoreLabels("judged", None, judgements=judged, probes=probes))
    report = measure(store, ["ap_trapezoid"], protocol=protocol)
    items = 8 - probes
    own = [-1, -1] if probes else [6, 7]
    relevance = Relevance.judged(judged, protocol or "medium", n_items=items, query_positions=own)
    want = evaluate(store.vectors[6:], store.vectors[:items], relevance=relevance, metrics=["ap_trapezoid"])
    assert report.mean == want.mean
    classic = StoreLabels("judged", None, judgements=[Judgement(0, ok=(1,))])
    assert relevance_of(classic, 8).protocol == "classic"


def test_a_protocol_is_for_judged_labels(tmp_path: Path):
    with pytest.raises(DataError, match="protocols and distractors belong to judged queries, these labels are of kind"):
        measure(store_of(tmp_path, KINDS["tree"][0]), ["hap"], protocol="easy")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (StoreLabels(), "the 8 items have no labels, so nothing can be measured; searching them works"),
        (StoreLabels("judged"), "the 8 items have no judgements"),
    ],
)
def test_what_cannot_be_measured(tmp_path: Path, labels: StoreLabels, said: str):
    with pytest.raises(DataError, match=said):
        measure(store_of(tmp_path, labels), ["hap"])


def test_an_evaluation_comes_back(tmp_path: Path):
    store = store_of(tmp_path, KINDS["tree"][0], extra={"table": "cafe", "damaged": ["x.jpg: truncated"]})
    report = measure(store, ["r@1", "ap@5/hits", "hap", "ap.1"])
    save_evaluation(tmp_path / "deep" / "best.json", report, store)
    found = load_evaluation(tmp_path / "deep" / "best.json")
    assert list(found["mean"]) == list(report.mean), "the first metric is a report's headline"
    assert found["mean"] == dict(report.mean)
    assert (found["encoder"], found["table"], found["damaged"]) == ("f00d", "cafe", ["x.jpg: truncated"])
    assert found["level_names"] == ["kind", "group"]
    assert found["convention"] == dict(report.convention)
    assert found["per_query"].keys() == report.per_query.keys()
    for name, values in report.per_query.items():
        np.testing.assert_array_equal(found["per_query"][name], values)
    assert np.isnan(found["per_query"]["hap"][7]), "the last picture is like no other"
    assert found["skipped"]["hap"] == 1


def test_undefined_means_are_null_in_the_file(tmp_path: Path):
    store = store_of(tmp_path, StoreLabels("classes", np.arange(COUNT)))
    save_evaluation(tmp_path / "e.json", measure(store, ["ap"]), store)
    text = (tmp_path / "e.json").read_text()
    assert json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))["mean"] == {"ap": None}


def test_missing_and_damaged_evaluations(tmp_path: Path):
    store = store_of(tmp_path, KINDS["classes"][0])
    with pytest.raises(StorageError, match=r"e\.json does not exist"):
        load_evaluation(tmp_path / "e.json")
    save_evaluation(tmp_path / "e.json", measure(store, ["ap"]), store)
    data = (tmp_path / "e.npz").read_bytes()
    for contents in (data[:40], b"", b"text"):
        (tmp_path / "e.npz").write_bytes(contents)
        with pytest.raises(StorageError, match=r"e\.npz cannot be read .*; measure again"):
            load_evaluation(tmp_path / "e.json")
    (tmp_path / "e.npz").unlink()
    with pytest.raises(StorageError, match=r"e\.npz cannot be read .*; measure again"):
        load_evaluation(tmp_path / "e.json")


@pytest.mark.parametrize("kind", KINDS)
def test_queries_that_are_not_items_search_among_those(tmp_path: Path, kind: str):
    labels = KINDS[kind][0]
    store = store_of(tmp_path, replace(labels, probes=3))
    assert labels.values is not None
    make = {"tree": Relevance.tree, "classes": Relevance.classes, "tags": Relevance.tags}[kind]
    relevance = make(labels.values[5:], labels.values[:5])
    want = evaluate(VECTORS[5:], VECTORS[:5], relevance=relevance, metrics=["ap", "r@1"])
    assert measure(store, ["ap", "r@1"]).mean == pytest.approx(dict(want.mean), nan_ok=True)
    assert queries_of(store).tolist() == [5, 6, 7]
    assert queries_of(store_of(tmp_path / "all", labels)).tolist() == list(range(8))
    trial = make_trial(store)
    assert (len(trial.queries), trial.gallery is not None and len(trial.gallery)) == (3, 5)
    report = evaluate_all(trial.queries, trial.gallery, relevances=trial.relevances, metrics=["ap", "r@1"])[""]
    assert report.mean == pytest.approx(dict(want.mean), nan_ok=True)
    with pytest.raises(DataError, match="holds queries and their items; leave the gallery out"):
        make_trial(store, store)
