"""Recall at K."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertinent.functional import average_precision as ap
from pertinent.functional import ties
from pertinent.functional.rank import RankedBlock
from pertinent.metrics._metric import metric

__all__ = ["recall_at_k"]


@metric(
    {
        "r@K": "1 if any of the first K is relevant, else 0",
    },
    expected=ties.found_within,
)
def recall_at_k(ranked: RankedBlock, cut: int) -> NDArray[np.float64]:
    """Recall at K as metric learning has it: 1 if the first K items hold a relevant one, else 0."""
    return ap.found_within(ranked, cut)
