from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pertinent.store import EmbeddingStore, StoreLabels


@pytest.fixture
def stores(tmp_path: Path) -> None:
    """Two stores of one level, `a` and `b`, and one of two levels, `tree`."""
    for seed, name in enumerate(("a", "b", "tree")):
        x = np.random.default_rng(seed).standard_normal((20, 6)).astype(np.float32)
        fine = np.arange(20) % 5
        values, levels = (np.stack([fine, fine // 2], 1), ["fine", "coarse"]) if name == "tree" else (fine, ["fine"])
        names = [[f"{level} {n}" for n in range(5)] for level in levels]
        labels = StoreLabels("tree" if name == "tree" else "classes", values, levels, names)
        EmbeddingStore.write(tmp_path / name, x, [f"{name}{n}.jpg" for n in range(20)], labels=labels)


def rows(said: str) -> dict[str, list[str]]:
    return {words[0]: words[1:] for words in map(str.split, said.splitlines()[1:])}


def means(path: str) -> dict[str, float]:
    value: dict[str, float] = json.loads(Path(path).read_text())["mean"]
    return value


def test_test_sets_are_averaged(call: Any, stores: None) -> None:
    for name in ("a", "b"):
        call("evaluate", name, "--metrics", "ap,r@1", "--json", f"{name}.json")
    said = call("average", "a.json", "b.json").stdout
    assert said.split()[:4] == ["metric", "a", "b", "mean"]
    for metric in ("ap", "r@1"):
        values = [means(f"{name}.json")[metric] for name in ("a", "b")]
        assert rows(said)[metric] == [f"{100 * value:.1f}" for value in [*values, np.mean(values)]]
    # Files of one name in two folders are told apart by their paths.
    Path("other").mkdir()
    Path("b.json").rename("other/a.json")
    assert call("average", "a.json", "other/a.json").stdout.split()[1:3] == ["a.json", "other/a.json"]


def test_levels_of_one_report_are_averaged(call: Any, stores: None) -> None:
    call("evaluate", "tree", "--metrics", "ap,hap", "--json", "tree.json")
    said = rows(call("average", "tree.json").stdout)
    mean = means("tree.json")
    assert said == {"ap": [f"{50 * (mean['ap.0'] + mean['ap.1']):.1f}"]}, "one value for a tree has no levels"


def test_what_cannot_be_averaged_is_told(call: Any, stores: None, tmp_path: Path) -> None:
    call("evaluate", "a", "--metrics", "ap", "--json", "a.json")
    call("evaluate", "b", "--metrics", "rp", "--json", "b.json")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "half.json").write_text('{"mean": {"ap": 0.5}}')
    for words, said in (
        (["a.json"], "this one has ap; give one report a test set"),
        (["a.json", "b.json"], "overall needs reports of the same metrics, one a test set; got ap; rp"),
        (["a.json", "./a.json"], "a report is given twice"),
        (["list.json"], "list.json is not one report; give a file that `pertinent evaluate --json` wrote"),
        (["half.json"], "this is no report: skipped"),
        (["none.json"], "none.json does not exist"),
    ):
        assert said in call("average", *words, status=1).stderr
