"""Hierarchical average precision as a loss."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pertinent.errors import InputError
from pertinent.functional.hierarchical_ap import hierarchical_ap
from pertinent.functional.relevance import Weighting, level_counts, level_weights
from pertinent.functional.smooth_step import Ramp, SmoothStep
from pertinent.losses._batch import Reduction
from pertinent.losses._listwise import Listwise

__all__ = ["HAPLoss"]


class HAPLoss(Listwise):
    """1 - H-AP of every item of the batch as a query, so that mistakes become mild (HAPPIER).

    H-AP is average precision with graded relevance: see `functional.hierarchical_ap`. Reference: Ramzi, Audebert,
    Thome, Rambour, Bitot, "Hierarchical Average Precision Training for Pertinent Image Retrieval", ECCV 2022.

    Shapes: embeddings `(B, D)`, used as given (normalise them before), labels `(B,)` or `(B, L)` int64 with column 0
    finest; ref_emb `(R, D)` and ref_labels alike. Without references the batch is ranked against itself and a query is
    an ordinary item of its own list. The populations behind the relevance are those of the row, the query included.

    A row with -1 in a used column is unlabelled: neither query nor item. A query without any relevant item has loss 0
    and no gradient and is left out of `mean`; if no query is left the loss is 0 with a zero gradient. One item or one
    class alone is ranked perfectly: loss 0. Tied items of lower relevance count one half.

    Args:
        tau, rho, offset, delta, start: the smooth step, see `functional.smooth_step.SmoothStep`; HAPPIER's runs on
            iNaturalist use start=0, offset=1.
        with_hrank: also let the gradient pull up more relevant items, through the ramp of `beta`, `leak`, `gamma`.
        relevance: `pop` shares the mass (l/L)^alpha among the items of level l; `map` makes H-AP a weighted mean of
            the levels' APs.
        alpha: exponent for `pop`, list of the L level weights for `map`.
        level: use this one label column, as binary AP; None uses all.
        levels: number of label columns to expect; None takes what comes.
        reduction: `mean`, `sum`, `none` `(B,)`, or `avg_non_zero` (mean over losses above 0).

    Raises:
        InputError: a wrong option, shape or number of columns, or an `indices_tuple`, which a listwise loss cannot use.
    """

    def __init__(
        self,
        tau: float = 0.01,
        rho: float = 100.0,
        offset: float | None = 1.44,
        delta: float | None = 0.05,
        start: float = 0.5,
        *,
        with_hrank: bool = False,
        beta: float = 25.0,
        leak: float = 10.0,
        gamma: float = 0.5,
        relevance: Weighting = "pop",
        alpha: float | Sequence[float] = 1.0,
        level: int | None = None,
        levels: int | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(level, reduction, levels)
        if relevance not in ("pop", "map"):
            raise InputError(f"relevance must be 'pop' or 'map', got {relevance!r}")
        self.step = SmoothStep(tau, rho, offset, delta, start)
        self.ramp = Ramp(beta, leak, gamma) if with_hrank else None
        self.relevance, self.alpha = relevance, alpha

    def values(self, scores: Tensor, levels: Tensor, top: int) -> Tensor:
        """H-AP of each query, `(Q,)`."""
        table = level_weights(level_counts(levels, top), self.relevance, self.alpha)
        return hierarchical_ap(scores, levels, table, self.step, self.ramp)
