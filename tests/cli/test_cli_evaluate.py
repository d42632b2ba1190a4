from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pertinent.data.table import Judgement
from pertinent.engine.evaluate import evaluate
from pertinent.engine.protocols import evaluate_protocol
from pertinent.relevance import Relevance
from pertinent.store import EmbeddingStore, StoreLabels

RNG = np.random.default_rng(0)


def vectors(count: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def tree(rows: list[tuple[int, int]]) -> StoreLabels:
    fine, coarse = (max(column) + 1 for column in zip(*rows, strict=True))
    names = [[f"fine {n}" for n in range(fine)], [f"coarse {n}" for n in range(coarse)]]
    return StoreLabels("tree", np.array(rows, np.int64), ["fine", "coarse"], names)


@pytest.fixture
def classes(tmp_path: Path) -> EmbeddingStore:
    labels = tree([(n % 5, n % 5 // 2) for n in range(30)])
    return EmbeddingStore.write(tmp_path / "store", vectors(30), [f"a/{n}.jpg" for n in range(30)], labels=labels)


def read(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def test_a_protocol_writes_report_table_and_curves(call: Any, classes: EmbeddingStore, tmp_path: Path):
    said = call("evaluate", "store", "--protocol", "hist", "--out", "out").stdout
    want = evaluate_protocol("hist", classes.vectors, labels=classes.labels.values)[""]
    found = read(tmp_path / "out" / "report.json")
    assert found["protocol"] == "hist"
    report = found["reports"][""]
    assert report["mean"] == pytest.approx(dict(want.mean))
    assert len(report["per_query"]["r@1"]) == 30
    assert {share["name"] for share in report["shares"]} == {f"fine {n}" for n in range(5)}
    low, high = report["confidence"]["r@1"]["low"], report["confidence"]["r@1"]["high"]
    assert low <= report["mean"]["r@1"] <= high
    assert "r@32" in said
    assert "`r@1`" in (tmp_path / "out" / "table.md").read_text()
    rows = list(csv.reader((tmp_path / "out" / "curves.csv").read_text().splitlines()))
    assert len(rows) == 1 + 29, "every rank but the query's own"
    assert float(rows[-1][3]) == pytest.approx(1.0), "in the end all is found"
    assert (tmp_path / "out" / "curves.svg").read_text().lstrip().startswith("<?xml")


def test_a_gallery_whose_labels_are_numbered_otherwise(call: Any, classes: EmbeddingStore, tmp_path: Path):
    values = classes.labels.values
    assert values is not None
    names = [list(reversed(column)) for column in classes.labels.class_names]
    turned = np.stack([len(names[n]) - 1 - values[:, n] for n in range(2)], 1)
    labels = StoreLabels("tree", turned, classes.labels.level_names, names)
    held = EmbeddingStore.write(tmp_path / "held", vectors(30, seed=1), [f"g{n}" for n in range(30)], labels=labels)
    call("evaluate", "store", "--gallery", "held", "--metrics", "ap,hap", "--json", "e.json")
    want = evaluate(classes.vectors, held.vectors, relevance=Relevance.tree(values, values), metrics=["ap", "hap"])
    assert read(tmp_path / "e.json")["mean"] == pytest.approx(dict(want.mean))


def test_a_picture_in_both_stores_does_not_find_itself(call: Any, classes: EmbeddingStore, tmp_path: Path):
    call("evaluate", "store", "--gallery", "store", "--metrics", "r@1", "--json", "both.json")
    call("evaluate", "store", "--metrics", "r@1", "--json", "one.json")
    assert read(tmp_path / "both.json")["mean"] == read(tmp_path / "one.json")["mean"]


def test_tags_by_hamming_with_codes_and_ties(call: Any, tmp_path: Path):
    tags = np.random.default_rng(3).random((40, 3)) < 0.5
    tags[:, 0] |= ~tags.any(1)
    labels = StoreLabels("tags", tags, ["tag"], [["sky", "sea", "sun"]])
    outputs = np.random.default_rng(4).standard_normal((40, 6)).astype(np.float32)
    EmbeddingStore.write(tmp_path / "codes", outputs, [str(n) for n in range(40)], labels=labels)
    said = call("evaluate", "codes", "--protocol", "hyp2/flickr25k", "--out", "out").stdout
    assert "queries have items of different relevance with equal scores" in said
    found = read(tmp_path / "out" / "report.json")
    assert found["codes"]["bits"] == 6
    assert {share["name"] for share in found["reports"][""]["shares"]} <= {"1 tag", "2 tags", "3 tags"}
    assert "by radius" in (tmp_path / "out" / "curves.csv").read_text()
    stable = call("evaluate", "codes", "--protocol", "hyp2/flickr25k", "--ties", "index", "--json", "i.json")
    assert stable.exit_code == 0
    assert read(tmp_path / "i.json")["ties"] != found["reports"][""]["ties"]


def landmarks(tmp_path: Path) -> tuple[EmbeddingStore, EmbeddingStore]:
    queries = EmbeddingStore.write(tmp_path / "q", vectors(3, seed=5), [f"jpg/q{n}.jpg" for n in range(3)])
    items = EmbeddingStore.write(tmp_path / "g", vectors(12, seed=6), [f"jpg/i{n}.jpg" for n in range(12)])
    gnd = [{"easy": [0, 1], "hard": [2], "junk": [3], "bbx": [0, 0, 5, 5]} for _ in range(3)]
    truth = {"imlist": [f"i{n}" for n in reversed(range(10))], "qimlist": ["q2", "q0", "q1"], "gnd": gnd}
    (tmp_path / "gnd.json").write_text(json.dumps(truth))
    return queries, items


def test_a_ground_truth_names_queries_and_items(call: Any, tmp_path: Path):
    queries, items = landmarks(tmp_path)
    said = call("evaluate", "q", "--gallery", "g", "--truth", "gnd.json", "--json", "e.json").stdout
    # Item 0 of the list is i9; i10 and i11 are not in it and distract.
    gnd = [{"easy": [9, 8], "hard": [7], "junk": [6]} for _ in range(3)]
    want = evaluate_protocol("revisited", queries.vectors[[2, 0, 1]], items.vectors, labels=gnd)
    found = read(tmp_path / "e.json")
    assert list(found) == ["easy", "medium", "hard"]
    for name, report in want.items():
        assert found[name]["mean"] == pytest.approx(dict(report.mean))
    assert "mp@10" in said


def test_judged_labels_of_a_store(call: Any, tmp_path: Path):
    x = vectors(12, seed=7)
    judged = [Judgement(0, (1, 2), (3,), (4,)), Judgement(5, (6,), (7, 8), ())]
    EmbeddingStore.write(
        tmp_path / "s", x, [str(n) for n in range(12)], labels=StoreLabels("judged", None, judgements=judged)
    )
    call("evaluate", "s", "--json", "e.json")
    relevance = Relevance.judged(judged, "hard", n_items=12)
    want = evaluate(x[[0, 5]], x, relevance=relevance, metrics=["ap_trapezoid"])
    assert read(tmp_path / "e.json")["hard"]["mean"]["ap_trapezoid"] == pytest.approx(want.mean["ap_trapezoid"])


@pytest.mark.parametrize(("word", "protocols"), [("easy", ["easy", "medium", "hard"]), ("ok", [])])
def test_pictures_that_are_queries_only_are_never_found(call: Any, tmp_path: Path, word: str, protocols: list[str]):
    x = vectors(12, seed=7)
    judged = [Judgement(10, junk=(4,), **{word: (1, 2)}), Judgement(11, junk=(0,), **{word: (6,)})]
    labels = StoreLabels("judged", None, judgements=judged, probes=2)
    EmbeddingStore.write(tmp_path / "s", x, [str(n) for n in range(12)], labels=labels)
    call("evaluate", "s", "--json", "e.json")
    relevance = Relevance.judged([{"ok": (1, 2), "junk": (4,)}, {"ok": (6,), "junk": (0,)}], "classic", n_items=10)
    want = evaluate(x[10:], x[:10], relevance=relevance, metrics=["ap_trapezoid"])
    found = read(tmp_path / "e.json")
    assert [name for name in found if name in ("easy", "medium", "hard")] == protocols
    value = (found["easy"] if protocols else found)["mean"]["ap_trapezoid"]
    assert value == pytest.approx(want.mean["ap_trapezoid"])


@pytest.mark.parametrize("as_names", [True, False])
def test_the_ranking_of_another_tool(call: Any, classes: EmbeddingStore, tmp_path: Path, as_names: bool):
    scores = classes.vectors @ classes.vectors.T
    np.fill_diagonal(scores, -2)
    order = np.argsort(-scores, 1, kind="stable")[:, :29]
    ids = np.array(classes.ids)[order] if as_names else order
    np.savez(tmp_path / "r.npz", ids=ids, scores=np.take_along_axis(scores, order, 1))
    call("evaluate", "store", "--ranking", "r.npz", "--metrics", "ap,r@1", "--json", "r.json", "--out", "out")
    call("evaluate", "store", "--metrics", "ap,r@1", "--json", "own.json")
    assert read(tmp_path / "r.json")["mean"] == pytest.approx(read(tmp_path / "own.json")["mean"])
    assert not (tmp_path / "out" / "curves.csv").exists(), "curves are of vectors"


def test_a_short_ranking_says_what_is_not_known(call: Any, classes: EmbeddingStore, tmp_path: Path):
    np.savez(tmp_path / "r.npz", ids=np.array([[(n + 1) % 30] for n in range(30)]))
    said = call("evaluate", "store", "--ranking", "r.npz", "--metrics", "ap,r@1").stdout
    assert "ap.0: " in said.replace("\n", " ")


def test_two_measurements_are_compared_query_by_query(call: Any, classes: EmbeddingStore, tmp_path: Path):
    call("evaluate", "store", "--metrics", "ap,r@1", "--out", "first")
    EmbeddingStore.write(tmp_path / "better", vectors(30, seed=9), classes.ids, labels=classes.labels)
    said = call("evaluate", "better", "--metrics", "ap,r@1", "--compare", "first").stdout
    assert "95% interval" in said
    assert "worse" in said
    same = call("evaluate", "store", "--metrics", "ap,r@1", "--compare", "first/report.json").stdout
    assert "+0.00" in same


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--protocol", "revisted"], "unknown protocol 'revisted'; did you mean 'revisited'"),
        (["--protocol", "revisited"], "protocol revisited needs labels of kind judged, store has tree"),
        (["--protocol", "hyp2/voc2007"], "needs labels of kind tags"),
        (["--protocol", "hist", "--similarity", "dot"], "the protocol ranks by cosine; leave --similarity dot out"),
        (["--metrics", " , "], "--metrics names no metric"),
        (["--ties", "sometimes"], "sometimes"),
        (["--ranking", "none.npz"], "none.npz cannot be read"),
        (["--ranking", "none.npz", "--ties", "index"], "--ties does not fit --ranking"),
        (["--compare", "store"], "store/report.json does not exist"),
        (["--truth", "gnd.pkl"], "gnd.pkl is missing"),
        (["--gallery", "nowhere"], "nowhere is no finished embedding store"),
    ],
)
def test_mistakes(call: Any, classes: EmbeddingStore, words: list[str], said: str):
    assert said in call("evaluate", "store", *words, status=1).stderr


def test_stores_that_do_not_fit(call: Any, classes: EmbeddingStore, tmp_path: Path):
    plain = StoreLabels("classes", np.zeros(4, np.int64), ["fine"], [["fine 0"]])
    EmbeddingStore.write(tmp_path / "plain", vectors(4), list("abcd"), labels=plain)
    said = call("evaluate", "store", "--gallery", "plain", status=1).stderr
    assert "store has labels of kind tree, plain of kind classes" in said


def test_a_ground_truth_that_misses_a_picture(call: Any, tmp_path: Path):
    landmarks(tmp_path)
    said = call("evaluate", "g", "--truth", "gnd.json", status=1).stderr
    assert "3 of 3 queries of the ground truth are not in g, the first: q2; embed them too" in said
    said = call("evaluate", "q", "--gallery", "q", "--truth", "gnd.json", status=1).stderr
    assert "10 of 10 items of the ground truth are not in q" in said


def test_the_published_ground_truth_is_read(call: Any, tmp_path: Path, shared: Path):
    truth = shared / "data" / "revisitop" / "gnd_roxford5k.pkl"
    from pertinent.data.ground_truth import read_ground_truth

    known = read_ground_truth(truth)
    EmbeddingStore.write(tmp_path / "q", vectors(len(known.queries), 4, 1), [f"{name}.jpg" for name in known.queries])
    EmbeddingStore.write(tmp_path / "g", vectors(len(known.items), 4, 2), [f"{name}.jpg" for name in known.items])
    said = call("evaluate", "q", "--gallery", "g", "--truth", truth, "--protocol", "revisited", "--json", "e.json")
    assert {"easy", "medium", "hard"} == set(read(tmp_path / "e.json"))
    assert "of 70 queries have no relevant item" in said.stdout
