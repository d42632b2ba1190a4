"""Every recipe, trained for real on the example of its data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from pertinent.engine.check import check_recipe
from pertinent.engine.events import read_events
from pertinent.engine.example import example_recipe
from pertinent.engine.measure import load_evaluation
from pertinent.engine.recipe import load_recipe
from pertinent.engine.train import train
from pertinent.index import Index
from pertinent.recipes import recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_walks_its_whole_path(name: str, tmp_path: Path):
    recipe = example_recipe(name, tmp_path / "data")
    assert check_recipe(recipe, pictures=True).problems == []
    run = train(recipe, tmp_path / "run")
    best = load_evaluation(run.evaluation("best"))
    assert best["n_queries"]
    steps = [event for event in read_events(run.log_path) if event["event"] == "step"]
    assert {key for key in steps[-1]["parts"] if "." not in key} >= set(recipe.losses)
    assert len(Index.open(run.index)) == best["n_items"]


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_says_what_people_ask(name: str):
    recipe = load_recipe(name)
    assert recipe.description
    assert recipe.time
    if recipe.data.root is not None:
        assert recipe.expected, "a published setting has a published result, or says that there is none"
