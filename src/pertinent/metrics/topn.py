"""Top-N precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertinent.functional import average_precision as ap
from pertinent.functional import ties
from pertinent.functional.rank import RankedBlock
from pertinent.metrics._metric import metric

__all__ = ["top_n_precision"]


@metric(
    {
        "topn@K": "relevant among the first K / K, also when fewer are ranked",
    },
    expected=ties.precision,
    nothing_relevant=0.0,
)
def top_n_precision(ranked: RankedBlock, cut: int) -> NDArray[np.float64]:
    """Top-N precision of the hashing papers: the share of relevant items among the first N, of all queries."""
    return ap.precision(ranked, cut)
