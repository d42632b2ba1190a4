"""Database augmentation: every item joined by its nearest, once, when the index is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from pertinent.functional.expansion import augment
from pertinent.functional.similarity import Floats
from pertinent.stages._roles import number, whole

__all__ = ["DBA"]


@dataclass(frozen=True)
class DBA:
    """Database augmentation: every item joined by its nearest, once, when the index is built.

    Args:
        k: nearest items that join each; 0 leaves them.
        alpha: power of the cosine that weights a neighbour; 0 weights all alike.

    Raises:
        InputError: k or alpha below 0.
    """

    k: int = 10
    alpha: float = 3.0

    def __post_init__(self) -> None:
        whole("dba: k", self.k, 0)
        number("dba: alpha", self.alpha, 0)

    def augment(self, items: NDArray[Any], out: Floats) -> None:
        """Write the augmented `(G, D)` items to `out`."""
        augment(items, self.k, self.alpha, out)
