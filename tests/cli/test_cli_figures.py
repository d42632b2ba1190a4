from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import Listening, run_recipe
from pertinent.engine.evaluate import evaluate
from pertinent.engine.run import Run
from pertinent.relevance import Relevance
from pertinent.report import _figure_files
from pertinent.store import EmbeddingStore, StoreLabels

TAGS = np.random.default_rng(0).random((24, 3)) < 0.5


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the drawing out, which is slow, where the numbers are tested."""

    def no_picture(*words: object) -> bytes:
        return b"<svg/>"

    monkeypatch.setattr(_figure_files, "draw", no_picture)


def codes(folder: Path, seed: int, rows: slice = slice(0, 24)) -> EmbeddingStore:
    vectors = np.random.default_rng(seed).standard_normal((24, 6)).astype(np.float32)[rows]
    labels = StoreLabels("tags", TAGS[rows], ["tag"], [["sea", "sky", "dog"]])
    return EmbeddingStore.write(folder, vectors, [f"im{n}" for n in range(24)][rows], labels=labels)


def values(path: Path, panel: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            if row["panel"] == panel:
                found.setdefault(row["line"], []).append(float(row["y"]))
    return found


@pytest.mark.usefixtures("undrawn")
def test_two_stores_in_one_figure(call: Any, tmp_path: Path):
    stores = {name: codes(tmp_path / f"{name}_codes", seed) for seed, name in enumerate(("ours", "theirs"))}
    result = call(
        "figures", "ours_codes", "theirs_codes", "--out", "out", "--names", "ours, theirs",
        "--metrics", "ap@10/hits,topn@5", "--tsne-items", 20,
    )  # fmt: skip
    assert "ranked by hamming, equal scores: expected" in result.stdout
    assert "open out/index.html" in result.stdout
    assert "left out convergence of ours: a store has no log" in result.stderr
    for name, held in stores.items():
        want = evaluate(
            held.vectors,
            relevance=Relevance.tags(TAGS),
            metrics=["ap@10/hits", "topn@5"],
            similarity="hamming",
            ties="expected",
        )
        for metric, value in want.mean.items():
            assert values(tmp_path / "out" / "metrics.csv", metric)[name] == pytest.approx([value], abs=1e-9)


@pytest.mark.usefixtures("undrawn")
def test_ties_and_similarity_are_those_asked_for(call: Any, tmp_path: Path):
    held = codes(tmp_path / "codes", 0)
    words = ("figures", "codes", "--metrics", "ap", "--tsne-items", 20)
    for similarity, ties in (("hamming", "index"), ("cosine", None)):
        call(*words, "--out", similarity, "--similarity", similarity, *(["--ties", ties] if ties else []))
        want = evaluate(
            held.vectors, relevance=Relevance.tags(TAGS), metrics=["ap"], similarity=similarity, ties=ties
        ).mean["ap"]
        assert values(tmp_path / similarity / "metrics.csv", "ap")["codes"] == pytest.approx([want], abs=1e-9)
    assert not (tmp_path / "cosine" / "codes.svg").exists()


@pytest.mark.usefixtures("undrawn")
def test_queries_against_a_gallery_beside_a_store(call: Any, tmp_path: Path):
    queries, gallery = codes(tmp_path / "queries", 0, slice(0, 8)), codes(tmp_path / "gallery", 0, slice(8, 24))
    codes(tmp_path / "whole", 1)
    result = call(
        "figures", "whole", "--query", "queries", "--gallery", "gallery", "--out", "out", "--metrics", "ap",
        "--tsne-items", 16,
    )  # fmt: skip
    want = evaluate(
        queries.vectors,
        gallery.vectors,
        relevance=Relevance.tags(TAGS[:8], TAGS[8:]),
        metrics=["ap"],
        similarity="hamming",
    )
    found = values(tmp_path / "out" / "metrics.csv", "ap")
    assert found["queries"] == pytest.approx([want.mean["ap"]], abs=1e-9)
    assert found.keys() == {"whole", "queries"}
    assert "note: queries was measured on other pictures than whole" in result.stderr


@pytest.mark.usefixtures("undrawn")
def test_a_run_as_training_left_it(call: Any, finished_run: Run, tmp_path: Path):
    result = call("figures", finished_run.folder, "--out", "out", "--store", "before")
    report = evaluate(
        (held := EmbeddingStore.open(finished_run.store("before"))).vectors,
        relevance=Relevance.tree(held.labels.values),
        metrics=["hap"],
    )
    (found,) = values(tmp_path / "out" / "metrics.csv", "hap").values()
    assert found == pytest.approx([report.mean["hap"]], abs=1e-9)
    assert "left out convergence of small: no validation split was measured" in result.stderr
    assert "ranked by cosine, equal scores: index" in result.stdout


@pytest.mark.usefixtures("undrawn")
def test_convergence_is_what_the_log_of_a_run_says(call: Any, recipe_file: Path, tmp_path: Path):
    heard = Listening()
    run_recipe(recipe_file, tmp_path / "run", "data.val=val", "evaluate.select=r@1", listener=heard)
    call("figures", "run", "--out", "out", "--metrics", "hap")
    with (tmp_path / "out" / "convergence.csv").open() as file:
        rows = [(int(row["at"]), float(row["x"]), float(row["y"])) for row in csv.DictReader(file)]
    epochs = heard.of("epoch")
    assert rows == [
        (event["epoch"], pytest.approx(event["seconds"]), pytest.approx(event["metrics"]["r@1.0"])) for event in epochs
    ]
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing to draw"),
        (("none",), "neither a run"),
        (("codes", "--query", "codes"), "every --query needs its --gallery; got 1 and 0"),
        (("codes", "--gallery", "codes"), "every --query needs its --gallery; got 0 and 1"),
        (("codes", "codes"), "given twice"),
        (("codes", "--names", "a,b"), "must be 1 distinct names, one a line of the figures; got a, b"),
        (("codes", "--names", ","), "--names names no line"),
        (("codes", "--group"), "is a store; give the runs"),
        (("codes", "--metrics", ","), "names no metric"),
        (("codes", "--metrics", "app"), "unknown metric 'app'"),
        (("codes", "--similarity", "hammin"), "did you mean 'hamming'"),
        (("codes", "--ties", "indx"), "did you mean 'index'"),
        (("codes", "--tsne-items", 2), "--tsne-items must be at least 5, got 2"),
    ],
)
def test_words_that_are_wrong(call: Any, tmp_path: Path, words: tuple[Any, ...], said: str):
    codes(tmp_path / "codes", 0)
    result = call("figures", *words, "--out", "out", status=1)
    assert said in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("undrawn")
def test_a_folder_with_other_files_is_refused(call: Any, tmp_path: Path):
    codes(tmp_path / "codes", 0)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("")
    assert "thesis.tex" in call("figures", "codes", "--out", "out", status=1).stderr


def test_the_program_itself(tmp_path: Path):
    codes(tmp_path / "codes", 0)
    command = [sys.executable, "-m", "pertinent.cli.__main__", "figures", "codes", "--out", "out"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "index.html").is_file()
    assert "Warning" not in result.stderr
