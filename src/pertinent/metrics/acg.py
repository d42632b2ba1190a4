"""Average cumulative gain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertinent.functional import graded, ties
from pertinent.functional.rank import RankedBlock
from pertinent.metrics._metric import metric

__all__ = ["average_cumulative_gain"]


@metric(
    {
        "acg@K": "sum of the levels of the first K / K, also when fewer are ranked",
    },
    expected=ties.average_cumulative_gain,
    nothing_relevant=0.0,
    graded=True,
)
def average_cumulative_gain(ranked: RankedBlock, cut: int) -> NDArray[np.float64]:
    """Average cumulative gain (ACG): the mean level of the first K items."""
    return graded.average_cumulative_gain(ranked, cut)
