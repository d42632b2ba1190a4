"""Which figures there are, what each says of itself, and why one is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from pertinent.engine import figures
from pertinent.engine.evaluate import tie_rule
from pertinent.engine.figures import Panel, even_cuts, mean_of_seeds
from pertinent.engine.recipe import EvaluateSettings
from pertinent.errors import InputError, PertinentError, UnknownNameError
from pertinent.functional.similarity import SIMILARITIES
from pertinent.metrics._parse import parse_metric, parse_metrics
from pertinent.report._contenders import Contender


@dataclass(frozen=True)
class Asked:
    """How to measure.

    Attributes:
        similarity: by what items are ranked; None is hamming where all labels are tags, else cosine.
        ties: rule for equal scores; None is expected for hamming, else index.
        metrics: of the table; None chooses by the labels.
        tsne_items: at most so many are laid out.
    """

    similarity: str | None = None
    ties: str | None = None
    metrics: Sequence[str] | None = None
    tsne_items: int = 2000


@dataclass(frozen=True)
class Figure:
    """One figure: the name of its files, what it is called, what it shows, and its panels."""

    key: str
    title: str
    caption: str
    panels: Sequence[Panel]


class LeftOut(NamedTuple):
    """A figure that one line, or every line, is missing from, and why."""

    figure: str
    name: str
    reason: str


@dataclass(frozen=True)
class FigureSet:
    """All that could be drawn, and what could not.

    Attributes:
        figures: in the order of the page.
        left_out: what is missing and why.
        names: the lines, in the order of the legend.
        similarity: by what items were ranked.
        ties: how items with equal scores were ordered.
        notes: what a reader must know before comparing the lines.
    """

    figures: Sequence[Figure]
    left_out: Sequence[LeftOut]
    names: Sequence[str]
    similarity: str
    ties: str
    notes: Sequence[str]


Draw = Callable[[str, Contender, Asked], list[Panel]]


def make_figures(lines: Mapping[str, Sequence[Contender]], asked: Asked) -> FigureSet:
    """Measure everything that the labels and logs allow.

    Args:
        lines: contenders by name of their line; several under one name are averaged.
        asked: how to measure.

    Raises:
        UnknownNameError: unknown metric, similarity or tie rule.
        InputError: nothing can be drawn; the message says why.
    """
    asked = _settled(asked, [one for members in lines.values() for one in members])
    assert asked.similarity is not None
    assert asked.ties is not None
    made, missing = [], []
    for key, (title, caption, draw) in _figures(lines).items():
        drawn = []
        for name, members in lines.items():
            panels, reasons = _of_line(name, members[:1] if key == "tsne" else members, asked, draw)
            drawn += panels
            missing += [LeftOut(key, word, reason) for word, reason in reasons]
        if drawn:
            made.append(Figure(key, title, caption.format(similarity=asked.similarity, ties=asked.ties), _join(drawn)))
    if not made:
        said = "\n".join(f"  - {name}: {reason}" for name, reason in dict.fromkeys((o.name, o.reason) for o in missing))
        raise InputError(f"no figure can be drawn:\n{said}")
    return FigureSet(made, missing, list(lines), asked.similarity, asked.ties, _notes(lines))


FIGURES = ("metrics", "top_n", "precision_recall", "radius", "graded", "convergence", "tsne", "codes")
"""Names of the figures and their files."""


def _figures(lines: Mapping[str, Sequence[Contender]]) -> dict[str, tuple[str, str, Draw]]:
    metric = _followed([one for members in lines.values() for one in members])
    about: tuple[tuple[str, str, Draw], ...] = (
        ("Metrics", "Means over queries, ranked by {similarity}, equal scores: {ties}.", _metrics),
        (
            "Top-N precision",
            "Share of relevant items among the first N, by {similarity}, equal scores: {ties}. "
            "Queries with nothing relevant count 0.",
            lambda name, one, how: figures.top_n(name, _ranked(one, how)),
        ),
        (
            "Precision and recall by rank",
            "Means over queries with a relevant item at every rank, by {similarity}, equal scores: {ties}.",
            lambda name, one, how: figures.by_rank(name, _ranked(one, how)),
        ),
        (
            "Precision and recall by Hamming radius",
            "All items within a radius; the order of equal distances plays no part. A query that finds nothing within "
            "a radius has precision 0 there.",
            lambda name, one, how: figures.by_radius(name, _ranked(one, how)),
        ),
        (
            "Graded metrics",
            "NDCG (gain 2^level - 1, ideal of the whole gallery), ACG and weighted AP of the first N; the level is the "
            "number of shared tags or label levels. By {similarity}, equal scores: {ties}.",
            lambda name, one, how: figures.graded(name, _ranked(one, how)),
        ),
        (
            "Convergence",
            "Validation split after epochs, measured as the recipe says, against seconds of training. Waiting for "
            "pictures counts, measuring does not.",
            lambda name, one, _: figures.followed(name, one.events, metric),
        ),
        (
            "t-SNE",
            "Items of the gallery in two dimensions, codes where the ranking is by hamming. Colours are the most "
            "frequent combinations of tags, or classes of the coarsest level; all other items are "
            "grey. Of several seeds the first.",
            _clouds,
        ),
        (
            "Code statistics",
            "Signs of the outputs. A bit tells most where half of the items have it. The quantisation error is 1 less "
            "the cosine between an output and its signs.",
            _codes,
        ),
    )
    return dict(zip(FIGURES, about, strict=True))


def _of_line(
    name: str, members: Sequence[Contender], asked: Asked, draw: Draw
) -> tuple[list[Panel], list[tuple[str, str]]]:
    """Panels of one line, and reasons by folder where something is missing."""
    drawn, reasons = [], []
    for one in members:
        try:
            drawn.append(draw(name, one, asked))
        except PertinentError as error:
            reasons.append((name if len(members) == 1 else f"{name}, {one.folder}", str(error)))
    return (mean_of_seeds(drawn) if drawn else []), reasons


def _join(panels: Sequence[Panel]) -> list[Panel]:
    """Panels with one title as one, with all their lines."""
    titles = dict.fromkeys(panel.title for panel in panels)
    alike = {title: [panel for panel in panels if panel.title == title] for title in titles}
    return [
        replace(same[0], lines=[line for panel in same for line in panel.lines], log=any(panel.log for panel in same))
        for same in alike.values()
    ]


def _settled(asked: Asked, contenders: Sequence[Contender]) -> Asked:
    similarity = asked.similarity
    if similarity is None:
        kinds = {one.kind for one in contenders} - {"none"}
        similarity = "hamming" if kinds == {"tags"} else "cosine"
    if similarity not in (*SIMILARITIES, "hamming"):
        raise UnknownNameError("similarity", similarity, (*SIMILARITIES, "hamming"))
    if asked.metrics is not None:
        if not asked.metrics:
            raise InputError("--metrics names no metric; see `pertinent list metrics`")
        parse_metrics(asked.metrics)
    if asked.tsne_items < figures.LEAST_ITEMS:
        raise InputError(f"--tsne-items must be at least {figures.LEAST_ITEMS}, got {asked.tsne_items}")
    return replace(asked, similarity=similarity, ties=tie_rule(asked.ties, similarity))


def _ranked(one: Contender, asked: Asked) -> figures.Ranked:
    assert asked.similarity is not None
    return one.ranked(asked.similarity, asked.ties)


def _metrics(name: str, one: Contender, asked: Asked) -> list[Panel]:
    ranked = _ranked(one, asked)
    metrics = asked.metrics
    if metrics is None and ranked.relevance.kind == "tags":
        cut = even_cuts(ranked.longest)[-1]
        metrics = [f"ap@{cut}/hits", "ap", f"ndcg@{cut}", f"acg@{cut}", f"wap@{cut}"]
    if metrics is None:
        settings = one.run.recipe().evaluate if one.run is not None else EvaluateSettings()
        metrics = settings.metrics
    return figures.values(name, ranked, metrics)


def _clouds(name: str, one: Contender, asked: Asked) -> list[Panel]:
    assert asked.similarity is not None
    return figures.clouds(name, one.vectors, one.groups(), asked.similarity, most=asked.tsne_items)


def _codes(name: str, one: Contender, asked: Asked) -> list[Panel]:
    if asked.similarity != "hamming":
        raise InputError(f"the ranking is by {asked.similarity}, not of codes; ask for --similarity hamming")
    return figures.codes(name, one.vectors)


def _followed(contenders: Sequence[Contender]) -> str:
    """The validation metric that all logs have: the one that chose the best epoch, else the first in common."""
    logs, first = [], None
    for run in (one for one in contenders if one.run is not None):
        logged = [event["metrics"] for event in run.events if event["event"] == "epoch" and event.get("metrics")]
        if logged:
            logs.append(logged[-1])
            first = first or run.run
    if first is None:
        return ""
    word = parse_metric(first.recipe().evaluate.select).name
    names: list[str] = [word, f"{word}.0", *logs[0]]
    return next((name for name in names if all(name in log for log in logs)), names[0])


def _notes(lines: Mapping[str, Sequence[Contender]]) -> list[str]:
    """Lines that are not of the same pictures as the first."""
    notes, first = [], None
    for name, members in lines.items():
        for one in members:
            if not (one.held / "manifest.json").is_file():
                continue
            ids = (sorted(one.store.ids), sorted(one.items.ids))
            first = first or (name, ids)
            if ids != first[1]:
                notes.append(f"{name} was measured on other pictures than {first[0]}; such lines do not compare")
    return list(dict.fromkeys(notes))
