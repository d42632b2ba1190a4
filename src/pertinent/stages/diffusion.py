"""Diffusion re-ranking: nearer are items that the query reaches over many short steps between neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError
from pertinent.functional.reranking import diffusion_scores
from pertinent.stages._roles import number, whole

__all__ = ["Diffusion"]


@dataclass(frozen=True)
class Diffusion:
    """Diffusion re-ranking: nearer are items that the query reaches over many short steps between neighbours.

    Args:
        top: how many of the first items are ordered anew; memory grows with its square, time with its cube.
        k: neighbours of each item in the graph.
        k_query: items that the query is tied to.
        alpha: how far the walk goes before it starts again, 0 to below 1.
        gamma: power of the cosine that weights an edge.

    Raises:
        InputError: an option out of range.
    """

    top: int = 200
    k: int = 50
    k_query: int = 10
    alpha: float = 0.99
    gamma: float = 3.0

    def __post_init__(self) -> None:
        for name, least in {"top": 0, "k": 1, "k_query": 1}.items():
            whole(f"diffusion: {name}", getattr(self, name), least)
        number("diffusion: alpha", self.alpha, 0, 1)
        if self.alpha == 1:
            raise InputError("diffusion: alpha must be below 1, for the walk never ends at 1")
        number("diffusion: gamma", self.gamma, 0)

    def rescore(self, query: NDArray[Any], candidates: NDArray[Any]) -> NDArray[np.float64]:
        """Scores `(n,)`, at least 0, of the `(n, D)` candidates of a query, which come nearest first."""
        return diffusion_scores(query, candidates, k=self.k, k_query=self.k_query, alpha=self.alpha, gamma=self.gamma)
