"""How well binary codes use their bits.

Letters: N codes, K bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.functional.hamming import Codes
from pertinent.functional.similarity import as_vectors, widen


@dataclass(frozen=True)
class CodeStatistics:
    """What the codes of a collection look like.

    Attributes:
        count: N.
        bits: K.
        balance: `(K,)` share of ones in each bit; 0.5 tells most.
        correlation: largest correlation, either way, between two bits; 0 is best, 1 means that a bit repeats another.
        distinct: number of different codes.
        colliding: items that share their code with another.
        largest: items with the most frequent code.
        zeros: share of outputs that are exactly 0 and so have no sign.
    """

    count: int
    bits: int
    balance: NDArray[np.float64]
    correlation: float
    distinct: int
    colliding: int
    largest: int
    zeros: float

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {**self.__dict__, "balance": self.balance.tolist()}


def code_statistics(outputs: Any) -> CodeStatistics:
    """Bit balance, correlation between bits and collisions of the signs of real outputs.

    Args:
        outputs: `(N, K)` array, memory map or tensor; bool counts as -1 and 1.

    Raises:
        InputError: another shape or type, NaN.
    """
    codes = Codes.of(outputs, "outputs")
    raw = as_vectors(outputs, "outputs")
    signs = np.sign(widen(raw, np.float32))
    _, counts = np.unique(np.concatenate([codes.positive, codes.known], axis=1), axis=0, return_counts=True)
    centred = signs - signs.mean(0)
    spread = np.sqrt((centred**2).sum(0))
    # A bit that never changes has no correlation with any other.
    between = (centred.T @ centred) / np.maximum(np.outer(spread, spread), 1e-12)
    np.fill_diagonal(between, 0.0)
    return CodeStatistics(
        count=len(signs),
        bits=codes.bits,
        balance=(signs > 0).mean(0, dtype=np.float64),
        correlation=float(min(1.0, np.abs(between).max(initial=0.0))),
        distinct=len(counts),
        colliding=int(counts[counts > 1].sum()),
        largest=int(counts.max()),
        zeros=float((signs == 0).mean()),
    )
