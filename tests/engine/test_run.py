from __future__ import annotations

from pathlib import Path

import pytest

from builders import recipe_of
from pertinent.data.datasets.folder import Folder
from pertinent.engine.recipe import DataSettings
from pertinent.engine.run import Run, open_dataset, open_split, require_free
from pertinent.errors import ConfigError, DataError, StorageError, UnknownNameError


def test_where_everything_lies():
    run = Run(Path("runs/x"))
    found = {
        run.recipe_path: "recipe.yaml",
        run.log_path: "log.jsonl",
        run.checkpoint(3, 12): "checkpoints/00003-0000012",
        run.index: "index",
        run.report: "report.html",
        run.encoder("best"): "best",
        run.store("before"): "stores/before",
        run.evaluation("best"): "evaluations/best.json",
    }
    assert {str(path.relative_to("runs/x")) for path in found} == set(found.values())


def test_a_recipe_comes_back_as_it_was_run(tmp_path: Path, recipe_file: Path):
    recipe = recipe_of(
        recipe_file,
        "losses.cluster.optim={lr: 10, schedule: {min_lr: 1e-5}}",
        "augment={colour_jitter: [0.1, 0.2, 0.3, 0.1], size: [24, 24]}",
        "description='grün: yes'",
        "model.pretrained=weights.pth",
        "train.clip_norm=1e-3",
    )
    Run(tmp_path).save_recipe(recipe)
    assert Run.open(str(tmp_path)).recipe() == recipe


def test_no_run_is_there(tmp_path: Path):
    with pytest.raises(StorageError, match=r"is no run \(recipe\.yaml is missing\); give a folder that"):
        Run.open(tmp_path)


def test_a_recipe_that_somebody_broke(tmp_path: Path, recipe_file: Path):
    Run(tmp_path).save_recipe(recipe_of(recipe_file))
    (tmp_path / "recipe.yaml").write_text("losses: {happ: {}}\n")
    with pytest.raises(ConfigError, match=r"recipe\.yaml: 2 problems"):
        Run.open(tmp_path).recipe()


def test_open_dataset_and_split(pictures: Path):
    settings = DataSettings(name="folder", root=pictures)
    assert isinstance(open_dataset(settings), Folder)
    assert len(open_split(settings, "train")) == 24
    with pytest.raises(UnknownNameError, match="unknown split 'trian'; did you mean 'train'"):
        open_split(settings, "trian")
    with pytest.raises(DataError, match=r"root must be the folder that holds the data set, .*'/nowhere'"):
        open_dataset(DataSettings(name="folder", root=Path("/nowhere")))
    with pytest.raises(ConfigError, match=r"folder\.holdot: unknown option; did you mean 'holdout'"):
        open_dataset(DataSettings(name="folder", root=pictures, holdot=0.1))


def test_the_root_of_the_data_holds_in_any_folder(
    tmp_path: Path, recipe_file: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(pictures.parent)
    given = recipe_of(recipe_file, f"data.root={pictures.name}")
    Run(tmp_path / "run").save_recipe(given)
    table = open_split(given.data, "train")
    assert table.source.where(0) == str(pictures / table.ids[0])
    monkeypatch.chdir(tmp_path)
    assert Run.open("run").recipe().data.root == pictures
    assert len(open_split(Run.open("run").recipe().data, "train")) == 24
    require_free(Run.open("run"), given, resume=True)
