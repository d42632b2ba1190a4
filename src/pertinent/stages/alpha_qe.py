"""Alpha query expansion: search again with the query and its nearest items summed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.functional.expansion import expand
from pertinent.functional.similarity import Floats
from pertinent.stages._roles import number, whole

__all__ = ["AlphaQE"]


@dataclass(frozen=True)
class AlphaQE:
    """Alpha query expansion: search again with the query and its nearest items summed.

    Args:
        k: nearest items that join the query; 0 leaves it.
        alpha: power of the cosine that weights an item; 0 weights all alike (average query expansion).

    Raises:
        InputError: k or alpha below 0.
    """

    k: int = 10
    alpha: float = 3.0

    def __post_init__(self) -> None:
        whole("alpha_qe: k", self.k, 0)
        number("alpha_qe: alpha", self.alpha, 0)

    def expand(self, queries: Floats, items: NDArray[Any], positions: NDArray[np.int64]) -> Floats:
        """`(Q, D)` queries joined by the items at the `(Q, K)` positions; -1 is none."""
        return expand(queries, items, positions, self.alpha)
