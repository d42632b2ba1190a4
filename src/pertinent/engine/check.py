"""Checking a recipe against its data before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from PIL import Image

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
from pertinent.metrics._parse import parse_metric
from pertinent.models.encoder import Encoder, timm_preprocess
from pertinent.store import StoreLabels

CHOSEN_ON_TEST = (
    "data.val is the test split, so the best epoch is chosen on it and its figures flatter the method; "
    "choose on other pictures, such as data.val=val with data.holdout=0.1 where classes are searched for, or "
    "data.val=held_out with data.held_out=0.1 where tags are"
)


def measured_epochs(recipe: Recipe) -> int:
    """How many epochs the validation split measures, if there is one: where that is one, nothing is chosen."""
    every, epochs = recipe.train.evaluate_every, recipe.train.epochs
    return epochs // every + bool(epochs % every) if every else 1


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
    _check_pixels(recipe, encoder, found)
    _check_metrics(recipe, tables, found)
    if recipe.data.val is not None:
        _check_choice(recipe, found)
    if train is not None:
        _check_training(recipe, train, encoder, found)
    sizes = ", ".join(f"{name} {_size(table)}" for name, table in tables.items())
    found.summary = f"pictures: {sizes}; embeddings of {encoder.dim} numbers"
    return found


def _size(table: ImageTable) -> str:
    if not table.probes:
        return f"{len(table):,}"
    return f"{table.probes:,} in a gallery of {len(table) - table.probes:,}"


def _check_choice(recipe: Recipe, found: Findings) -> None:
    if measured_epochs(recipe) == 1 < recipe.train.epochs:
        found.warnings.append(
            f"data.val={recipe.data.val} chooses no epoch: with train.evaluate_every={recipe.train.evaluate_every} "
            f"only the last of {recipe.train.epochs} is measured on it; set train.evaluate_every=1, or data.val=null"
        )
    elif recipe.data.val == recipe.data.test:
        found.warnings.append(CHOSEN_ON_TEST)


def _tables(recipe: Recipe, found: Findings, pictures: bool) -> dict[str, ImageTable]:
    tables: dict[str, ImageTable] = {}
    try:
        dataset = open_dataset(recipe.data)
    except PertinentError as error:
        found.problems.append(f"data: {error}")
        return tables
    found.warnings += getattr(dataset, "notes", ())
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


def _check_pixels(recipe: Recipe, encoder: Encoder, found: Findings) -> None:
    own, given = timm_preprocess(encoder.backbone), encoder.preprocess
    if recipe.model.pretrained and (own.mean, own.std) != (given.mean, given.std):
        found.warnings.append(
            f"{recipe.model.backbone} gets pixels of preprocess.mean={_numbers(given.mean)} "
            f"preprocess.std={_numbers(given.std)}, and timm's weights were trained with "
            f"preprocess.mean={_numbers(own.mean)} preprocess.std={_numbers(own.std)}; set these, "
            "unless yours are meant"
        )
    try:
        # One picture of the usual proportions, by which most networks of a fixed or least size tell.
        encoder.embed([Image.new("RGB", (640, 480))])
    except (PertinentError, RuntimeError, AssertionError) as error:
        found.problems.append(f"model: a picture as preprocess makes it does not pass the network: {error}")


def _numbers(values: Sequence[float]) -> str:
    return "[" + ",".join(f"{value:g}" for value in values) + "]"


def _check_metrics(recipe: Recipe, tables: Mapping[str, ImageTable], found: Findings) -> None:
    wanted = dict.fromkeys([*recipe.evaluate.metrics, recipe.evaluate.select])
    for split in dict.fromkeys((recipe.data.test, recipe.data.val)):
        if split is None or split not in tables:
            continue
        table = tables[split]
        try:
            relevance = relevance_of(StoreLabels.of(table), len(table), recipe.evaluate.protocol)
            require_relevant(relevance, split)
        except PertinentError as error:
            found.problems.append(f"evaluate: {split}: {error}")
            continue
        items, beyond = len(table) - table.probes, []
        for metric in wanted:
            try:
                requests_of([metric], relevance)
            except PertinentError as error:
                found.problems.append(f"evaluate: {split}: {error}")
                continue
            if (parse_metric(metric).cut or 0) > items:
                beyond.append(metric)
        if beyond:
            found.warnings.append(f"evaluate: {split}: there are but {items:,} items for {', '.join(beyond)}")


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
