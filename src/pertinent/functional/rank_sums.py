"""Sums of steps over the items of each level, for every positive of every query: what all smooth ranks are made of.

For a query, a positive item j and a level m: the sum over the items k of level m of step(s_k - s_j). On a processor
(CPU) the items of a query are put in order by level and score. Then the items on one piece of the step lie side by
side: straight pieces come from running sums, and of a sigmoid only the items within `rank_kernels.REACH` temperatures
are visited. On an accelerator, where sorting costs more than it saves, all pairs are visited in blocks.

Letters: Q queries, B items, P positives of all queries, L levels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pertinent.functional.rank_kernels import Listed, Order, Step, arrange, count, step_gradient, step_sums
from pertinent.functional.smooth_step import Pieces

Relation = Literal["lower", "higher", "any"]

SORTED_ON = ["cpu"]
"""Devices on which items are sorted; elsewhere all pairs are visited."""

PAIRS_AT_ONCE = 1 << 24
"""Pairs of a positive and an item held at once where all pairs are visited."""


@dataclass(frozen=True)
class Block:
    """Queries with all items, and the list of their positives: the pairs of level > 0, query by query."""

    scores: Tensor  # (Q, B) float32 or float64; may ask for a gradient
    levels: Tensor  # (Q, B) integers, -1 ignore
    top: int  # the highest level L

    @cached_property
    def places(self) -> tuple[Tensor, Tensor]:
        """Query and item of each positive, each `(P,)`, by query."""
        row, column = (self.levels > 0).nonzero(as_tuple=True)
        return row, column

    @cached_property
    def own(self) -> Tensor:
        """Level of each positive, `(P, 1)` int64."""
        return self.levels[self.places][:, None].long()

    @cached_property
    def own_scores(self) -> Tensor:
        """Score of each positive, `(P,)`, without gradient."""
        return self.scores.detach()[self.places]

    @cached_property
    def level(self) -> Tensor:
        """The numbers 0..L, `(1, L+1)`."""
        return torch.arange(self.top + 1, device=self.levels.device)[None, :]

    @cached_property
    def at_least(self) -> Tensor:
        """How many other items of each level score at least as high as each positive, `(P, L+1)`, without gradient."""
        if self.order is not None:
            counts = torch.from_numpy(count(self.order, self.listed))
        else:
            counts = torch.cat([_dense_counts(self, part) for part in self.parts()])
        return (counts - (self.level == self.own).long()).to(self.scores.dtype)

    def sums(self, pieces: Pieces, relation: Relation) -> Tensor:
        """Sum of the steps over the items of each level, `(P, L+1)`, differentiable in the scores.

        Args:
            pieces: the step.
            relation: which levels to sum for a positive: `lower` than its own, `higher`, or `any`; others give 0.
                With `any` the positive itself is among the items, at x = 0.
        """
        if relation == "any":
            wanted = torch.ones_like(self.level >= self.own)
        else:
            wanted = self.level < self.own if relation == "lower" else self.level > self.own
        result: Tensor = _Sums.apply(self.scores, self, pieces, wanted)
        return result

    def per_query(self, values: Tensor) -> Tensor:
        """Sum `(P,)` values by query, `(Q,)`."""
        return values.new_zeros(len(self.scores)).index_add(0, self.places[0], values)

    @cached_property
    def order(self) -> Order | None:
        """The items in order by level and score, where that pays."""
        if self.scores.device.type not in SORTED_ON:
            return None
        # Contiguous, here and below: for every other layout the loops would be compiled anew.
        scores = self.scores.detach().contiguous().numpy()
        levels = self.levels.to(torch.int16).contiguous().numpy()
        return Order(*arrange(scores, np.argsort(scores, axis=1), levels, self.top))

    def parts(self) -> Iterator[slice]:
        """Runs of positives whose pairs with all items are few enough to hold; at least one."""
        size = max(1, PAIRS_AT_ONCE // max(self.scores.shape[1], 1))
        for start in range(0, max(len(self.own), 1), size):
            yield slice(start, start + size)

    @cached_property
    def listed(self) -> Listed:
        """The positives as compiled code takes them."""
        rows, columns = self.places
        return Listed(rows.numpy(), columns.numpy(), self.own_scores.double().numpy())


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, block: Block, pieces: Pieces, wanted: Tensor) -> Tensor:
        ctx.block, ctx.pieces = block, pieces
        if block.order is None:
            return torch.cat([_dense_sums(block, pieces, part) for part in block.parts()]) * wanted
        step = Step.of(pieces, scores.dtype)
        return torch.from_numpy(step_sums(block.order, block.listed, wanted.numpy(), step)).to(scores.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        block, weights = ctx.block, outer[0]
        if block.order is None:
            return _dense_gradient(block, ctx.pieces, weights), None, None, None
        step = Step.of(ctx.pieces, block.scores.dtype)
        gradient = step_gradient(block.order, block.listed, weights.double().contiguous().numpy(), step)
        return torch.from_numpy(gradient).to(block.scores.dtype), None, None, None


def _gaps(block: Block, part: slice) -> tuple[Tensor, Tensor]:
    """s_k - s_j and the level of k for every positive j of `part` and every item k, each `(p, B)`."""
    rows = block.places[0][part]
    return block.scores.detach()[rows] - block.own_scores[part, None], block.levels[rows]


def _by_level(values: Tensor, levels: Tensor, top: int) -> Tensor:
    return torch.stack([(values * (levels == level)).sum(1) for level in range(top + 1)], dim=1)


def _dense_counts(block: Block, part: slice) -> Tensor:
    gaps, levels = _gaps(block, part)
    return _by_level(gaps >= 0, levels, block.top)


def _dense_sums(block: Block, pieces: Pieces, part: slice) -> Tensor:
    gaps, levels = _gaps(block, part)
    return _by_level(pieces(gaps)[0], levels, block.top)


def _dense_gradient(block: Block, pieces: Pieces, weights: Tensor) -> Tensor:
    gradient = torch.zeros_like(block.scores)
    for part in block.parts():
        gaps, levels = _gaps(block, part)
        slopes = pieces(gaps)[1] * weights[part].gather(1, levels.clamp(min=0).long()) * (levels >= 0)
        rows, columns = (place[part] for place in block.places)
        gradient.index_add_(0, rows, slopes)
        gradient.index_put_((rows, columns), -slopes.sum(1), accumulate=True)
    return gradient
