"""Functions of a score matrix that treat every query by itself, computed in blocks of queries.

Letters: Q queries, B items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pertinent.errors import InputError
from pertinent.functional.scores import widen

PAIRS_AT_ONCE = {"cpu": 1 << 18, "cuda": 1 << 22}
"""Scores in one block: what it needs then fits a processor's cache; an accelerator wants more work."""

RowFunction = Callable[..., Tensor]


def by_rows(function: RowFunction, scores: Tensor, *others: Tensor) -> Tensor:
    """Value of each query, with a gradient in the scores, in memory of O(Q B).

    The gradient is computed beside the value, block by block, so no graph over all pairs is ever kept.

    Args:
        function: from `(q, B)` scores and the same rows of `others` to `(q,)` values; each from its own row alone.
        scores: `(Q, B)` floats; narrower ones are widened to float32, whatever autocast says.
        others: `(Q, ...)` tensors that need no gradient.

    Returns:
        `(Q,)` in float32 or wider.

    Raises:
        InputError: not a matrix, or tensors of other lengths.
    """
    if scores.ndim != 2 or any(len(other) != len(scores) for other in others):
        shapes = ", ".join(str(tuple(other.shape)) for other in others)
        raise InputError(f"scores must be (Q, B) with one row a query, got {tuple(scores.shape)} beside {shapes}")
    with torch.autocast(scores.device.type, enabled=False):
        result: Tensor = _ByRows.apply(widen(scores), function, others)
    return result


class _ByRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, function: RowFunction, others: tuple[Tensor, ...]) -> Tensor:
        values = scores.new_empty(len(scores))
        gradient = torch.zeros_like(scores) if ctx.needs_input_grad[0] else None
        for rows in _blocks(scores):
            block = scores[rows].detach().requires_grad_(gradient is not None)
            with torch.set_grad_enabled(gradient is not None):
                value = function(block, *(other[rows] for other in others))
            values[rows] = value.detach()
            if gradient is not None and value.requires_grad:
                (gradient[rows],) = torch.autograd.grad(value, block, torch.ones_like(value))
        ctx.save_for_backward(gradient)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * outer[0][:, None], None, None


def _blocks(scores: Tensor) -> Iterator[slice]:
    limit = PAIRS_AT_ONCE.get(scores.device.type, PAIRS_AT_ONCE["cuda"])
    size = max(1, limit // max(scores.shape[1], 1))
    for start in range(0, len(scores), size):
        yield slice(start, start + size)
