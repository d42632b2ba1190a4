"""Average set intersection."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertinent.functional import graded, ties
from pertinent.functional.rank import RankedBlock
from pertinent.metrics._metric import metric

__all__ = ["average_set_intersection"]


@metric(
    {
        "asi": "multisets of levels of the first k, mean over k = 1..R",
    },
    expected=ties.average_set_intersection,
    reads="relevant",
    graded=True,
)
def average_set_intersection(ranked: RankedBlock) -> NDArray[np.float64]:
    """Average set intersection (ASI): how far the first k items match the ideal first k, over k = 1..R.

    Sun et al., Dynamic Metric Learning, CVPR 2021.
    """
    return graded.average_set_intersection(ranked)
