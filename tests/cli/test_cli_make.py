"""`pertinent check` and `pertinent list`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builders import write_pictures, write_recipe
from pertinent.cli.listing import REGISTRIES
from pertinent.recipes import recipe_names


def test_check_a_recipe_that_is_right(call: Any, recipe_file: Path):
    said = call("check", recipe_file, "data.val=val").stdout
    assert f"{recipe_file}: right; pictures: train 24, val 12, test 12; embeddings of 8 numbers" in said


def test_check_notes_what_is_doubtful(call: Any, tmp_path: Path):
    root = write_pictures(tmp_path / "p", splits=("train", "test"))
    for number in (1, 2, 3):
        (root / "train" / "warm" / "red" / f"{number}.png").unlink()
    write_recipe(tmp_path / "r.yaml", root)
    assert "note: train: 1 of 6 labels of class appear once (red)" in call("check", "r.yaml").stdout
    (root / "test" / "warm" / "red" / "0.png").write_bytes(b"\x89PNG")
    said = call("check", "r.yaml", "--pictures", status=1).stderr
    assert "test/warm/red/0.png: " in said
    assert "note: test: cannot read" in call("check", "r.yaml", "data.on_error=skip", "--pictures").stdout


def test_check_tells_every_problem_of_words_then_of_data(call: Any, recipe_file: Path):
    said = call("check", recipe_file, "trian=1", "losses.hap.tua=1", status=1).stderr
    assert "2 problems" in said
    assert "trian: unknown key; did you mean 'train'?" in said
    assert "losses.hap.tua: unknown option of loss hap; did you mean 'tau'?" in said
    said = call("check", recipe_file, "data.root=/nowhere", "model.pretrained=/no.pth", status=1).stderr
    assert "2 problems" in said
    assert "/nowhere" in said
    assert "weights file /no.pth does not exist" in said


def test_check_all_recipes(call: Any):
    lines = call("check", "--all").stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == recipe_names()


@pytest.mark.parametrize("words", [[], ["happier/glyphs", "--all"]])
def test_check_needs_one_recipe_or_all(call: Any, words: list[str]):
    assert "give one recipe, or --all" in call("check", *words, status=1).stderr


@pytest.mark.parametrize("what", REGISTRIES)
def test_list_registered_things(call: Any, what: str):
    lines = call("list", what).stdout.splitlines()
    entries = REGISTRIES[what].entries
    assert [line.split()[0] for line in lines] == list(entries)
    for line, entry in zip(lines, entries.values(), strict=True):
        assert line.rstrip().endswith(entry.summary)


def test_list_recipes_and_backbones(call: Any):
    lines = call("list", "recipes").stdout.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == recipe_names()
    assert "HIST (CVPR 2022) on CUB-200-2011" in "\n".join(lines)
    about = next(number for number, line in enumerate(lines) if line.startswith("hist/cub"))
    assert lines[about + 1].strip() == "cub; hist; resnet50.tv_in1k"
    assert lines[about + 2].strip().startswith("time: about 5 minutes on a recent GPU")
    assert lines[about + 3].strip().startswith("expected: R@1 71.4")
    commands = [line.split("run: ")[1].strip() for line in lines if line.strip().startswith("run: ")]
    assert len(commands) == len(recipe_names())
    assert "pertinent train hist/cub data.root=data" in commands
    assert "pertinent train happier/folder data.root=FOLDER" in commands
    assert "pertinent train hist/glyphs" in commands
    assert call("list", "backbones", "test_resnet*").stdout.split() == ["test_resnet"]


def test_list_says_what_can_be_listed(call: Any):
    kinds = [*REGISTRIES, "protocols", "recipes", "backbones", "models"]
    assert call("list").stdout.strip() == f"pertinent list WHAT, where WHAT is one of: {', '.join(kinds)}"
    assert "error: unknown list 'loses'; did you mean 'losses'" in call("list", "loses", status=1).stderr
