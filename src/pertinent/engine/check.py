"""Checking a recipe against its data before any work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pertinent.data.audit import audit, is_damage
from pertinent.data.samplers import SAMPLERS
from pertinent.data.table import ImageTable
from pertinent.engine.building import make_encoder, make_losses
from pertinent.engine.loader import compact_labels
from pertinent.engine.measure import relevance_of
from pertinent.engine.recipe import Recipe
from pertinent.engine.run import open_dataset
from pertinent.engine.tally import requests_of
from pertinent.errors import PertinentError
from pertinent.store import StoreLabels


@dataclass
class Findings:
    """What a check found: problems that stop a run, warnings that do not, and what would run."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    summary: str = ""


def check_recipe(recipe: Recipe, pictures: bool = False) -> Findings:
    """Open the data, build sampler, encoder and losses, and collect every fault instead of stopping at the first.

    Args:
        recipe: its names and values are right already.
        pictures: also open every picture.
    """
    found = Findings()
    tables = _tables(recipe, found, pictures)
    train = tables.get(recipe.data.train)
    try:
        # Weights are not fetched for a check; a local file is opened.
        model = (
            recipe.model.model_copy(update={"pretrained": False}) if recipe.model.pretrained is True else recipe.model
        )
        encoder = make_encoder(recipe.model_copy(update={"model": model}))
    except PertinentError as error:
        found.problems.append(f"model: {error}")
        return found
    _check_metrics(recipe, tables, found)
    if train is not None:
        _check_training(recipe, train, encoder.dim, found)
    sizes = ", ".join(f"{name} {len(table):,}" for name, table in tables.items())
    found.summary = f"pictures: {sizes}; embeddings of {encoder.dim} numbers"
    return found


def _tables(recipe: Recipe, found: Findings, pictures: bool) -> dict[str, ImageTable]:
    tables: dict[str, ImageTable] = {}
    try:
        dataset = open_dataset(recipe.data)
    except PertinentError as error:
        found.problems.append(f"data: {error}")
        return tables
    for key, split in (("train", recipe.data.train), ("val", recipe.data.val), ("test", recipe.data.test)):
        if split is None or split in tables:
            continue
        try:
            tables[split] = dataset.split(split)
        except PertinentError as error:
            found.problems.append(f"data.{key}: {error}")
    for text in audit(tables, check_pictures=pictures):
        stops = is_damage(text) and recipe.data.on_error == "raise"
        (found.problems if stops else found.warnings).append(text)
    return tables


def _check_metrics(recipe: Recipe, tables: Mapping[str, ImageTable], found: Findings) -> None:
    wanted = dict.fromkeys([*recipe.evaluate.metrics, recipe.evaluate.select])
    for split in dict.fromkeys((recipe.data.test, recipe.data.val)):
        if split is None or split not in tables:
            continue
        table = tables[split]
        try:
            relevance = relevance_of(StoreLabels.of(table), len(table), recipe.evaluate.protocol)
        except PertinentError as error:
            found.problems.append(f"evaluate: {split}: {error}")
            continue
        for metric in wanted:
            try:
                requests_of([metric], relevance)
            except PertinentError as error:
                found.problems.append(f"evaluate: {split}: {error}")


def _check_training(recipe: Recipe, table: ImageTable, dim: int, found: Findings) -> None:
    try:
        labels = compact_labels(table)
    except PertinentError as error:
        found.problems.append(f"data.train: {error}")
        return
    import torch

    settings = recipe.sampler
    try:
        SAMPLERS.build(settings.name, labels=labels, batch_size=settings.batch_size, **settings.options)
    except PertinentError as error:
        found.problems.append(f"sampler: {error}")
    try:
        make_losses(recipe, torch.from_numpy(labels), dim)
    except PertinentError as error:
        found.problems.append(f"losses: {error}")
