"""`Report`: values of metrics with all that one must know to compare them.

Letters: Q queries, G gallery items.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError
from pertinent.files import finite

EXACT = "exact"


class ReportRow(NamedTuple):
    """One line of a report: a metric, its mean, how many queries it is of, how many had no value, what was counted."""

    metric: str
    mean: float
    queries: int
    skipped: int
    convention: str


class TieRange(NamedTuple):
    """Means of a metric under three orders of items with equal scores: worst, the mean of all, best.

    Worst puts the less relevant first, best the more relevant. Where a metric is divided by what it finds, as
    `ap@K/hits` is, another order may lie outside by a little.
    """

    worst: float
    expected: float
    best: float


@dataclass(frozen=True)
class Report:
    """Values of metrics, with all that one must know to compare them.

    Attributes:
        mean: mean of each metric over the queries that have a value; NaN when none has.
        per_query: `(Q,)` float64 values, NaN where undefined; empty when read from a file without them. Cluster metrics
            such as nmi have none.
        skipped: number of queries without a value; for cluster metrics, of items without a label.
        convention: what is counted and by what it is divided.
        n_queries: Q.
        n_items: G, the query itself included where the gallery holds it.
        similarity: by what items were ranked.
        ties: how items with equal scores were ordered.
        relevance: what was relevant to what.
        tied_queries: number of queries that have items of different levels with equal scores.
        tie_range: mean of each metric under the worst and the best order of equals, and over all orders; empty where
            no query is tied.
        limits: for each metric what it means that not all ranks were known; empty where all were.
    """

    mean: Mapping[str, float]
    per_query: Mapping[str, NDArray[np.float64]] = field(repr=False)
    skipped: Mapping[str, int]
    convention: Mapping[str, str] = field(repr=False)
    n_queries: int
    n_items: int
    similarity: str
    ties: str
    relevance: Mapping[str, Any]
    tied_queries: int = 0
    tie_range: Mapping[str, TieRange] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """Sentences that a reader of the values needs: how much ties matter, and what was not known."""
        said = []
        if self.tie_range:
            name, widest = max(self.tie_range.items(), key=lambda item: item[1].best - item[1].worst)
            said.append(
                f"{self.tied_queries} of {self.n_queries} queries have items of different relevance with equal scores; "
                f"with the worst order of equals {name} would be {widest.worst:.4f}, with the best {widest.best:.4f}, "
                f"over all orders {widest.expected:.4f}"
            )
        said += [f"{name}: {limit}" for name, limit in self.limits.items() if limit != EXACT]
        return said

    def table(self) -> list[ReportRow]:
        """One row a metric, in the order in which they were asked for."""
        return [
            ReportRow(name, mean, self.n_queries - self.skipped[name], self.skipped[name], self.convention[name])
            for name, mean in self.mean.items()
        ]

    def to_json(self, per_query: bool = False) -> dict[str, Any]:
        """Plain values for a JSON file; NaN becomes None.

        Args:
            per_query: write the value of every query too.
        """
        said: dict[str, Any] = {
            "mean": finite(self.mean),
            "skipped": dict(self.skipped),
            "convention": dict(self.convention),
            "n_queries": self.n_queries,
            "n_items": self.n_items,
            "similarity": self.similarity,
            "ties": self.ties,
            "relevance": dict(self.relevance),
            "tied_queries": self.tied_queries,
            "tie_range": finite(self.tie_range),
            "limits": dict(self.limits),
        }
        if per_query:
            said["per_query"] = finite({name: values.tolist() for name, values in self.per_query.items()})
        return said

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Report:
        """Read what `to_json` wrote; further keys may stand beside it.

        Raises:
            InputError: a part is missing.
        """
        parts = ("skipped", "convention", "n_queries", "n_items", "similarity", "ties", "relevance")
        later = {name: values[name] for name in ("tied_queries", "limits") if name in values}
        tie_range = {name: TieRange(*map(_number, row)) for name, row in values.get("tie_range", {}).items()}
        missing = [part for part in ("mean", *parts) if part not in values]
        if missing:
            raise InputError(f"this is no report: {', '.join(missing)} missing")
        per_query = {name: np.array(row, np.float64) for name, row in values.get("per_query", {}).items()}
        mean = {name: _number(value) for name, value in values["mean"].items()}
        known = {part: values[part] for part in parts}
        return cls(mean=mean, per_query=per_query, tie_range=tie_range, **known, **later)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
