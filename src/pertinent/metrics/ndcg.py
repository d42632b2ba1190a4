"""Normalised discounted cumulative gain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertinent.functional import graded, ties
from pertinent.functional.rank import RankedBlock
from pertinent.metrics._metric import metric

__all__ = ["discounted_gain"]


@metric(
    {
        "ndcg": "gain 2^level - 1, discount log2(1 + rank), whole ranking",
        "ndcg@K": "gain 2^level - 1, discount log2(1 + rank), first K; ideal of the whole gallery",
    },
    expected=ties.discounted_gain,
    graded=True,
)
def discounted_gain(ranked: RankedBlock, cut: int | None = None) -> NDArray[np.float64]:
    """Normalised discounted cumulative gain (NDCG) with gain 2^level - 1.

    Jarvelin and Kekalainen, 2002; gain of Burges et al., 2005.
    """
    return graded.discounted_gain(ranked, cut)
