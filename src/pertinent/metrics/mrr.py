"""Reciprocal rank."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertinent.functional import average_precision as ap
from pertinent.functional import ties
from pertinent.functional.rank import RankedBlock
from pertinent.metrics._metric import metric

__all__ = ["reciprocal_rank"]


@metric(
    {
        "mrr": "1 / rank of the first relevant item",
    },
    expected=ties.reciprocal_rank,
    reads="first",
)
def reciprocal_rank(ranked: RankedBlock) -> NDArray[np.float64]:
    """Reciprocal rank: one over the rank of the first relevant item."""
    return ap.reciprocal_rank(ranked)
