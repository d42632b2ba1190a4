from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from pertinent.cli.__main__ import guarded
from pertinent.cli.sweeping import sweep
from pertinent.engine import sweep as module
from pertinent.engine.train import train
from pertinent.errors import TrainingError

app = typer.Typer()
app.command()(guarded(sweep))
FAST = ["train.epochs=1", "evaluate.metrics=[hap]"]


def call(*words: Any, status: int = 0) -> Any:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == status, result.output
    return result


def test_a_sweep_ends_with_a_table_and_can_go_on(recipe_file: Path, tmp_path: Path):
    words = [recipe_file, "optim.lr=0.001,0.01", *FAST, "--out", tmp_path / "out"]
    said = call(*words).stdout
    assert "2/2 optim.lr=0.01: 24 training pictures" in said
    assert f"table  {tmp_path / 'out' / 'sweep.md'}" in said
    assert "holds a sweep already" in call(*words, status=1).stderr
    again = call(*words, "--resume").stdout
    assert "training pictures" not in again
    assert again.splitlines()[-5:] == said.splitlines()[-5:]


def test_a_failure_ends_with_status_1(recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fails(recipe: Any, *arguments: Any, **options: Any) -> Any:
        if recipe.optim.lr == 7:
            raise TrainingError("loss became nan")
        return train(recipe, *arguments, **options)

    monkeypatch.setattr(module, "train", fails)
    said = call(recipe_file, "optim.lr=7,0.001", *FAST, "--out", tmp_path / "out", status=1)
    assert "failed: optim.lr=7: loss became nan" in said.stderr
    assert (tmp_path / "out" / "optim.lr=0.001" / "index").is_dir()


def test_ctrl_c_says_how_to_go_on(recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stops(*arguments: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "train", stops)
    said = call(recipe_file, "optim.lr=1,2", "--seeds", 2, "--out", tmp_path / "out", status=130).stderr
    again = f"pertinent sweep {recipe_file} optim.lr=1,2 --seeds 2 --out {tmp_path / 'out'} --resume"
    assert f"interrupted; go on with: {again}" in said.replace("\n", "")


def test_problems_are_told_before_any_run(recipe_file: Path, tmp_path: Path):
    said = call(recipe_file, "optim.lr=fast,1", "--out", tmp_path / "out", status=1).stderr
    assert "optim.lr: Input should be a valid number" in said
    assert not (tmp_path / "out").exists()
