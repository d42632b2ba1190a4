"""How well binary codes use their bits, and what the signs of real outputs lose.

Letters: N codes, K bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.functional.hamming import PACKED_ROWS, Codes
from pertinent.functional.neighbours import blocks
from pertinent.functional.similarity import as_vectors, widen

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class CodeStatistics:
    """What the codes of a collection look like.

    Attributes:
        count: N.
        bits: K.
        balance: `(K,)` share of ones in each bit; 0.5 tells most.
        bit_entropy: mean over bits of the entropy of one bit, 0 to 1; 1 where all are balanced.
        entropy: of whole codes, in bits: log2 N where all differ, 0 where all are equal.
        correlation: largest correlation, either way, between two bits; 0 is best, 1 means that a bit repeats another.
        distinct: number of different codes.
        colliding: items that share their code with another.
        largest: items with the most frequent code.
        zeros: share of outputs that are exactly 0 and so have no sign.
    """

    count: int
    bits: int
    balance: Numbers
    bit_entropy: float
    entropy: float
    correlation: float
    distinct: int
    colliding: int
    largest: int
    zeros: float

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {**self.__dict__, "balance": self.balance.tolist()}


def code_statistics(outputs: Any) -> CodeStatistics:
    """Bit balance, entropy, correlation between bits and collisions of the signs of real outputs.

    Args:
        outputs: `(N, K)` array, memory map or tensor, read in blocks; bool counts as -1 and 1.

    Raises:
        InputError: another shape or type, no output, NaN.
    """
    codes = Codes.of(outputs, "outputs")
    raw = as_vectors(outputs, "outputs")
    ones, total, products, zeros = np.zeros(codes.bits), np.zeros(codes.bits), np.zeros((codes.bits,) * 2), 0
    for rows in blocks(len(raw), PACKED_ROWS):
        # Sums of so few rows of -1, 0 and 1 are exact in float32.
        signs = np.sign(widen(raw[rows], np.float32))
        ones += (signs > 0).sum(0)
        total += signs.sum(0)
        products += signs.T @ signs
        zeros += int((signs == 0).sum())
    counts = _sizes(codes)
    return CodeStatistics(
        count=len(raw),
        bits=codes.bits,
        balance=ones / len(raw),
        bit_entropy=float(_entropy(np.stack([ones, len(raw) - ones]) / len(raw)).mean()),
        entropy=float(_entropy(counts / len(raw))),
        correlation=_largest_correlation(products, total, len(raw)),
        distinct=len(counts),
        colliding=int(counts[counts > 1].sum()),
        largest=int(counts.max()),
        zeros=zeros / raw.size,
    )


def quantisation_error(outputs: Any) -> float:
    """Mean of 1 less the cosine between an output and its signs: 0 where nothing is lost; no scale changes it.

    Args:
        outputs: `(N, K)` array, memory map or tensor, read in blocks. A row of zeros counts 1.

    Raises:
        InputError: another shape or type, no output.
    """
    raw, total = as_vectors(outputs, "outputs"), 0.0
    for rows in blocks(len(raw), PACKED_ROWS):
        x = widen(raw[rows], np.float64)
        lengths = np.linalg.norm(x, axis=1) * np.sqrt(x.shape[1])
        total += float((1 - np.abs(x).sum(1) / np.maximum(lengths, 1e-12)).sum())
    # Rounding may take outputs that are signs already below 0.
    return max(0.0, total / len(raw))


def _sizes(codes: Codes) -> NDArray[np.int64]:
    """How many items have each code that there is."""
    planes = codes.positive if codes.whole else np.concatenate([codes.positive, codes.known], axis=1)
    # One number a code sorts much faster than rows do.
    sizes: NDArray[np.int64] = np.unique(planes[:, 0] if planes.shape[1] == 1 else planes, axis=0, return_counts=True)[
        1
    ]
    return sizes


def _entropy(shares: Numbers) -> Numbers:
    """Shannon entropy in bits over the first axis; a share of 0 adds nothing."""
    terms: Numbers = -(shares * np.log2(np.where(shares > 0, shares, 1))).sum(0)
    return np.maximum(terms, 0)


def _largest_correlation(products: Numbers, total: Numbers, count: int) -> float:
    covered = products - np.outer(total, total) / count
    spread = np.sqrt(np.maximum(covered.diagonal(), 0))
    # A bit that never changes has no correlation with any other.
    between = covered / np.maximum(np.outer(spread, spread), 1e-12)
    np.fill_diagonal(between, 0.0)
    return float(min(1.0, np.abs(between).max(initial=0.0)))
