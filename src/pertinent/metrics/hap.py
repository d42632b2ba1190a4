"""Hierarchical average precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertinent.functional import graded, ties
from pertinent.functional.rank import RankedBlock
from pertinent.metrics._metric import metric

__all__ = ["hierarchical_average_precision"]


@metric(
    {
        "hap": "sum of hrank(k) / k over the sum of relevances",
        "hap@K": "sum of hrank(k) / k over the first K ranks / sum of the K best relevances",
    },
    expected=ties.hierarchical_average_precision,
    graded=True,
)
def hierarchical_average_precision(ranked: RankedBlock, cut: int | None = None) -> NDArray[np.float64]:
    """Hierarchical average precision (H-AP): a better item also earns what a worse one in its place would.

    Ramzi et al., Hierarchical Average Precision Training for Pertinent Image Retrieval, ECCV 2022, equation 4.
    """
    return graded.hierarchical_average_precision(ranked, cut)
