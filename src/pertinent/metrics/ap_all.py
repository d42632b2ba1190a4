"""Average precision over all relevant items."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertinent.functional import average_precision as ap
from pertinent.functional import ties
from pertinent.functional.rank import RankedBlock
from pertinent.metrics._metric import metric

__all__ = ["average_precision_of_all"]


@metric(
    {
        "ap@K/all": "finite sum over the first K ranks / R",
    },
    expected=ties.average_precision_of_all,
)
def average_precision_of_all(ranked: RankedBlock, cut: int) -> NDArray[np.float64]:
    """Average precision of the first K items, divided by the number of all relevant items."""
    return ap.average_precision_of_all(ranked, cut)
