"""Average precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertinent.functional import average_precision as ap
from pertinent.functional import ties
from pertinent.functional.rank import RankedBlock
from pertinent.metrics._metric import metric

__all__ = ["average_precision"]


@metric(
    {
        "ap": "finite sum over all relevant items / R, no interpolation",
        "ap@K": "finite sum over the first K ranks / min(K, R)",
    },
    expected=ties.average_precision,
)
def average_precision(ranked: RankedBlock, cut: int | None = None) -> NDArray[np.float64]:
    """Average precision: the mean over the relevant items of the precision at their rank.

    With a cut K, precisions beyond rank K count 0 and the divisor is min(K, R), the most that fit; R = number relevant.
    """
    return ap.average_precision(ranked, cut)
