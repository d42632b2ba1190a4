"""Average precision at R."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertinent.functional import average_precision as ap
from pertinent.functional import ties
from pertinent.functional.rank import RankedBlock
from pertinent.metrics._metric import metric

__all__ = ["average_precision_at_r"]


@metric(
    {
        "ap@r": "finite sum over the first R ranks / R",
    },
    expected=ties.average_precision_at_r,
    reads="relevant",
)
def average_precision_at_r(ranked: RankedBlock) -> NDArray[np.float64]:
    """Average precision of the first R items, R being the number of relevant items (mAP@R).

    Musgrave et al., A Metric Learning Reality Check, ECCV 2020.
    """
    return ap.average_precision_at_r(ranked)
