"""Trapezoid average precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertinent.functional import average_precision as ap
from pertinent.functional import ties
from pertinent.functional.rank import RankedBlock
from pertinent.metrics._metric import metric

__all__ = ["trapezoid_average_precision"]


@metric(
    {
        "ap_trapezoid": "trapezoid rule over recall, all relevant items / R",
    },
    expected=ties.trapezoid_average_precision,
)
def trapezoid_average_precision(ranked: RankedBlock) -> NDArray[np.float64]:
    """Average precision by the trapezoid rule, as the Oxford and Paris protocols have it.

    Philbin et al., CVPR 2007; Radenovic et al., CVPR 2018.
    """
    return ap.trapezoid_average_precision(ranked)
