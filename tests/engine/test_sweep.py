from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from builders import Listening
from pertinent.engine import sweep as module
from pertinent.engine.recipe import Recipe
from pertinent.engine.run import Run
from pertinent.engine.sweep import Row, Sweep, combine, split_values
from pertinent.errors import ConfigError, StorageError, TrainingError, UnknownNameError

FAST = ["train.epochs=1", "evaluate.metrics=[hap,r@1]"]


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Training that only leaves results: H-AP grows with the rate; a rate of 7 fails, 8 is Ctrl-C. Lists its calls."""
    calls: list[tuple[str, bool]] = []

    def train(recipe: Recipe, folder: Path, *, resume: bool, listener: Any) -> Run:
        calls.append((folder.name, resume))
        run = Run(folder)
        run.save_recipe(recipe)
        if recipe.optim.lr == 7:
            raise TrainingError("loss became nan")
        if recipe.optim.lr == 8:
            raise KeyboardInterrupt
        run.index.mkdir()
        (run.index / "index.json").write_text("{}")
        return run

    def load(path: Path) -> dict[str, Any]:
        recipe = Run.open(path.parents[1]).recipe()
        return {"mean": {"r@1.0": None, "hap": recipe.optim.lr / 10 + recipe.train.seed / 100}}

    monkeypatch.setattr(module, "train", train)
    monkeypatch.setattr(module, "load_evaluation", load)
    return calls


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a", ["a"]),
        ("a, b,c", ["a", "b", "c"]),
        ("[1,2],[3]", ["[1,2]", "[3]"]),
        ("'a,b',\"c,d\"", ["'a,b'", '"c,d"']),
        ("{a: [1,2], b: 3}", ["{a: [1,2], b: 3}"]),
        ("", [""]),
    ],
)
def test_commas_outside_brackets_and_quotes_separate(text: str, values: list[str]):
    assert split_values(text) == values


def test_all_combinations(recipe_file: Path):
    found = combine(str(recipe_file), ["optim.lr=0.1,0.2", "train.epochs=3"], seeds=2)
    assert [item.name for item in found] == [f"optim.lr={lr}_train.seed={seed}" for lr in (0.1, 0.2) for seed in (0, 1)]
    assert [(item.recipe.optim.lr, item.recipe.train.seed) for item in found] == [
        (0.1, 0),
        (0.1, 1),
        (0.2, 0),
        (0.2, 1),
    ]
    assert all(item.recipe.train.epochs == 3 for item in found)


def test_names_are_file_names_and_unique(recipe_file: Path):
    found = combine(str(recipe_file), ["description=a/b,a b," + "x" * 200])
    names = [item.name for item in found]
    assert names[:2] == ["description=a-b", "description=a-b-1"]
    assert len(names[2]) < 120


@pytest.mark.parametrize(
    ("words", "seeds", "problems"),
    [
        (["optim.lr=fast,0.1", "trian=1"], None, ["optim.lr: Input should be a valid number", "trian: unknown key"]),
        (["optim.lr=1,2", "optim.lr=3"], None, ["optim.lr: is given twice"]),
        (["train.seed=1"], 2, ["train.seed: is given twice"]),
        (["optim.lr=1,,2"], None, ["optim.lr: a value is missing between commas"]),
        (["epochs"], None, ["'epochs': expected key=value"]),
    ],
)
def test_every_problem_is_told_once(recipe_file: Path, words: list[str], seeds: int | None, problems: list[str]):
    with pytest.raises(ConfigError) as error:
        combine(str(recipe_file), words, seeds)
    assert len(error.value.problems) == len(problems)
    for found, problem in zip(sorted(error.value.problems), sorted(problems), strict=True):
        assert found.startswith(problem)


def test_the_sorting_metric_must_be_measured(recipe_file: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"--by ndcg: is not measured; add it to evaluate\.metrics"):
        Sweep(str(recipe_file), [], tmp_path, by="ndcg")
    with pytest.raises(UnknownNameError, match="unknown metric 'happ'"):
        Sweep(str(recipe_file), [], tmp_path, by="happ")
    assert Sweep(str(recipe_file), [], tmp_path, by="r@1.1").by == "r@1.1"


def test_it_does_not_run_on_several_processes(recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="without torchrun"):
        Sweep(str(recipe_file), [], tmp_path)


def test_mean_and_spread_over_seeds(recipe_file: Path, tmp_path: Path, instant: Any):
    plan = Sweep(str(recipe_file), ["optim.lr=1,3,2"], tmp_path / "out", seeds=3)
    events = Listening()
    assert len(list(plan.run(listener=events))) == 9
    assert [event["number"] for event in events.of("sweep")] == list(range(1, 10))
    assert [row.settings["optim.lr"] for row in plan.ranked()] == ["3", "2", "1"]
    best = plan.ranked()[0]
    assert best.mean("hap") == pytest.approx(0.31)
    assert best.spread("hap") == pytest.approx(0.01)
    assert best.cell("hap") == "31.0 ± 1.0"
    assert math.isnan(best.mean("r@1.0"))
    said = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert said["by"] == "hap"
    assert said["rows"][0]["mean"] == {"hap": pytest.approx(0.31), "r@1.0": None}
    assert (tmp_path / "out" / "sweep.md").read_text().splitlines()[:3] == [
        "| optim.lr | runs | hap | r@1.0 |",
        "|---|---|---|---|",
        "| 3 | 3 | 31.0 ± 1.0 | - |",
    ]


def test_a_failed_run_is_listed_and_the_others_go_on(recipe_file: Path, tmp_path: Path, instant: Any):
    plan = Sweep(str(recipe_file), ["optim.lr=7,1"], tmp_path / "out")
    list(plan.run())
    assert plan.failed == {"optim.lr=7": "loss became nan"}
    assert plan.ranked()[-1].cell("hap") == "failed"
    assert "- optim.lr=7: loss became nan" in (tmp_path / "out" / "sweep.md").read_text()


def test_finished_runs_stay_and_others_go_on(recipe_file: Path, tmp_path: Path, instant: Any):
    with pytest.raises(KeyboardInterrupt):
        list(Sweep(str(recipe_file), ["optim.lr=1,8,2"], tmp_path / "out").run())
    with pytest.raises(StorageError, match="holds a sweep already; go on with it by --resume"):
        list(Sweep(str(recipe_file), ["optim.lr=1,8,2"], tmp_path / "out").run())
    instant.clear()
    with pytest.raises(KeyboardInterrupt):
        list(Sweep(str(recipe_file), ["optim.lr=1,8,2"], tmp_path / "out").run(resume=True))
    assert instant == [("optim.lr=8", True)]


def test_folders_that_are_not_this_sweep(recipe_file: Path, tmp_path: Path, instant: Any):
    with pytest.raises(StorageError, match="holds no sweep to resume"):
        list(Sweep(str(recipe_file), [], tmp_path / "none").run(resume=True))
    (tmp_path / "mine.txt").touch()
    with pytest.raises(StorageError, match="not ours to replace"):
        list(Sweep(str(recipe_file), [], tmp_path).run())
    assert instant == []


def test_a_row_without_runs():
    assert Row({}).cell("hap") == "-"


def test_real_runs(recipe_file: Path, tmp_path: Path):
    plan = Sweep(str(recipe_file), ["optim.lr=0.001,1e30", *FAST], tmp_path / "out", by="r@1")
    list(plan.run())
    assert plan.metrics[0] == "r@1.0"
    assert len(plan.ranked()[0].runs) == 1
    again = Sweep(str(recipe_file), ["optim.lr=0.001", *FAST], tmp_path / "out", by="r@1")
    assert [item.name for item in again.combinations] == ["run"]
