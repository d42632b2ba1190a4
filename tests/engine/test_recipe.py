from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from builders import recipe_of
from pertinent.engine.recipe import (
    DataSettings,
    LossSettings,
    Recipe,
    TrainSettings,
    check_names,
    load_recipe,
)
from pertinent.errors import ConfigError, UnknownNameError
from pertinent.recipes import RECIPES, recipe_names


def problems_of(file: Path, *words: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load_recipe(file, words)
    return error.value.problems


# --- recipes that come with it


def test_names_of_the_recipes():
    assert {"happier/glyphs", "happier/grocery"} <= set(recipe_names())
    assert recipe_names() == sorted(recipe_names())
    for name in recipe_names():
        assert (RECIPES / f"{name}.yaml").is_file()


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_right_and_says_what_it_is(name: str):
    recipe = load_recipe(name)
    assert len(recipe.description) > 20
    assert recipe.losses


def test_a_recipe_by_path_and_words(tmp_path: Path, recipe_file: Path):
    recipe = load_recipe(str(recipe_file), ["train.epochs=7", "losses.cluster=null", "data.workers=2"])
    assert (recipe.train.epochs, list(recipe.losses), recipe.data.workers) == (7, ["hap"], 2)
    assert recipe.losses["hap"].weight == 0.9


def test_an_unknown_recipe():
    with pytest.raises(UnknownNameError, match="unknown recipe 'hapier/glyphs'; did you mean 'happier/glyphs'"):
        load_recipe("hapier/glyphs")
    with pytest.raises(ConfigError, match=r"none\.yaml: 1 problem\n  - cannot be read: No such file"):
        load_recipe("none.yaml")


# --- what the settings take


def test_options_are_the_keys_that_are_no_settings():
    data = DataSettings(name="glyphs", root="/x", seed=3, form="tags")
    assert data.root == Path("/x")
    assert data.options == {"seed": 3, "form": "tags"}
    assert LossSettings(weight=2, tau=0.1).options == {"tau": 0.1}
    assert LossSettings().options == {}


@pytest.mark.parametrize("changes", [{"epochs": 0}, {"warmup_epochs": -1}, {"clip_norm": 0}, {"batch_norm": "off"}])
def test_values_out_of_range(changes: dict[str, Any]):
    with pytest.raises(ValidationError, match=next(iter(changes))):
        TrainSettings(**changes)


# --- every problem at once


def test_every_problem_is_told_at_once_and_before_any_work(recipe_file: Path):
    problems = problems_of(
        recipe_file,
        "trian.epochs=3",
        "train.epochs=many",
        "data.holdot=0.1",
        "data.name=foldr",
        "model.bakbone=resnet18",
        "losses.happ.weight=1",
        "losses.cluster.temprature=1",
        "losses.hap.tau=abc",
        "sampler.per_clas=3",
        "evaluate.metrics=[hpa]",
        "optim.schedule.name=cosin",
        "preprocess.crop=0",
    )
    for said in (
        "trian: unknown key; did you mean 'train'?",
        "train.epochs: Input should be a valid integer",
        "data: unknown data set 'foldr'; did you mean 'folder' or 'tag_folder'?",
        "model.bakbone: unknown key; did you mean 'backbone'",
        "losses.happ: unknown loss 'happ'; did you mean 'hap'",
        "losses.cluster.temprature: unknown option of loss cluster; did you mean 'temperature'?",
        "losses.hap.tau: Input should be a valid number, got 'abc'",
        "sampler.per_clas: unknown option of sampler m_per_class; did you mean 'per_class'?",
        "evaluate: unknown metric 'hpa'; did you mean",
        "optim.schedule.name: Input should be 'constant', 'cosine', 'linear' or 'step', got 'cosin'",
        "preprocess.crop: Input should be greater than 0, got 0",
    ):
        assert any(problem.startswith(said) for problem in problems), (said, problems)
    assert len(problems) == 11


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data.holdot=1"], "data.holdot: unknown option of data set folder; did you mean 'holdout'"),
        (["data.holdout=much"], "data.holdout: Input should be a valid number, got 'much'"),
        (["data.name=omniglot", "data.size=3"], "data.size: unknown option of data set omniglot"),
        (["sampler.per_class=2.5"], "sampler.per_class: Input should be a valid integer, got 2.5"),
        (["sampler.labels=[1]"], "sampler.labels: is set by the trainer, leave it out"),
        (["sampler.name=m_per_clas"], "sampler: unknown sampler 'm_per_clas'; did you mean 'm_per_class'"),
        (["losses.cluster.num_classes=3"], "losses.cluster.num_classes: is set by the trainer, leave it out"),
        (["losses.hap.dim=3"], "losses.hap.dim: is set by the trainer, leave it out"),
        (["losses.csl={}"], "losses.csl.margins: is required"),
        (["losses.x={loss: happ}"], "losses.x: unknown loss 'happ'; did you mean 'hap'"),
        (["losses.hap.wieght=0.5"], "losses.hap.wieght: unknown option of loss hap; did you mean 'weight'?"),
        (["losses.hap.zzz=1"], "losses.hap.zzz: unknown option of loss hap; known: loss, weight, optim, alpha, beta,"),
        (
            ["sampler.bach_size=64"],
            "sampler.bach_size: unknown option of sampler m_per_class; did you mean 'batch_size'",
        ),
        (["data.tset=val"], "data.tset: unknown option of data set folder; did you mean 'test'"),
        (["losses.hap.weight=-1"], "losses.hap.weight: Input should be greater than or equal to 0, got -1"),
        (["losses.hap.optim={lrr: 1}"], "losses.hap.optim.lrr: unknown key; did you mean 'lr'?"),
        (["losses.hap=1"], "losses.hap: Input should be a valid dictionary"),
        (["losses=hap"], "losses: Input should be a valid dictionary"),
        (["losses=[hap]"], "losses: Input should be a valid dictionary"),
        (["losses.hap=null", "losses.cluster=null"], "losses: at least one loss is needed"),
        (["losses=null"], "losses: at least one loss is needed"),
        (["train.warmup_epochs=2"], "train.warmup_epochs: 2 leaves no epoch of the 2 in train.epochs"),
        (["evaluate.metrics=[r@0]"], "evaluate: metric 'r@0': the number after @"),
        (["evaluate.select=hapy"], "evaluate: unknown metric 'hapy'; did you mean 'hap'"),
        (["model.pretrained=[1]"], "model.pretrained: Input should be a valid boolean or Input is not a valid path"),
        (["data=null"], "data: Input should be a valid dictionary"),
    ],
)
def test_one_problem_is_one_sentence_at_its_key(recipe_file: Path, words: list[str], said: str):
    problems = problems_of(recipe_file, *words)
    assert len(problems) == 1
    assert problems[0].startswith(said)


def test_an_empty_recipe_says_what_it_needs(tmp_path: Path):
    (tmp_path / "r.yaml").write_text("description: nothing\n")
    assert set(problems_of(tmp_path / "r.yaml")) == {"data: is required", "losses: at least one loss is needed"}


def test_wrong_names_are_found_in_a_recipe_made_by_hand(recipe_file: Path):
    recipe = recipe_of(recipe_file)
    assert check_names(recipe) == []
    changed = recipe.model_copy(update={"losses": {"nothing": LossSettings()}})
    assert [problem.split(";")[0] for problem in check_names(changed)] == ["losses.nothing: unknown loss 'nothing'"]


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_survives_its_file(tmp_path: Path, name: str):
    recipe = load_recipe(name)
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    assert load_recipe(tmp_path / "r.yaml") == recipe
    assert Recipe.model_validate(recipe.model_dump()) == recipe


@pytest.mark.parametrize("key", ["network", "loss"])
def test_names_that_mean_something_else_in_the_log(recipe_file: Path, key: str):
    with pytest.raises(ConfigError, match=f"losses.{key}: is the name of"):
        load_recipe(recipe_file, [f"losses.{key}={{loss: hap}}"])


@pytest.mark.parametrize("part", ["optim", "losses.cluster.optim"])
def test_a_rate_rises_step_by_step(recipe_file: Path, part: str):
    with pytest.raises(ConfigError, match=rf"{part}\.schedule\.rise_epochs: needs {part}\.schedule\.per=step"):
        load_recipe(recipe_file, [f"{part}.schedule.rise_epochs=1"])


def test_patience_needs_something_to_wait_for(recipe_file: Path):
    with pytest.raises(ConfigError, match=r"train\.patience: needs data\.val"):
        load_recipe(recipe_file, ["train.patience=2"])


def test_an_unknown_tracker(recipe_file: Path):
    with pytest.raises(ConfigError, match="unknown tracker 'tensorbord'; did you mean 'tensorboard'"):
        load_recipe(recipe_file, ["train.trackers=[tensorbord]"])
