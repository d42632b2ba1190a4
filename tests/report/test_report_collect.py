from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import recipe_of, run_recipe, write_pictures, write_recipe
from pertinent.engine.check import CHOSEN_ON_TEST, check_recipe
from pertinent.engine.events import read_events
from pertinent.engine.measure import load_evaluation, measure, save_evaluation
from pertinent.engine.run import Run
from pertinent.errors import InputError, StorageError
from pertinent.report import collect
from pertinent.report.collect import report_run
from pertinent.report.content import ReportContent
from pertinent.store import EmbeddingStore, StoreLabels

Collect = Callable[..., ReportContent]


@pytest.fixture
def contents(monkeypatch: pytest.MonkeyPatch) -> Collect:
    """What a report would say, without writing it."""
    found: list[ReportContent] = []

    def keep(content: ReportContent, path: Path) -> Path:
        found.append(content)
        return path

    monkeypatch.setattr(collect, "write_report", keep)

    def run(*arguments: Any, **options: Any) -> ReportContent:
        report_run(*arguments, **options)
        return found[-1]

    return run


@pytest.fixture(scope="module")
def validated(tmp_path_factory: pytest.TempPathFactory, recipe_file: Path) -> Run:
    """A run with validation curves, of which an epoch was repeated after a stop."""
    folder = tmp_path_factory.mktemp("validated") / "run"

    def act(event: dict[str, Any]) -> None:
        if event["event"] == "step" and (event["epoch"], event["step"]) == (2, 2):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        run_recipe(recipe_file, folder, "data.val=val", listener=act)
    return run_recipe(recipe_file, folder, "data.val=val", resume=True)


@pytest.fixture
def changed(tmp_path: Path, finished_run: Run) -> Run:
    """A copy of the run, to be changed."""
    shutil.copytree(finished_run.folder, tmp_path / "copy")
    return Run(tmp_path / "copy")


def relabel(run: Run, labels: StoreLabels) -> None:
    for name in ("before", "best"):
        store = EmbeddingStore.open(run.store(name))
        vectors = np.array(store.vectors)
        EmbeddingStore.write(store.folder, vectors, store.ids, labels=labels, encoder=store.encoder)


def test_a_report_is_written_where_it_is_wanted(finished_run: Run, tmp_path: Path):
    path = report_run(finished_run, path=tmp_path / "r.html")
    assert path == tmp_path / "r.html"
    page = path.read_text()
    assert page.startswith("<!doctype html>")
    assert str(finished_run.folder) in page


def test_metrics_are_those_of_the_evaluations(contents: Collect, finished_run: Run):
    content = contents(finished_run)
    assert content.models == ["before training", "after training"]
    assert content.levels == ["class", "parent"]
    before, best = (load_evaluation(finished_run.evaluation(name)) for name in ("before", "best"))
    assert content.metrics[0].name == "H-AP"
    for row, name in zip(content.metrics, best["mean"], strict=True):
        assert row.values == {"before training": before["mean"][name], "after training": best["mean"][name]}
        assert row.convention == best["convention"][name]
        assert row.skipped == {"before training": 0, "after training": 0}
    assert content.summary == ["small", "12 queries, each ranked against the other 11 pictures."]


def hits_of(run: Run, name: str, row: int) -> list[tuple[str, float]]:
    store = EmbeddingStore.open(run.store(name))
    scores = store.vectors @ store.vectors[row]
    order = [place for place in np.argsort(-scores, kind="stable").tolist() if place != row][:10]
    return [(store.ids[place], float(scores[place])) for place in order]


def test_hits_are_the_first_ten_without_the_query_itself(contents: Collect, finished_run: Run):
    content = contents(finished_run)
    ids = EmbeddingStore.open(finished_run.store("best")).ids
    per_query = load_evaluation(finished_run.evaluation("best"))["per_query"]["hap"]
    assert [example.id for example in content.gallery] == ids, "a small collection is shown whole"
    for row, example in enumerate(content.gallery):
        assert example.value["after training"] == per_query[row]
        for model, name in (("before training", "before"), ("after training", "best")):
            want = hits_of(finished_run, name, row)
            assert [hit.id for hit in example.hits[model]] == [name for name, _ in want]
            np.testing.assert_allclose(
                [hit.score for hit in example.hits[model]], [score for _, score in want], rtol=1e-5
            )
            for hit in example.hits[model]:
                assert hit.level == sum(a == b for a, b in zip(hit.words, example.words, strict=True))
        assert example.image.size == (24, 24)


def test_failures_come_worst_first(contents: Collect, finished_run: Run):
    content = contents(finished_run)
    assert len(content.failures) == 12

    def severity(levels: list[int | None]) -> float:
        return sum((2 - (level or 0)) / math.log2(rank + 2) for rank, level in enumerate(levels))

    found = [severity([hit.level for hit in example.hits["after training"]]) for example in content.failures]
    assert found == sorted(found, reverse=True)
    assert found[0] > found[-1]


def test_a_query_that_has_nothing_to_find_is_no_failure(contents: Collect, changed: Run):
    store = EmbeddingStore.open(changed.store("best"))
    values = np.array(store.labels.values)
    values[[0, 1, 2]] = -1  # unlabelled
    values[3] = [99, 0]  # the only one of its kind
    names = [[*store.labels.class_names[0], *["x"] * 94], store.labels.class_names[1]]
    relabel(changed, StoreLabels("tree", values, store.labels.level_names, names))
    content = contents(changed)
    assert {example.id for example in content.failures} == set(store.ids[4:])


@pytest.mark.parametrize("kind", ["classes", "tags", "none"])
def test_labels_of_the_other_kinds(contents: Collect, changed: Run, kind: Any):
    values = {"classes": np.arange(12) // 2, "tags": np.eye(12, dtype=bool), "none": None}[kind]
    labels = StoreLabels(kind, values, ["kind"], [[f"k{i}" for i in range(12)]])
    relabel(changed, labels)
    content = contents(changed)
    levels = {hit.level for example in content.gallery for hit in example.hits["after training"]}
    if kind == "classes":
        assert levels <= {0, 1}
        assert content.failures
    else:
        assert levels == ({0} if kind == "tags" else {None})
        assert content.failures == []


def test_failures_of_pictures_with_several_tags(contents: Collect, changed: Run):
    tags = np.zeros((12, 3), dtype=bool)
    tags[:6, 0] = tags[4:, 1] = tags[::5, 2] = True
    relabel(changed, StoreLabels("tags", tags, ["tag"], [["a", "b", "c"]]))
    content = contents(changed)
    assert len(content.failures) == 12
    row = {name: place for place, name in enumerate(EmbeddingStore.open(changed.store("best")).ids)}
    for example in content.failures:
        for hit in example.hits["after training"]:
            assert hit.level == int((tags[row[example.id]] & tags[row[hit.id]]).any())


def test_queries_that_are_not_found(contents: Collect, changed: Run):
    store = EmbeddingStore.open(changed.store("best"))
    for name in ("before", "best"):
        part = EmbeddingStore.open(changed.store(name))
        labels = StoreLabels("classes", np.arange(12) % 3, ["kind"], [["a", "b", "c"]], probes=3)
        made = EmbeddingStore.write(part.folder, np.array(part.vectors), part.ids, labels=labels, encoder=part.encoder)
        save_evaluation(changed.evaluation(name), measure(made, ["r@1", "ap"]), made)
    content = contents(changed)
    assert {example.id for example in content.gallery} == set(store.ids[9:])
    found = {hit.id for example in content.gallery for hit in example.hits["after training"]}
    assert found <= set(store.ids[:9])
    assert "3 queries, each ranked against 9 items." in content.summary


def test_a_large_collection_is_sampled_alike_for_every_model(
    contents: Collect, finished_run: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(collect, "GALLERY", 4)
    monkeypatch.setattr(collect, "FAILURES", 3)
    monkeypatch.setattr(collect, "SEARCHED", 6)
    first, again = contents(finished_run), contents(finished_run)
    assert [example.id for example in first.gallery] == [example.id for example in again.gallery]
    assert len({example.id for example in first.gallery}) == 4
    assert len(first.failures) == 3


def test_curves(contents: Collect, validated: Run):
    curves = {curve.title: curve for curve in contents(validated).curves}
    steps = [event for event in read_events(validated.log_path) if event["event"] == "step"]
    assert len(steps) == 8, "two steps were repeated"
    loss = curves["Training loss"].series[0]
    np.testing.assert_allclose(loss.x, np.arange(1, 7) / 3)
    last = {event["epoch"] - 1 + event["step"] / 3: event["parts"]["loss"] for event in steps}
    np.testing.assert_allclose(loss.y, [last[x] for x in sorted(last)])
    assert [series.name for series in curves["Parts of the loss"].series] == ["hap", "cluster"]
    assert [series.name for series in curves["Learning rate"].series] == ["backbone", "head", "losses"]
    hap = curves["hap on validation"].series[0]
    assert hap.x == [1.0, 2.0]
    epochs = [event for event in read_events(validated.log_path) if event["event"] == "epoch"]
    assert hap.y == [100 * event["metrics"]["hap"] for event in epochs]


def test_facts_and_commands(contents: Collect, finished_run: Run):
    content = contents(finished_run)
    facts = dict(content.facts)
    assert facts["run"] == str(finished_run.folder)
    assert facts["losses"] == "0.9 hap, 0.1 cluster"
    assert facts["pictures"] == "24 to train, 12 to test"
    assert facts["training"].startswith("2 epochs, ")
    assert EmbeddingStore.open(finished_run.store("best")).encoder.startswith(facts["encoder"])
    assert ("measure again", f"pertinent evaluate {finished_run.folder}") in content.commands


def test_beside_other_runs(contents: Collect, finished_run: Run, validated: Run):
    content = contents(finished_run, {"other": validated}, "mine")
    assert content.models == ["before training", "other", "mine"]
    assert {series.name for series in content.curves[0].series} == {"mine", "other"}
    assert content.metrics[0].values.keys() == set(content.models)


def test_names_that_clash(finished_run: Run, validated: Run):
    for name in ("before training", "mine"):
        with pytest.raises(InputError, match="need names of their own, other than 'mine' and 'before training'"):
            report_run(finished_run, {name: validated}, "mine")


def test_a_run_on_other_pictures(finished_run: Run, tmp_path: Path):
    root = write_pictures(tmp_path / "p", splits=("train", "test"))
    (root / "test" / "warm" / "red" / "0.png").unlink()
    other = run_recipe(write_recipe(tmp_path / "r.yaml", root), tmp_path / "run", "train.epochs=1")
    with pytest.raises(StorageError, match="'other' was measured on other pictures than 'before training'"):
        report_run(finished_run, {"other": other}, "mine")
    (root / "test" / "cold" / "blue" / "0.png").unlink()
    with pytest.raises(StorageError, match=r"folder no longer holds 'test/cold/blue/0\.png'; put it back"):
        report_run(other)


def test_a_run_that_is_not_finished(changed: Run):
    changed.evaluation("best").unlink()
    with pytest.raises(StorageError, match="has no evaluation of 'best' yet; let its training end first"):
        report_run(changed)


def test_damaged_pictures_are_mentioned(contents: Collect, changed: Run):
    path = changed.evaluation("best")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"damaged": ["a.jpg: truncated"]}))
    assert "1 damaged pictures were left out." in contents(changed).summary


def test_a_choice_on_the_test_split_is_told(contents: Collect, changed: Run, recipe_file: Path):
    flattered = "The best epoch was chosen on the test split, as some papers do: these figures flatter it."
    assert flattered not in contents(changed).summary
    text = changed.recipe_path.read_text()
    changed.recipe_path.write_text(text.replace("val: null", "val: test"))
    assert flattered in contents(changed).summary
    found = check_recipe(recipe_of(recipe_file, "data.val=test"))
    assert [text for text in found.warnings if text == CHOSEN_ON_TEST]
