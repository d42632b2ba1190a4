"""R-precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertinent.functional import average_precision as ap
from pertinent.functional import ties
from pertinent.functional.rank import RankedBlock
from pertinent.metrics._metric import metric

__all__ = ["r_precision"]


@metric(
    {
        "rp": "relevant among the first R / R",
    },
    expected=ties.r_precision,
    reads="relevant",
)
def r_precision(ranked: RankedBlock) -> NDArray[np.float64]:
    """R-precision: the share of relevant items among the first R, R being their number."""
    return ap.r_precision(ranked)
