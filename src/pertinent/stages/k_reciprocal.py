"""k-reciprocal re-ranking: nearer are items that have the same mutual neighbours as the query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.functional.reranking import k_reciprocal_scores
from pertinent.stages._roles import number, whole

__all__ = ["KReciprocal"]


@dataclass(frozen=True)
class KReciprocal:
    """k-reciprocal re-ranking: nearer are items that have the same mutual neighbours as the query.

    Args:
        top: how many of the first items are ordered anew; time and memory grow with its square.
        k1: mutual neighbours looked for.
        k2: neighbours over which encodings are averaged.
        weight: share of the plain distance, 0 to 1.

    Raises:
        InputError: an option out of range.
    """

    top: int = 100
    k1: int = 20
    k2: int = 6
    weight: float = 0.3

    def __post_init__(self) -> None:
        for name, least in {"top": 0, "k1": 1, "k2": 1}.items():
            whole(f"k_reciprocal: {name}", getattr(self, name), least)
        number("k_reciprocal: weight", self.weight, 0, 1)

    def rescore(self, query: NDArray[Any], candidates: NDArray[Any]) -> NDArray[np.float64]:
        """Scores `(n,)`, 0 to 1, of the `(n, D)` candidates of a query, which come nearest first."""
        return k_reciprocal_scores(query, candidates, self.k1, self.k2, self.weight)
