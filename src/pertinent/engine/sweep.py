"""Sweeps: one run for every combination of listed settings, and a table of them."""

from __future__ import annotations

import itertools
import math
import os
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pertinent.engine.events import Listener, silent
from pertinent.engine.measure import load_evaluation
from pertinent.engine.recipe import Recipe, load_recipe
from pertinent.engine.run import Run, require_free
from pertinent.engine.train import train
from pertinent.errors import ConfigError, PertinentError, StorageError
from pertinent.files import finite, refuse_strangers, write_json, write_text
from pertinent.metrics._parse import parse_metric

SEED = "train.seed"


@dataclass(frozen=True)
class Combination:
    """One run of a sweep: the name of its folder, the settings that differ between runs, and the whole recipe."""

    name: str
    settings: dict[str, str]
    recipe: Recipe


@dataclass
class Row:
    """One line of the table: runs that differ in their seed only.

    Attributes:
        settings: the swept settings without the seed.
        runs: metrics of every finished run, by the run's name.
        failed: message of every failed run, by the run's name.
    """

    settings: dict[str, str]
    runs: dict[str, dict[str, float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def mean(self, metric: str) -> float:
        """Mean over the seeds; NaN where no run is finished."""
        values = [run[metric] for run in self.runs.values() if metric in run]
        return statistics.fmean(values) if values else math.nan

    def spread(self, metric: str) -> float:
        """Standard deviation over the seeds; NaN for fewer than two."""
        values = [run[metric] for run in self.runs.values() if metric in run]
        return statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else math.nan

    def cell(self, metric: str) -> str:
        """Mean and spread in percent, as text."""
        if math.isnan(self.mean(metric)):
            return "failed" if self.failed and not self.runs else "-"
        spread = "" if math.isnan(self.spread(metric)) else f" ± {100 * self.spread(metric):.1f}"
        return f"{100 * self.mean(metric):.1f}{spread}"


class Sweep:
    """All combinations of the values listed in `key=a,b` words, read and checked before the first run.

    Args:
        name: a recipe's name or YAML file.
        words: `key=value` words; commas outside brackets and quotes separate the values of a key.
        folder: where the run folders, `sweep.json` and `sweep.md` go.
        seeds: so many values of `train.seed`, from 0.
        by: the metric that sorts the table; the recipe's `evaluate.select` when None.

    Raises:
        UnknownNameError: no such recipe or metric.
        ConfigError: with every problem of every combination.
    """

    def __init__(
        self, name: str, words: Sequence[str], folder: Path | str, *, seeds: int | None = None, by: str | None = None
    ) -> None:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigError(["runs in one process; start it without torchrun or accelerate launch"], "sweep")
        self.recipe, self.folder = name, Path(folder)
        self.combinations = combine(name, words, seeds)
        self.by = by or self.combinations[0].recipe.evaluate.select
        self._require_measured()
        self.rows: list[Row] = []
        for combination in self.combinations:
            if self._find(combination) is None:
                self.rows.append(Row(_without_seed(combination)))

    @property
    def failed(self) -> dict[str, str]:
        """Message of every failed run, by its name."""
        return {name: text for row in self.rows for name, text in row.failed.items()}

    @property
    def metrics(self) -> list[str]:
        """Names of what was measured, the sorting one first."""
        names = list(dict.fromkeys(name for row in self.rows for run in row.runs.values() for name in run))
        return sorted(names, key=lambda name: name != self._sorting(names))

    def ranked(self) -> list[Row]:
        """The rows, best first; those without a result last."""
        names = self.metrics
        if not names:
            return list(self.rows)
        means = [(row.mean(names[0]), row) for row in self.rows]
        return [row for _, row in sorted(means, key=lambda pair: (math.isnan(pair[0]), -pair[0]))]

    def run(self, *, resume: bool = False, listener: Listener = silent) -> Iterator[Combination]:
        """Make the runs one after the other; yields each when it is finished or has failed and the table is written.

        Args:
            resume: go on with a sweep in the folder: finished runs stay, an interrupted one goes on, a failed one is
                tried again.
            listener: hears `sweep` (`name`, `number`, `of`) before each run, and the run's own events.

        Raises:
            StorageError: the folder holds a sweep (without `resume`), none (with it), runs of other recipes, or cannot
                be written. A full disk ends the sweep, for the next run would find it full as well.
        """
        self._require_folder(resume)
        self.save()
        for number, combination in enumerate(self.combinations, 1):
            listener({"event": "sweep", "name": combination.name, "number": number, "of": len(self.combinations)})
            self._run_one(combination, listener)
            self.save()
            yield combination

    def save(self) -> None:
        """Write `sweep.json` and `sweep.md`."""
        write_json(self.folder / "sweep.json", self.to_json())
        write_text(self.folder / "sweep.md", self.to_markdown())

    def to_json(self) -> dict[str, Any]:
        """The table as plain values; null where nothing is known."""
        names = self.metrics
        rows = [
            {
                "settings": row.settings,
                "mean": {name: row.mean(name) for name in names},
                "spread": {name: row.spread(name) for name in names},
                "runs": row.runs,
                "failed": row.failed,
            }
            for row in self.ranked()
        ]
        return {"recipe": self.recipe, "by": self.by, "runs": len(self.combinations), "rows": finite(rows)}

    def to_markdown(self) -> str:
        """The table in percent as Markdown, with the failures below."""
        lines = ["| " + " | ".join(self.header()) + " |", "|" + "---|" * len(self.header())]
        lines += [
            "| " + " | ".join(text.replace("|", "\\|") for text in self.cells(row)) + " |" for row in self.ranked()
        ]
        failures = [f"- {name}: {text}" for name, text in self.failed.items()]
        return "\n".join([*lines, *(["", "Failed:", "", *failures] if failures else [])]) + "\n"

    def header(self) -> list[str]:
        """Titles of the columns."""
        return [*self.rows[0].settings, "runs", *self.metrics]

    def cells(self, row: Row) -> list[str]:
        """One row as text."""
        return [*row.settings.values(), str(len(row.runs)), *(row.cell(name) for name in self.metrics)]

    def _run_one(self, combination: Combination, listener: Listener) -> None:
        run = Run(self.folder / combination.name)
        row = self._find(combination)
        assert row is not None
        row.failed.pop(combination.name, None)
        try:
            if not _is_finished(run):
                train(combination.recipe, run.folder, resume=run.recipe_path.is_file(), listener=listener)
        except StorageError:
            raise
        except (PertinentError, torch.OutOfMemoryError) as error:
            row.failed[combination.name] = str(error)
            return
        mean: Mapping[str, float | None] = load_evaluation(run.evaluation("best"))["mean"]
        row.runs[combination.name] = {name: math.nan if value is None else value for name, value in mean.items()}

    def _find(self, combination: Combination) -> Row | None:
        return next((row for row in self.rows if row.settings == _without_seed(combination)), None)

    def _sorting(self, names: Sequence[str]) -> str:
        """The name under which the sorting metric stands in results."""
        found: str = parse_metric(self.by).name
        return found if found in names else f"{found}.0"

    def _require_measured(self) -> None:
        by = parse_metric(self.by).name
        for combination in self.combinations:
            settings = combination.recipe.evaluate
            names = {parse_metric(name).name for name in [*settings.metrics, settings.select]}
            if by not in names and by.rpartition(".")[0] not in names:
                raise ConfigError([f"--by {self.by}: is not measured; add it to evaluate.metrics"], "sweep")

    def _require_folder(self, resume: bool) -> None:
        runs = [(Run(self.folder / combination.name), combination.recipe) for combination in self.combinations]
        begun = (self.folder / "sweep.json").is_file()
        if resume and not begun:
            raise StorageError(f"{self.folder} holds no sweep to resume; leave --resume out to start one")
        if begun and not resume:
            raise StorageError(
                f"{self.folder} holds a sweep already; go on with it by --resume, or choose another --out"
            )
        if not begun:
            refuse_strangers(self.folder, ())
        for run, recipe in runs:
            require_free(run, recipe, resume=run.recipe_path.is_file())


def combine(name: str, words: Sequence[str], seeds: int | None = None) -> list[Combination]:
    """Every combination of the listed values, the last key changing fastest; raises ConfigError with all problems."""
    words = [*words, *([f"{SEED}={','.join(map(str, range(seeds)))}"] if seeds else [])]
    keys = [word.partition("=")[0] for word in words]
    problems = [f"{key}: is given twice" for key in dict.fromkeys(keys) if keys.count(key) > 1]
    listed = [_choices(word) for word in words]
    problems += [
        f"{key}: a value is missing between commas"
        for key, values in zip(keys, listed, strict=True)
        if len(values) > 1 and any(value.endswith("=") for value in values)
    ]
    if problems:
        raise ConfigError(problems, "sweep")
    found: list[Combination] = []
    for chosen in itertools.product(*listed):
        pairs = zip(chosen, listed, strict=True)
        settings = dict(_pair(word) for word, values in pairs if len(values) > 1)
        try:
            recipe = load_recipe(name, chosen)
        except ConfigError as error:
            problems += error.problems
        else:
            found.append(Combination(_folder_name(settings, len(found), [c.name for c in found]), settings, recipe))
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)), name)
    return found


def split_values(text: str) -> list[str]:
    """The values of `a,b,[c,d],"e,f"`: commas inside brackets or quotes do not separate."""
    values, depth, quote = [""], 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign in "[{(":
            depth += 1
        elif sign in ")}]":
            depth -= 1
        elif sign == "," and depth == 0:
            values.append("")
            continue
        values[-1] += sign
    return [value.strip() for value in values]


def _choices(word: str) -> list[str]:
    key, equals, text = word.partition("=")
    return [f"{key}={value}" for value in split_values(text)] if equals else [word]


def _pair(word: str) -> tuple[str, str]:
    key, _, value = word.partition("=")
    return key, value


def _folder_name(settings: Mapping[str, str], number: int, taken: Sequence[str]) -> str:
    """The settings as a file name, shortened and numbered where that would be too long or not unique."""
    text = "_".join(f"{key}={value}" for key, value in settings.items()) or "run"
    name = re.sub(r"[^\w.=+-]+", "-", text)
    return name if len(name) <= 120 and name not in taken else f"{name[:110]}-{number}"


def _without_seed(combination: Combination) -> dict[str, str]:
    return {key: value for key, value in combination.settings.items() if key != SEED}


def _is_finished(run: Run) -> bool:
    # The index is what a run writes last.
    return (run.index / "index.json").is_file()
