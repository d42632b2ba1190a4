"""Weighted average precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertinent.functional import graded, ties
from pertinent.functional.rank import RankedBlock
from pertinent.metrics._metric import metric

__all__ = ["weighted_average_precision"]


@metric(
    {
        "wap@K": "mean of ACG at the relevant items among the first K",
    },
    expected=ties.weighted_average_precision,
    bounded=False,
    nothing_relevant=0.0,
    graded=True,
)
def weighted_average_precision(ranked: RankedBlock, cut: int) -> NDArray[np.float64]:
    """Weighted average precision (WAP): the mean ACG at the ranks of the relevant items among the first K."""
    return graded.weighted_average_precision(ranked, cut)
