"""The numbers behind the figures of hashing and retrieval papers: panels of lines, ready to be drawn.

Letters: Q queries, G gallery items, N items, K bits, M points of a line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pertinent.engine.compare import confidence
from pertinent.engine.curves import Curve, precision_recall, precision_recall_by_radius
from pertinent.engine.evaluate import Report, evaluate
from pertinent.errors import InputError
from pertinent.functional.code_statistics import code_statistics, quantisation_error
from pertinent.functional.similarity import cluster_vectors
from pertinent.relevance import Relevance

Numbers = NDArray[np.float64]
MOST_POINTS = 512
MOST_CUTS = 10
MOST_GROUPS = 7
LEAST_ITEMS = 5
REST, UNTAGGED = "all other", "no tag"


@dataclass(frozen=True)
class Line:
    """M points of one run, or the mean of several seeds.

    Attributes:
        name: for the legend.
        at: `(M,)` what a point is: a cut, rank, radius, bit, epoch or row of a store.
        x: `(M,)` where it lies.
        y: `(M,)` its value.
        low: `(M,)` lower end of what `around` says; None where nothing is known.
        high: `(M,)` upper end.
        around: what lies between `low` and `high`, in words.
        runs: how many runs the values are means of.
    """

    name: str
    at: NDArray[np.int64]
    x: Numbers
    y: Numbers
    low: Numbers | None = None
    high: Numbers | None = None
    around: str = ""
    runs: int = 1


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: above it; of several runs the panels with one title are one.
        x_label: under it.
        y_label: beside it.
        lines: what it shows.
        kind: "line", "value" (one point a line) or "points" (a cloud a line).
        log: whether x is logarithmic.
    """

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    kind: Literal["line", "value", "points"] = "line"
    log: bool = False


@dataclass(frozen=True)
class Ranked:
    """What is ranked and judged.

    Attributes:
        queries: `(Q, D)`.
        gallery: `(G, D)`; None where the queries are the gallery.
        relevance: what is relevant to what.
        levels: the same with all levels that the labels have; for tags the number of shared ones.
        similarity: as for `evaluate`.
        ties: as for `evaluate`.
    """

    queries: Any
    gallery: Any
    relevance: Relevance
    levels: Relevance
    similarity: str
    ties: str | None = None

    @property
    def binary(self) -> Relevance:
        """Relevant or not: at the finest level of a tree; for other kinds any level above 0."""
        return self.relevance.at(0) if self.relevance.kind == "tree" else self.relevance

    @property
    def longest(self) -> int:
        """Items that every query ranks."""
        own = self.relevance.query_positions
        return self.relevance.n_items - int((own >= 0).any())

    def measure(self, metrics: Sequence[str], relevance: Relevance) -> Report:
        """The report of metrics."""
        return evaluate(
            self.queries,
            self.gallery,
            relevance=relevance,
            metrics=list(metrics),
            similarity=self.similarity,
            ties=self.ties,
        )


def even_cuts(longest: int) -> list[int]:
    """100, 200, ... 1000 as in the papers, or up to ten smaller steps where fewer items are ranked."""
    step = max(1, min(100, longest // MOST_CUTS))
    return [step * number for number in range(1, MOST_CUTS + 1) if step * number <= max(longest, 1)]


def top_n(name: str, ranked: Ranked) -> list[Panel]:
    """Precision of the first N items against N; queries with nothing relevant count 0."""
    cuts = even_cuts(ranked.longest)
    mean = ranked.measure([f"topn@{cut}" for cut in cuts], ranked.binary).mean
    return [Panel("Top-N precision", "N", "precision", [_line(name, cuts, [mean[f"topn@{cut}"] for cut in cuts])])]


def graded(name: str, ranked: Ranked) -> list[Panel]:
    """NDCG, ACG and weighted AP of the first N items against N.

    Raises:
        InputError: labels that know only relevant or not.
    """
    if ranked.levels.levels == 1:
        raise InputError(f"labels of kind {ranked.relevance.kind} with one level have no graded metrics")
    cuts = even_cuts(ranked.longest)
    words = {"ndcg": "NDCG@N", "acg": "ACG@N", "wap": "WAP@N"}
    mean = ranked.measure([f"{word}@{cut}" for word in words for cut in cuts], ranked.levels).mean
    return [
        Panel(title, "N", title.partition("@")[0], [_line(name, cuts, [mean[f"{word}@{cut}"] for cut in cuts])])
        for word, title in words.items()
    ]


def by_rank(name: str, ranked: Ranked) -> list[Panel]:
    """Precision against recall, and both against the rank."""
    curve = precision_recall(
        ranked.queries,
        ranked.gallery,
        relevance=ranked.binary,
        similarity=ranked.similarity,
        ties=ranked.ties,
    )
    return _curve_panels(name, curve, "rank")


def by_radius(name: str, ranked: Ranked) -> list[Panel]:
    """The same against the Hamming radius.

    Raises:
        InputError: a ranking that is not by Hamming distance.
    """
    if ranked.similarity != "hamming":
        raise InputError(f"a radius is a Hamming distance, the ranking is by {ranked.similarity}")
    return _curve_panels(
        name, precision_recall_by_radius(ranked.queries, ranked.gallery, relevance=ranked.binary), "Hamming radius"
    )


def values(name: str, ranked: Ranked, metrics: Sequence[str]) -> list[Panel]:
    """One value a metric, with the 95% bootstrap interval over the queries.

    Metrics that know levels are measured by the levels, the others by relevant or not, at each level of a tree.
    """
    report = ranked.measure(metrics, ranked.levels)
    between = confidence(report) if report.per_query else {}
    panels = []
    for metric, mean in report.mean.items():
        line = _line(name, [0], [mean])
        if metric in between:
            low, high = (np.array([value]) for value in (between[metric].low, between[metric].high))
            line = replace(line, low=low, high=high, around="95% interval over queries")
        panels.append(Panel(metric, metric, "", [line], kind="value"))
    return panels


def codes(name: str, outputs: Any) -> list[Panel]:
    """How well the signs of real outputs use their bits."""
    found = code_statistics(outputs)
    known = {
        "largest correlation of two bits": found.correlation,
        "distinct codes of all": found.distinct / found.count,
        "items whose code another has": found.colliding / found.count,
        "quantisation error": quantisation_error(outputs),
    }
    shares = np.sort(found.balance)
    balance = Line(name, np.arange(found.bits), np.arange(1.0, found.bits + 1), shares)
    return [
        Panel("Bit balance", "bit, sorted", "share of ones", [balance]),
        *(Panel(title, title, "", [_line(name, [0], [value])], kind="value") for title, value in known.items()),
    ]


def followed(name: str, events: Sequence[Mapping[str, Any]], metric: str) -> list[Panel]:
    """A metric on the validation split against seconds of training, those of measuring left out.

    Args:
        name: for the legend.
        events: of a run's log.
        metric: its name in the log.

    Raises:
        InputError: the log holds no such values.
    """
    # A resumed run may repeat an epoch; the later word counts.
    found = {
        event["epoch"]: (event["seconds"], event["metrics"][metric])
        for event in events
        if event["event"] == "epoch" and event.get("metrics", {}).get(metric) is not None
    }
    if not found:
        raise InputError("no validation split was measured in training; set data.val and train.evaluate_every")
    epochs = sorted(found)
    seconds, points = np.array([found[epoch] for epoch in epochs], np.float64).T
    line = Line(name, np.array(epochs), seconds, points)
    return [Panel("Convergence", "seconds of training", f"{metric} on validation", [line])]


def clouds(
    name: str, vectors: Any, groups: Sequence[str], similarity: str, *, most: int = 2000, seed: int = 0
) -> list[Panel]:
    """Items in two dimensions by t-SNE, in colours of the most frequent groups. Van der Maaten and Hinton, 2008.

    Args:
        name: title of the panel.
        vectors: `(N, D)`; for hamming their signs are laid out.
        groups: N names: classes, or combinations of tags.
        similarity: "cosine" lays out directions, "hamming" codes, the others the vectors as they are.
        most: items; of more a sample is drawn.
        seed: of the sample and the layout; the same seed gives the same picture.

    Raises:
        InputError: fewer than five items, or hardly any that differ.
    """
    from sklearn.manifold import TSNE

    rows = np.arange(len(vectors))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))
    placed = cluster_vectors(np.asarray(vectors[rows]), similarity)
    if len(np.unique(placed, axis=0)) < LEAST_ITEMS or placed.shape[1] < 2:
        raise InputError(f"t-SNE needs at least {LEAST_ITEMS} items that differ, in two dimensions or more")
    layout = TSNE(init="pca", perplexity=min(30.0, (len(rows) - 1) / 3), random_state=seed, n_jobs=1)
    at = layout.fit_transform(placed).astype(np.float64)
    found = np.array([groups[row] for row in rows.tolist()])
    frequent = frequent_groups(groups)
    rest = ~np.isin(found, frequent)
    lines = [Line(group, rows[mask], *at[mask].T) for group in frequent if (mask := found == group).any()]
    if rest.any():
        lines.insert(0, Line(REST, rows[rest], *at[rest].T))
    return [Panel(name, "", "", lines, kind="points")]


def frequent_groups(groups: Sequence[str]) -> list[str]:
    """The most frequent names, at most seven; equals by name, and what has no name is not one of them."""
    names, counts = np.unique(np.array(groups), return_counts=True)
    order = [place for place in np.argsort(-counts, kind="stable").tolist() if names[place] != UNTAGGED]
    return [str(names[place]) for place in order[:MOST_GROUPS]]


def mean_of_seeds(runs: Sequence[Sequence[Panel]]) -> list[Panel]:
    """Panels of several seeds as one: mean lines, and bands from the lowest to the highest seed.

    Points that not all runs have, such as epochs after an early end, are left out.

    Args:
        runs: of each run the same panels with one line each.
    """
    if len(runs) == 1:
        return list(runs[0])
    return [
        replace(
            panel, lines=[_mean_line([one.lines[0] for panels in runs for one in panels if one.title == panel.title])]
        )
        for panel in runs[0]
    ]


def _mean_line(lines: Sequence[Line]) -> Line:
    at = lines[0].at
    for line in lines[1:]:
        at = np.intersect1d(at, line.at)
    kept = [np.isin(line.at, at) for line in lines]
    x, y = (
        np.stack([getattr(line, side)[rows] for line, rows in zip(lines, kept, strict=True)]) for side in ("x", "y")
    )
    return Line(lines[0].name, at, x.mean(0), y.mean(0), y.min(0), y.max(0), "lowest to highest run", len(lines))


def _line(name: str, at: Sequence[int], y: Sequence[float]) -> Line:
    return Line(name, np.array(at, np.int64), np.array(at, np.float64), np.array(y, np.float64))


def _curve_panels(name: str, curve: Curve, what: str) -> list[Panel]:
    kept = np.arange(len(curve.at))
    if len(kept) > MOST_POINTS:
        kept = np.unique(np.geomspace(1, len(kept), MOST_POINTS).astype(np.int64)) - 1
    at, log = curve.at[kept], curve.by == "rank" and len(curve.at) > MOST_POINTS
    precision, recall, x = curve.precision[kept], curve.recall[kept], at.astype(np.float64)
    return [
        Panel("Precision and recall", "recall", "precision", [Line(name, at, recall, precision)]),
        Panel(f"Precision by {what}", what, "precision", [Line(name, at, x, precision)], log=log),
        Panel(f"Recall by {what}", what, "recall", [Line(name, at, x, recall)], log=log),
    ]
