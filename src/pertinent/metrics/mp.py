"""Precision of the revisited protocol."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertinent.functional import average_precision as ap
from pertinent.functional import ties
from pertinent.functional.rank import RankedBlock
from pertinent.metrics._metric import metric

__all__ = ["precision_to_last"]


@metric(
    {
        "mp@K": "relevant among the first k / k, k = min(K, rank of the last relevant item)",
    },
    expected=ties.precision_to_last,
)
def precision_to_last(ranked: RankedBlock, cut: int) -> NDArray[np.float64]:
    """Precision at K of the revisited protocol: of the first min(K, rank of the last relevant item) items.

    Radenovic et al., Revisiting Oxford and Paris, CVPR 2018.
    """
    return ap.precision_to_last(ranked, cut)
