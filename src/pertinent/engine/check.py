"""Checking a recipe against its data before any work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pertinent.data.audit import audit, is_damage
from pertinent.data.samplers import SAMPLERS
from pertinent.data.table import ImageTable
from pertinent.engine.building import make_encoder, make_losses
from pertinent.engine.loader import compact_labels
from pertinent.engine.measure import relevance_of, require_relevant
from pertinent.engine.optim import make_optimisers
from pertinent.engine.recipe import Recipe
from pertinent.engine.run import open_dataset, open_split
from pertinent.engine.tally import requests_of
from pertinent.errors import ConfigError, PertinentError
from pertinent.models.encoder import Encoder
from pertinent.store import StoreLabels

CHOSEN_ON_TEST = (
    "data.val is the test split, so the best epoch is chosen on it and its figures flatter the method; "
    "choose on other classes, such as data.val=val with a holdout"
)


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
    if recipe.data.val == recipe.data.test:
        found.warnings.append(CHOSEN_ON_TEST)
    if train is not None:
        _check_training(recipe, train, encoder, found)
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
            measured = key != "train" and split != recipe.data.train
            tables[split] = open_split(recipe.data, split, dataset) if measured else dataset.split(split)
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
            require_relevant(table, split, recipe.evaluate.protocol)
        except PertinentError as error:
            found.problems.append(f"evaluate: {split}: {error}")
            continue
        for metric in wanted:
            try:
                requests_of([metric], relevance)
            except PertinentError as error:
                found.problems.append(f"evaluate: {split}: {error}")


def _check_training(recipe: Recipe, table: ImageTable, encoder: Encoder, found: Findings) -> None:
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
        losses = make_losses(recipe, torch.from_numpy(labels), encoder.dim)
    except PertinentError as error:
        found.problems.append(f"losses: {error}")
        return
    own = {key: loss.optim for key, loss in recipe.losses.items() if loss.optim is not None}
    try:
        make_optimisers(encoder, dict(losses), own, recipe.optim, recipe.train)
    except ConfigError as error:
        found.problems += error.problems
