"""Average precision over the hits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertinent.functional import average_precision as ap
from pertinent.functional import ties
from pertinent.functional.rank import RankedBlock
from pertinent.metrics._metric import metric

__all__ = ["average_precision_of_hits"]


@metric(
    {
        "ap@K/hits": "finite sum over the first K ranks / relevant items among them",
    },
    expected=ties.average_precision_of_hits,
    bounded=False,
    nothing_relevant=0.0,
)
def average_precision_of_hits(ranked: RankedBlock, cut: int) -> NDArray[np.float64]:
    """Average precision of the first K items, divided by the relevant items among them.

    The hashing papers' mAP@K. Finding one more late relevant item can lower it.
    """
    return ap.average_precision_of_hits(ranked, cut)
