"""What a stage may do; a class takes a role by having its method, and checks its own options when it is made.

Letters: N vectors, Q queries, G items, K neighbours, n candidates, D dim.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError
from pertinent.functional.similarity import Floats
from pertinent.functional.whitening import Rows, Whitening
from pertinent.relevance import Relevance


@runtime_checkable
class Whitener(Protocol):
    """Learns a map that queries and items go through alike."""

    def learn(self, vectors: Rows, relevance: Relevance | None) -> Whitening:
        """Learn from `(N, D)` vectors; `relevance` says which of them match, where that is known."""


@runtime_checkable
class Augmenter(Protocol):
    """Changes the items, once, when they are indexed."""

    def augment(self, items: NDArray[Any], out: Floats) -> None:
        """Write the new `(G, D)` items to `out`."""


@runtime_checkable
class Expander(Protocol):
    """Changes a query by its nearest items."""

    k: int

    def expand(self, queries: Floats, items: NDArray[Any], positions: NDArray[np.int64]) -> Floats:
        """New `(Q, D)` queries from the `(Q, K)` positions of the k nearest items of each; -1 is none."""


@runtime_checkable
class Reranker(Protocol):
    """Orders the first `top` items of a ranking anew."""

    top: int

    def rescore(self, query: NDArray[Any], candidates: NDArray[Any]) -> NDArray[np.float64]:
        """New scores `(n,)`, higher is nearer, of the `(n, D)` candidates of one query, which come nearest first."""


Stage = Whitener | Augmenter | Expander | Reranker

ROLES: tuple[type[Any], ...] = (Whitener, Augmenter, Expander, Reranker)
"""In the order in which they can follow each other: later ones read what earlier ones made of the items."""


MOST = float(np.finfo(np.float64).max)


def whole(where: str, value: Any, least: int) -> None:
    """Raise InputError unless `value` is a whole number of at least `least`; `where` is such as "dba: k"."""
    if type(value) is not int or value < least:
        raise InputError(f"{where} must be a whole number of at least {least}, got {value!r}")


def number(where: str, value: Any, low: float, high: float = MOST) -> None:
    """Raise InputError unless `value` is a finite number from `low` to `high`."""
    if type(value) not in (int, float) or not low <= value <= high:
        allowed = f"of at least {low:g}" if high == MOST else f"from {low:g} to {high:g}"
        raise InputError(f"{where} must be a number {allowed}, got {value!r}")
