"""Any recipe on the tiny example of its data set, so that the whole of its path can be walked in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pertinent.config import parse
from pertinent.data.datasets import DATASETS
from pertinent.engine.recipe import Recipe, load_recipe

# What a batch of each sampler is made of where there are but a few pictures.
_BATCHES: dict[str, dict[str, Any]] = {
    "random": {"batch_size": 4},
    "m_per_class": {"batch_size": 4, "per_class": 2},
    "hierarchical": {"batch_size": 4, "per_class": 1, "super_classes": 2, "batches_per_pair": 1},
    "class_covering": {"batch_size": 8, "batches": 2},
    "balanced": {"batch_size": 4},
}

# Judged signs have four views at least.
_MORE: dict[str, dict[str, Any]] = {"glyphs": {"per_character": 4}}


def example_recipe(name: str, folder: Path) -> Recipe:
    """Write the example of a recipe's data set into a folder; the recipe, made to fit it.

    The network becomes a tiny one without weights, batches hold a few pictures, and one epoch is trained, or two where
    the first is a warm-up. Losses, optimisers, schedules, transforms and metrics stay as they are.

    Args:
        name: of a recipe.
        folder: empty.
    """
    recipe = load_recipe(name)
    reader = DATASETS.get(recipe.data.name)
    reader.example(folder)
    values = recipe.model_dump(mode="json")
    options = {**getattr(reader, "example_options", {}), **_MORE.get(recipe.data.name, {})}
    values["data"] |= {"root": str(folder), "workers": 0, **options}
    values["model"] |= {"backbone": "test_resnet", "backbone_options": {}, "pretrained": False}
    batch = _BATCHES.get(recipe.sampler.name) or _tuples(recipe.sampler.options)
    values["sampler"] |= batch
    warm = min(recipe.train.warmup_epochs, 1)
    values["train"] |= {"epochs": 1 + warm, "warmup_epochs": warm, "device": "cpu", "precision": "float32"}
    values["evaluate"]["batch_size"] = 8
    return parse(Recipe, values, source=name)


def _tuples(options: dict[str, Any]) -> dict[str, Any]:
    """Hard negatives: one tuple a batch."""
    size = 2 + options.get("negatives", 5)
    return {"batch_size": size, "queries": 2, "pool": 8, "refresh": 1}
