"""From a run folder to a report: metrics, curves, the most severe failures and a sample of queries."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent import __version__
from pertinent.data.table import ImageTable
from pertinent.engine.check import measured_epochs
from pertinent.engine.events import read_events
from pertinent.engine.measure import load_evaluation, queries_of, relevance_of
from pertinent.engine.recipe import Recipe
from pertinent.engine.run import Run, open_split
from pertinent.errors import InputError, StorageError
from pertinent.index import Index
from pertinent.relevance import Relevance
from pertinent.report.content import Curve, Example, Hit, MetricRow, ReportContent, Series
from pertinent.report.page import write_report
from pertinent.store import EmbeddingStore, StoreLabels

TOP = 10
FAILURES, GALLERY = 24, 24
# Queries that are searched for failures; more would only make a large report slow.
SEARCHED = 2000


def report_run(
    run: Run,
    others: Mapping[str, Run] | None = None,
    name: str | None = None,
    path: Path | None = None,
    page: str | None = None,
) -> Path:
    """Write the HTML report of a run.

    Args:
        run: the subject; its state before training stands first.
        others: runs to put between, by the name to show.
        name: what to call the subject; default "after training".
        path: where; default `report.html` in the run folder.
        page: address of the search page over the run, such as `http://127.0.0.1:8000`; queries then lead there.

    Raises:
        InputError: two runs of one name, or no address.
        StorageError: the run is not finished, a compared run was measured on other pictures, or the data set no longer
            holds them.
    """
    subject = name or "after training"
    if {subject, "before training"} & set(others or {}):
        raise InputError(f"runs to compare need names of their own, other than {subject!r} and 'before training'")
    models = {"before training": _Model(run, "before")}
    models |= {key: _Model(other, "best") for key, other in (others or {}).items()}
    models[subject] = _Model(run, "best")
    _require_same_pictures(models)
    recipe = run.recipe()
    pictures = open_split(recipe.data, recipe.data.test)
    gone = set(models[subject].store.ids) - set(pictures.ids)
    if gone:
        raise StorageError(f"{recipe.data.name} no longer holds {min(gone)!r}; put it back, or train again without it")
    shown = _Shown(models, subject, pictures)
    content = ReportContent(
        title=f"{recipe.data.name}: {Path(run.folder).name}",
        summary=[*_summary(models, subject, recipe.description), *_doubts(recipe), *_notes(run)],
        models=list(models),
        levels=_levels(models[subject].store.labels),
        metrics=_metrics(models),
        curves=_curves({subject: run} | dict(others or {})),
        failures=shown.failures(),
        gallery=shown.gallery(),
        facts=_facts(run, models[subject]),
        commands=_commands(run),
        page=page,
    )
    return write_report(content, path or run.report)


class _Model:
    """One encoder of one run: its evaluation and its embeddings of the test split."""

    def __init__(self, run: Run, encoder: str) -> None:
        if not run.evaluation(encoder).is_file():
            raise StorageError(f"{run.folder} has no evaluation of '{encoder}' yet; let its training end first")
        self.evaluation = load_evaluation(run.evaluation(encoder))
        self.store = EmbeddingStore.open(run.store(encoder))
        self.queries = queries_of(self.store)

    def mean(self, metric: str) -> float | None:
        value: float | None = self.evaluation["mean"].get(metric)
        return value

    def value(self, metric: str, query: int) -> float | None:
        """What a metric says of a query, which are counted from 0."""
        values = self.evaluation["per_query"].get(metric)
        return None if values is None else float(values[query])

    def top(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and positions of the first items of each row, the row itself left out by its index."""
        index = Index.build(self.store)
        hits = index.search(np.asarray(self.store.vectors[rows]), k=TOP + 1)
        own = int((rows < len(index)).any())
        scores = np.empty((len(rows), min(TOP, len(index) - own)), np.float32)
        places = np.empty(scores.shape, np.int64)
        for i, row in enumerate(rows.tolist()):
            others = np.flatnonzero(hits.positions[i] != row)[: scores.shape[1]]
            scores[i], places[i] = hits.scores[i, others], hits.positions[i, others]
        return scores, places


@dataclass
class _Shown:
    """Chooses the queries to show and lays out their hits."""

    models: Mapping[str, _Model]
    subject: str
    pictures: ImageTable

    @cached_property
    def relevance(self) -> Relevance | None:
        store = self.models[self.subject].store
        return None if store.labels.kind == "none" else relevance_of(store.labels, len(store))

    @cached_property
    def rows_by_id(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.pictures.ids)}

    def failures(self) -> list[Example]:
        """Queries of the subject whose first results are the least related, worst first."""
        if self.relevance is None:
            return []
        queries = self._sample(SEARCHED)
        found = [self.relevance.positives(slice(query, query + 1)).levels for query in queries.tolist()]
        # Who has no equal cannot be answered better.
        queries = queries[[bool((levels == self.relevance.levels).any()) for levels in found]]
        if not len(queries):
            return []
        subject = self.models[self.subject]
        levels = self._levels(queries, subject.top(subject.queries[queries])[1])
        # A wrong first result weighs more than a wrong tenth one.
        discount = 1 / np.log2(np.arange(levels.shape[1]) + 2)
        severity = ((self.relevance.levels - levels) * discount).sum(1)
        worst = np.argsort(-severity, kind="stable")[:FAILURES]
        return self._examples(queries[worst])

    def gallery(self) -> list[Example]:
        """The same fixed sample whatever the models did."""
        return self._examples(self._sample(GALLERY, seed=1))

    def _sample(self, count: int, seed: int = 0) -> NDArray[np.int64]:
        """Numbers of queries."""
        total = len(self.models[self.subject].queries)
        if total <= count:
            return np.arange(total)
        return np.sort(np.random.default_rng(seed).choice(total, count, replace=False))

    def _levels(self, queries: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Levels `(Q, K)` of items to queries; junk counts as unrelated."""
        assert self.relevance is not None
        levels = np.zeros(places.shape, np.int64)
        for row, query in enumerate(queries.tolist()):
            positives = self.relevance.positives(slice(query, query + 1))
            known = dict(zip(positives.lists.ids.tolist(), positives.levels.tolist(), strict=True))
            levels[row] = [known.get(place, 0) for place in places[row].tolist()]
        return levels

    def _examples(self, queries: NDArray[np.int64]) -> list[Example]:
        rows = self.models[self.subject].queries[queries]
        tops = {name: model.top(rows) for name, model in self.models.items()}
        store = self.models[self.subject].store
        examples = []
        for number, (query, row) in enumerate(zip(queries.tolist(), rows.tolist(), strict=True)):
            hits = {name: self._hits(query, scores[number], places[number]) for name, (scores, places) in tops.items()}
            value = {name: model.value("hap", query) for name, model in self.models.items()}
            image = self._image(store.ids[row])
            examples.append(Example(store.ids[row], store.places[row], store.labels.words(row), image, hits, value))
        return examples

    def _hits(self, query: int, scores: NDArray[np.float32], places: NDArray[np.int64]) -> list[Hit]:
        store = self.models[self.subject].store
        known = self.relevance is not None
        levels = self._levels(np.array([query]), places[None])[0].tolist() if known else [None] * len(places)
        return [
            Hit(store.ids[p], store.places[p], store.labels.words(p), float(s), level, self._image(store.ids[p]))
            for p, s, level in zip(places.tolist(), scores.tolist(), levels, strict=True)
        ]

    def _image(self, name: str) -> Any:
        return self.pictures.read(self.rows_by_id[name])


def _require_same_pictures(models: Mapping[str, _Model]) -> None:
    ids = {name: model.store.ids for name, model in models.items()}
    first = next(iter(ids))
    for name, own in ids.items():
        if own != ids[first]:
            raise StorageError(
                f"'{name}' was measured on other pictures than '{first}'; compare runs of one test split"
            )


def _doubts(recipe: Recipe) -> list[str]:
    chosen = recipe.data.val == recipe.data.test and measured_epochs(recipe) > 1
    return (
        ["The best epoch was chosen on the test split, as some papers do: these figures flatter it."] if chosen else []
    )


def _notes(run: Run) -> Sequence[str]:
    """What the data set says about its splits, as the start of the run has it."""
    notes: Sequence[str] = _start(run).get("notes", ())
    return [f"Note: {text}." for text in notes]


def _start(run: Run) -> dict[str, Any]:
    return next((event for event in read_events(run.log_path) if event["event"] == "start"), {})


def _levels(labels: StoreLabels) -> list[str]:
    return ["relevant"] if labels.kind == "judged" else list(labels.level_names)


def _summary(models: Mapping[str, _Model], subject: str, description: str) -> list[str]:
    sentences = [description] if description else []
    evaluation = models[subject].evaluation
    parted = models[subject].store.labels.probes
    others = f"{evaluation['n_items']:,} items" if parted else f"the other {evaluation['n_items'] - 1:,} pictures"
    sentences.append(f"{evaluation['n_queries']:,} queries, each ranked against {others}.")
    if evaluation["damaged"]:
        sentences.append(f"{len(evaluation['damaged'])} damaged pictures were left out.")
    return sentences


def _metrics(models: Mapping[str, _Model]) -> list[MetricRow]:
    evaluation = list(models.values())[-1].evaluation
    return [
        MetricRow(
            _spell(name, evaluation["level_names"]),
            evaluation["convention"][name],
            {key: model.mean(name) for key, model in models.items()},
            {key: int(model.evaluation["skipped"].get(name, 0)) for key, model in models.items()},
            bounded=name.partition("@")[0] not in ("acg", "wap"),
        )
        for name in evaluation["mean"]
    ]


def _spell(name: str, levels: Sequence[str]) -> str:
    # As papers write it: `hap` is H-AP, and `ap.0` the AP of the finest level.
    word, _, level = name.partition(".")
    shown = {"hap": "H-AP"}.get(word, word.upper())
    return f"{shown}, {levels[int(level)]}" if level and levels else shown


def _curves(runs: Mapping[str, Run]) -> list[Curve]:
    logs = {name: read_events(run.log_path) for name, run in runs.items()}
    loss = [_smooth(_series(name, events, lambda event: event["parts"].get("loss"))) for name, events in logs.items()]
    curves = [Curve("Training loss", "epoch", "loss", [line for line in loss if line.x])]
    subject = next(iter(logs.values()))
    names = dict.fromkeys(key for event in subject if event["event"] == "step" for key in event["parts"])
    parts = [
        _smooth(_series(key, subject, lambda event, k=key: event["parts"].get(k))) for key in names if key != "loss"
    ]
    if len(parts) > 1:
        curves.append(Curve("Parts of the loss", "epoch", "loss", parts))
    rates = dict.fromkeys(key for event in subject if event["event"] == "step" for key in event["lr"])
    curves.append(
        Curve("Learning rate", "epoch", "rate", [_series(k, subject, lambda e, k=k: e["lr"].get(k)) for k in rates])
    )
    epochs = [event for event in subject if event["event"] == "epoch" and event.get("metrics")]
    for metric in ("hap", "ap.0"):
        points = [(event["epoch"], event["metrics"].get(metric)) for event in epochs]
        if len(points) > 1 and all(value is not None for _, value in points):
            series = Series(
                "validation", [float(x) for x, _ in points], [100 * float(y) for _, y in points if y is not None]
            )
            curves.append(Curve(f"{metric} on validation", "epoch", "percent", [series]))
    return [curve for curve in curves if curve.series]


def _series(name: str, events: Sequence[Mapping[str, Any]], pick: Any) -> Series:
    points: dict[float, float] = {}
    for event in events:
        if event["event"] == "step" and pick(event) is not None:
            # A resumed run repeats some steps; the later word counts.
            points[event["epoch"] - 1 + event["step"] / event["steps"]] = float(pick(event))
    xs = sorted(points)
    return Series(name, xs, [points[x] for x in xs])


def _smooth(series: Series) -> Series:
    window = max(1, len(series.y) // 40)
    values = np.asarray(series.y)
    means = [float(values[max(0, i - window + 1) : i + 1].mean()) for i in range(len(values))]
    return Series(series.name, series.x, means)


def _facts(run: Run, model: _Model) -> list[tuple[str, str]]:
    recipe = run.recipe()
    start = _start(run)
    end = next((event for event in read_events(run.log_path) if event["event"] == "end"), {})
    return [
        ("run", str(run.folder)),
        ("seed", str(recipe.train.seed)),
        ("losses", ", ".join(f"{loss.weight:g} {key}" for key, loss in recipe.losses.items())),
        *start.get("losses", {}).items(),
        ("backbone", recipe.model.backbone),
        ("training", f"{recipe.train.epochs} epochs, {end.get('seconds', 0):.0f} s"),
        ("pictures", f"{start.get('train', '?')} to train, {start.get('test', '?')} to test"),
        ("encoder", str(model.store.encoder)[:16]),
        ("test split", str(model.store.manifest.get("table"))[:16]),
        ("versions", f"pertinent {__version__}, torch {start.get('torch', '?')}, Python {platform.python_version()}"),
    ]


def _commands(run: Run) -> list[tuple[str, str]]:
    folder = shlex.quote(str(run.folder))
    return [
        ("search with a picture of yours", f"pertinent search {folder} PICTURE"),
        ("measure again", f"pertinent evaluate {folder}"),
        ("make this page again", f"pertinent report {folder}"),
    ]
