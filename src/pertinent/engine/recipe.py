"""`Recipe`: everything one training run is made of, read from YAML and checked before any work."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from pertinent.config import Settings, apply_words, check_value, parse, read_yaml
from pertinent.data.datasets import DATASETS
from pertinent.data.samplers import SAMPLERS
from pertinent.data.transforms import Augment, Preprocess
from pertinent.engine.trackers import TRACKERS
from pertinent.errors import ConfigError, InputError, UnknownNameError, suggest
from pertinent.losses import LOSSES
from pertinent.models.encoder import EncoderConfig
from pertinent.recipes import RECIPES, recipe_names
from pertinent.registry import Registry

# What the trainer knows and a recipe therefore need not say.
SUPPLIED = frozenset({"num_classes", "dim", "bits", "proxy_labels"})


_LONG = re.compile(r"^bits=")


class Open(Settings):
    """Settings whose further keys are options of the registered thing that they name."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    @property
    def options(self) -> dict[str, Any]:
        """The keys that are not settings of ours."""
        return dict(self.__pydantic_extra__ or {})


class DataSettings(Open):
    """Which data set and splits; further keys are options of its reader.

    Every picture of `val` and of `test` is a query that searches among the others, unless `val_gallery` and `gallery`
    name the split in which they search.
    """

    name: str
    root: Path | None = None
    train: str = "train"
    val: str | None = None
    test: str = "test"
    gallery: str | None = None
    val_gallery: str | None = None
    on_error: Literal["raise", "skip"] = "raise"
    workers: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _val_searches(self) -> Self:
        if self.val_gallery is not None and self.val in (None, self.test):
            raise ValueError("val_gallery is where the pictures of a val split search, which is not the test split")
        return self

    def gallery_of(self, split: str) -> str | None:
        """The split in which the pictures of `val` or `test` search; None among themselves."""
        return self.gallery if split == self.test else self.val_gallery


class ModelSettings(EncoderConfig):
    """The encoder, and where its first weights come from: timm (true), nowhere (false) or a local file."""

    pretrained: bool | Path = False


class Schedule(Settings):
    """How a learning rate moves after warm-up: constant, cosine or linear to `min_lr`, or times `gamma` every `step`
    epochs; with `rise_epochs` it first rises in a straight line from 0."""

    name: Literal["constant", "cosine", "linear", "step"] = "cosine"
    rise_epochs: float = Field(default=0.0, ge=0)
    min_lr: float = Field(default=0.0, ge=0)
    step: int = Field(default=10, ge=1)
    gamma: float = Field(default=0.5, gt=0)
    per: Literal["epoch", "step"] = "epoch"


class Optimiser(Settings):
    """One optimiser and its schedule; `momentum` and `nesterov` belong to sgd."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = True
    schedule: Schedule = Schedule()


class GroupSettings(Settings):
    """What is different for some parameters."""

    lr: float | None = Field(default=None, ge=0)
    weight_decay: float | None = Field(default=None, ge=0)


class NetworkOptimiser(Optimiser):
    """The network's optimiser; the head may learn at its own rate, and so may parameters whose name fits a pattern.

    `groups` maps patterns such as `backbone.layer4.*` or `losses.hist.hgnn.*` to what differs; the first that fits
    counts.
    """

    head_lr: float | None = Field(default=None, gt=0)
    groups: dict[str, GroupSettings] = Field(default_factory=dict)


class LossSettings(Open):
    """One term of the loss; `loss` defaults to the key it stands under, further keys are the loss's options.

    `optim` drives the loss's own parameters (proxies); without it they learn as the head does.
    """

    loss: str | None = None
    weight: float = Field(default=1.0, ge=0)
    optim: Optimiser | None = None


class SamplerSettings(Open):
    """Which batch sampler; further keys are its options."""

    name: str = "m_per_class"
    batch_size: int = Field(default=128, ge=2)


class MemorySettings(Settings):
    """Cross-batch memory: how many past embeddings losses rank beside the batch, from epoch `start` (from 0) on."""

    size: int = Field(default=0, ge=0)
    start: int = Field(default=0, ge=0)


class TrainSettings(Settings):
    """How long and in which manner to train.

    `precision` auto is bf16 where the hardware multiplies it fast. `chunk` is the most pictures that go through the
    network at once: a batch above it is trained in two passes. `accumulate` adds up the gradients of so many batches
    before each step. `ema` is the decay of an average of the weights, which is then what is measured and saved.
    `patience` ends training after so many measurements on the validation split without a new best.
    """

    epochs: int = Field(default=10, ge=1)
    warmup_epochs: int = Field(default=0, ge=0)
    batch_norm: Literal["train", "freeze_stats", "freeze"] = "train"
    precision: Literal["float32", "bf16", "fp16", "auto"] = "float32"
    chunk: int | None = Field(default=None, ge=1)
    accumulate: int = Field(default=1, ge=1)
    clip_norm: float | None = Field(default=None, gt=0)
    ema: float | None = Field(default=None, gt=0, lt=1)
    compile: bool = False
    channels_last: bool = False
    deterministic: bool = False
    seed: int = Field(default=0, ge=0)
    device: str = "auto"
    evaluate_every: int = Field(default=1, ge=0)
    patience: int | None = Field(default=None, ge=1)
    checkpoint_every: int = Field(default=1, ge=1)
    checkpoint_steps: int | None = Field(default=None, ge=1)
    keep: int = Field(default=1, ge=1)
    trackers: list[str] = Field(default_factory=list)


class EvaluateSettings(Settings):
    """What to measure; `select` decides which epoch is the best one when there is a validation split.

    `similarity` is what rankings are by: cosine, dot, euclidean, or hamming for codes. `protocol` says which judgements
    count, where the split has them; None is medium, or classic.
    """

    metrics: list[str] = Field(default_factory=lambda: ["hap", "asi", "ndcg", "ap", "ap@r", "r@1", "r@10", "p@10"])
    select: str = "hap"
    similarity: Literal["cosine", "dot", "euclidean", "hamming"] = "cosine"
    protocol: Literal["easy", "medium", "hard", "classic"] | None = None
    batch_size: int = Field(default=128, ge=1)


class Recipe(Settings):
    """One training run, whole.

    `description`, `expected` (the published result) and `time` (what a run takes) are for people.
    """

    description: str = ""
    expected: str = ""
    time: str = ""
    data: DataSettings
    model: ModelSettings = ModelSettings()
    preprocess: Preprocess | None = None
    augment: Augment = Augment()
    sampler: SamplerSettings = SamplerSettings()
    memory: MemorySettings = MemorySettings()
    losses: dict[str, LossSettings]
    optim: NetworkOptimiser = NetworkOptimiser()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()


def load_recipe(name: str | Path, words: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or path, set `key=value` words in it, and check it whole.

    The word `bits=48` is short for `model.dim=48`, as hashing methods speak.

    Raises:
        UnknownNameError: neither a file nor a recipe of ours.
        ConfigError: with every problem found, before any work.
    """
    path = _find(name)
    values = apply_words(read_yaml(path), [_LONG.sub("model.dim=", word) for word in words])
    losses = values.get("losses") or {}
    if isinstance(losses, Mapping):
        values["losses"] = {key: loss for key, loss in losses.items() if loss is not None}
    problems = []
    try:
        recipe = parse(Recipe, values, source=str(name))
    except ConfigError as error:
        # Names are checked all the same, in the sections that can be read, so that all problems are told at once.
        problems = [*error.problems, *check_names(_readable(values))]
    else:
        problems = check_names(recipe)
    if problems:
        raise ConfigError(problems, source=str(name))
    return recipe


def _readable(values: Mapping[str, Any]) -> Recipe:
    """A recipe of those sections that are right by themselves, with defaults for the rest."""
    sections: dict[str, Any] = {"data": DataSettings(name="glyphs"), "losses": {"hap": LossSettings()}}
    for key, field in Recipe.model_fields.items():
        try:
            kind: Any = field.annotation
            sections[key] = TypeAdapter(kind).validate_python(values[key])
        except (KeyError, ValidationError):
            continue
    return Recipe(**sections)


def check_names(recipe: Recipe) -> list[str]:
    """One sentence for every registered name or option in a recipe that does not exist or does not fit."""
    from pertinent.metrics._parse import parse_metrics

    problems = _check_member(DATASETS, recipe.data.name, recipe.data, "data")
    problems += _check_member(SAMPLERS, recipe.sampler.name, recipe.sampler, "sampler", {"labels", "batch_size"})
    if not recipe.losses:
        problems.append("losses: at least one loss is needed")
    for key, loss in recipe.losses.items():
        problems += _check_member(LOSSES, loss.loss or key, loss, f"losses.{key}", SUPPLIED)
    taken = {"network": "the network's optimiser", "loss": "the sum of all"}
    problems += [
        f"losses.{key}: is the name of {meaning}; choose another key"
        for key, meaning in taken.items()
        if key in recipe.losses
    ]
    problems += [
        f"train.trackers: unknown tracker {name!r}{suggest(name, TRACKERS.names())}"
        for name in recipe.train.trackers
        if name not in TRACKERS.entries
    ]
    optimisers: dict[str, Optimiser | None] = {"optim": recipe.optim}
    optimisers |= {f"losses.{key}.optim": loss.optim for key, loss in recipe.losses.items()}
    for where, optimiser in optimisers.items():
        if optimiser and optimiser.schedule.rise_epochs and optimiser.schedule.per == "epoch":
            problems.append(f"{where}.schedule.rise_epochs: needs {where}.schedule.per=step, for it rises step by step")
    if recipe.train.patience is not None and not (recipe.data.val and recipe.train.evaluate_every):
        problems.append("train.patience: needs data.val and train.evaluate_every, or there is nothing to wait for")
    if recipe.train.warmup_epochs >= recipe.train.epochs:
        problems.append(
            f"train.warmup_epochs: {recipe.train.warmup_epochs} leaves no epoch of the {recipe.train.epochs} "
            "in train.epochs to train the backbone"
        )
    try:
        parse_metrics([*recipe.evaluate.metrics, recipe.evaluate.select])
    except (InputError, UnknownNameError) as error:
        problems.append(f"evaluate: {error}")
    return problems


def _check_member(
    registry: Registry,
    name: str,
    given: Open,
    where: str,
    supplied: frozenset[str] | set[str] = frozenset(),
) -> list[str]:
    if name not in registry.entries:
        return [f"{where}: unknown {registry.what} {name!r}{suggest(name, registry.names())}"]
    known = registry.options(name)
    hints, options = registry.types(name), given.options
    problems = []
    for key, value in options.items():
        if key in supplied:
            problems.append(f"{where}.{key}: is set by the trainer, leave it out")
        elif key not in known:
            ours = list(type(given).model_fields)
            near = suggest(key, [*ours, *sorted({*known} - {*ours, *supplied})])
            problems.append(f"{where}.{key}: unknown option of {registry.what} {name}{near}")
        elif key in hints and (wrong := check_value(hints[key], value)):
            problems.append(f"{where}.{key}: {wrong}")
    needed = [key for key, value in known.items() if value.default is inspect.Parameter.empty]
    problems += [
        f"{where}.{key}: is required" for key in needed if key not in options and key not in {*supplied, "root"}
    ]
    return problems


def _find(name: str | Path) -> Path:
    if str(name).endswith((".yaml", ".yml")):
        return Path(name)
    if str(name) in recipe_names():
        return RECIPES / f"{name}.yaml"
    raise UnknownNameError("recipe", str(name), recipe_names())
