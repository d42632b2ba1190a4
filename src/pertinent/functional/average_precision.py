"""Precision, recall and the average precisions of a ranked block; they differ only in depth and divisor.

Letters: B a block of queries, R relevant items of a query. Undefined values are NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertinent.functional.rank import Cut, RankedBlock, ratio


def precision_sum(ranked: RankedBlock, cut: Cut = None) -> NDArray[np.float64]:
    """Sum over the relevant items down to `cut` of the precision at their rank, `(B,)`."""
    return ranked.sum(ranked.precision * ranked.within(cut))


def hits(ranked: RankedBlock, cut: Cut) -> NDArray[np.float64]:
    """Number of relevant items among the first `cut`, `(B,)`."""
    return ranked.sum(ranked.within(cut))


def average_precision(ranked: RankedBlock, cut: Cut = None) -> NDArray[np.float64]:
    """Precision sum over the most that the first `cut` can hold, min(R, cut), `(B,)`."""
    most = ranked.relevant if cut is None else np.minimum(ranked.relevant, cut)
    return ratio(precision_sum(ranked, cut), most)


def average_precision_at_r(ranked: RankedBlock) -> NDArray[np.float64]:
    """Precision sum of the first R items over R, `(B,)`."""
    return average_precision(ranked, ranked.relevant)


def average_precision_of_all(ranked: RankedBlock, cut: int) -> NDArray[np.float64]:
    """Precision sum of the first `cut` items over R, `(B,)`."""
    return ratio(precision_sum(ranked, cut), ranked.relevant)


def average_precision_of_hits(ranked: RankedBlock, cut: int) -> NDArray[np.float64]:
    """Precision sum of the first `cut` over the relevant items among them, `(B,)`; 0 where there is none."""
    return np.nan_to_num(ratio(precision_sum(ranked, cut), hits(ranked, cut)))


def trapezoid_average_precision(ranked: RankedBlock) -> NDArray[np.float64]:
    """Area under the precision-recall curve by the trapezoid rule, `(B,)`.

    Each relevant item adds the mean of the precisions before and at it, divided by R; the precision before the first
    rank is 1. Philbin et al., CVPR 2007; Radenovic et al., CVPR 2018.
    """
    before = np.ones(len(ranked.ranks))
    np.divide(ranked.position - 1, ranked.ranks - 1, out=before, where=ranked.ranks > 1)
    return ratio(ranked.sum((before + ranked.precision) / 2), ranked.relevant)


def found_within(ranked: RankedBlock, cut: int) -> NDArray[np.float64]:
    """1 where the first `cut` hold a relevant item, else 0, `(B,)`."""
    return np.where(ranked.relevant > 0, ranked.first() <= cut, np.nan)


def precision(ranked: RankedBlock, cut: int) -> NDArray[np.float64]:
    """Share of relevant items among the first `cut`, `(B,)`."""
    return hits(ranked, cut) / cut


def r_precision(ranked: RankedBlock) -> NDArray[np.float64]:
    """Share of relevant items among the first R, `(B,)`."""
    return ratio(hits(ranked, ranked.relevant), ranked.relevant)


def reciprocal_rank(ranked: RankedBlock) -> NDArray[np.float64]:
    """1 / rank of the first relevant item, `(B,)`; 0 where its rank is not known."""
    return np.where(ranked.relevant > 0, np.nan_to_num(1 / ranked.first()), np.nan)


def precision_to_last(ranked: RankedBlock, cut: int) -> NDArray[np.float64]:
    """Precision of the first min(cut, rank of the last relevant item), `(B,)`: the revisited protocol's mP@k."""
    depth = np.nan_to_num(np.minimum(ranked.last(), cut)).astype(np.int64)
    return ratio(hits(ranked, depth), depth)
