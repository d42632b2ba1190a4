"""Precision at K."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertinent.functional import average_precision as ap
from pertinent.functional import ties
from pertinent.functional.rank import RankedBlock
from pertinent.metrics._metric import metric

__all__ = ["precision_at_k"]


@metric(
    {
        "p@K": "relevant among the first K / K, also when fewer are ranked",
    },
    expected=ties.precision,
)
def precision_at_k(ranked: RankedBlock, cut: int) -> NDArray[np.float64]:
    """Precision at K: the share of relevant items among the first K."""
    return ap.precision(ranked, cut)
