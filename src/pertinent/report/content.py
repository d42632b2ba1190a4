"""What a report says, as plain values: no layout, no files, no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from PIL import Image

from pertinent.errors import InputError, suggest


@dataclass(frozen=True)
class Hit:
    """One result of a query: its picture, label words (finest first), score and severity.

    `level` is the number of label levels shared with the query: the number of levels for the same finest class,
    0 for an unrelated picture, None where the labels are unknown. `image` is None where there is no picture to show.
    """

    id: str
    where: str
    words: Sequence[str]
    score: float
    level: int | None
    image: Image.Image | None


@dataclass(frozen=True)
class Example:
    """One query with the first results of each model (best first) and its H-AP (0..1) by model."""

    id: str
    where: str
    words: Sequence[str]
    image: Image.Image
    hits: Mapping[str, Sequence[Hit]]
    value: Mapping[str, float | None]


@dataclass(frozen=True)
class MetricRow:
    """One metric by model; None or NaN is shown as a dash.

    `convention` says in words what the number counts, `skipped` how many queries each model's mean leaves out.
    `bounded=False` marks a metric that may exceed one, such as ACG; the others are shown in percent.
    """

    name: str
    convention: str
    values: Mapping[str, float | None]
    skipped: Mapping[str, int] = field(default_factory=dict)
    better: Literal["higher", "lower"] = "higher"
    bounded: bool = True


@dataclass(frozen=True)
class Series:
    """One line of a curve; NaN in `y` breaks the line."""

    name: str
    x: Sequence[float]
    y: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise InputError(f"series {self.name!r}: x has {len(self.x)} values and y has {len(self.y)}")


@dataclass(frozen=True)
class Curve:
    """One small line chart."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]


@dataclass(frozen=True)
class ReportContent:
    """Everything on the page of one run.

    The first of `models` is what the others are compared with, the last is the subject. `levels` names the label
    levels from fine to coarse, such as `["character", "script"]`. The first of `metrics` is the headline. `failures`
    come most severe first; `gallery` is a fixed sample; `commands` are pairs of purpose and command line. `page` is
    where a search page serves the same items, such as `http://127.0.0.1:8000`: queries then lead there.

    Raises:
        InputError: no model or a repeated one, a value or a result of a model that `models` does not name, a hit
            whose level lies outside 0..L, or a page that is no address of the web.
    """

    title: str
    summary: Sequence[str]
    models: Sequence[str]
    levels: Sequence[str]
    metrics: Sequence[MetricRow] = ()
    curves: Sequence[Curve] = ()
    failures: Sequence[Example] = ()
    gallery: Sequence[Example] = ()
    facts: Sequence[tuple[str, str]] = ()
    commands: Sequence[tuple[str, str]] = ()
    page: str | None = None

    def __post_init__(self) -> None:
        if not self.models or len(set(self.models)) < len(self.models):
            raise InputError(f"models must be one or more distinct names, got {list(self.models)!r}")
        if self.page is not None and not self.page.startswith(("http://", "https://")):
            raise InputError(f"expected the address of a search page, such as http://127.0.0.1:8000; got {self.page!r}")
        for what, name in self._named_models():
            if name not in self.models:
                raise InputError(f"{what}: no model is called {name!r}{suggest(name, list(self.models))}")
        for example in (*self.failures, *self.gallery):
            for hits in example.hits.values():
                check_levels(hits, self.levels)

    def _named_models(self) -> Iterator[tuple[str, str]]:
        for row in self.metrics:
            yield from ((f"metric {row.name!r}", name) for name in (*row.values, *row.skipped))
        for example in (*self.failures, *self.gallery):
            yield from ((f"query {example.id!r}", name) for name in (*example.hits, *example.value))


def check_levels(hits: Sequence[Hit], levels: Sequence[str]) -> None:
    """Raise InputError where a hit's level is not None and lies outside 0..len(levels)."""
    for hit in hits:
        if hit.level is not None and not 0 <= hit.level <= len(levels):
            raise InputError(
                f"hit {hit.id!r} has level {hit.level}, expected 0 to {len(levels)} for levels {list(levels)!r}"
            )
