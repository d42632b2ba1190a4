"""The surrogate H-AP and its closed-form gradient against a literal B x B x B sum with autograd."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pertinent.errors import InputError
from pertinent.functional import rank_sums, rowwise
from pertinent.functional.hierarchical_ap import hierarchical_ap, smooth_hierarchical_ap
from pertinent.functional.relevance import level_counts, level_weights
from pertinent.functional.smooth_step import Ramp, SmoothStep


@pytest.fixture(params=["sorted", "dense"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How sums over items are had: from sorted items, or by visiting all pairs as on an accelerator."""
    if request.param == "dense":
        monkeypatch.setattr(rank_sums, "SORTED_ON", [])
        monkeypatch.setattr(rank_sums, "PAIRS_AT_ONCE", 100)
    return str(request.param)


def literal_step(x: Tensor, step: SmoothStep) -> Tensor:
    sigmoid = torch.sigmoid((x / step.tau).clamp(-50, 50))
    if step.rho == -1:
        return sigmoid
    if step.delta is None:
        return torch.where(x > 0, step.rho * x + (step.offset or 0), sigmoid)
    offset = step.start + 1 / (1 + math.exp(-step.delta / step.tau)) if step.offset is None else step.offset
    positive = torch.where(x > step.delta, step.rho * (x - step.delta) + offset, step.start + sigmoid)
    return torch.where(x > 0, positive, sigmoid)


def literal_hap(scores: Tensor, levels: Tensor, table: Tensor, step: SmoothStep, ramp: Ramp | None) -> Tensor:
    values = []
    for s, t, weights in zip(scores, levels, table, strict=True):
        keep = t >= 0
        s, t = s[keep], t[keep]  # noqa: PLW2901
        rel = weights[t]
        if rel.sum() == 0:
            values.append(torch.ones((), dtype=s.dtype))
            continue
        x = s[None, :] - s[:, None]
        other = ~torch.eye(len(s), dtype=torch.bool)
        above = (x >= 0).to(s.dtype)
        rank = 1 + (other * torch.where(t[None, :] < t[:, None], literal_step(x, step), above)).sum(1)
        h = above
        if ramp is not None:
            g = torch.where(x > 0, (ramp.beta * x + ramp.gamma).clamp(max=1), ramp.leak * x)
            h = torch.where(t[None, :] > t[:, None], g, above)
        hrank = rel + (other * h * torch.minimum(rel[None, :], rel[:, None])).sum(1)
        values.append(((t > 0) * hrank / rank).sum() / rel.sum())
    return torch.stack(values)


def literal_smooth_ap(scores: Tensor, positive: Tensor, tau: float) -> Tensor:
    values = []
    for s, p in zip(scores, positive, strict=True):
        other = ~torch.eye(len(s), dtype=torch.bool)
        step = other * torch.sigmoid((s[None, :] - s[:, None]) / tau)
        values.append(((1 + (step * p).sum(1)) / (1 + step.sum(1)))[p].mean())
    return torch.stack(values)


def example(seed: int, queries: int, items: int, top: int, *, ignored: bool = False, grid: float = 0.0):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(queries, items, dtype=torch.float64, generator=generator) * 0.4
    if grid:
        scores = (scores / grid).round() * grid
    levels = torch.randint(-1 if ignored else 0, top + 1, (queries, items), generator=generator)
    return scores.requires_grad_(), levels, level_weights(level_counts(levels, top))


def value_and_gradient(values: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    weights = torch.linspace(1, 2, len(values), dtype=values.dtype)
    (gradient,) = torch.autograd.grad((values * weights).sum(), scores)
    return values.detach(), gradient


STEPS = {
    "happier": SmoothStep(),
    "inat": SmoothStep(start=0, offset=1.0),
    "continuous": SmoothStep(offset=None),
    "no_delta": SmoothStep(offset=0.5, delta=None),
    "sigmoid": SmoothStep(rho=-1),
}


@pytest.mark.parametrize("ramp", [None, Ramp(), Ramp(gamma=2.0)], ids=["count", "ramp", "jump"])
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize(("top", "grid"), [(1, 0), (3, 0), (2, 1 / 64)], ids=["binary", "graded", "tied"])
def test_agrees_with_the_literal_sum(top: int, grid: float, step: SmoothStep, ramp: Ramp | None, way: str) -> None:
    scores, levels, table = example(top, 6, 17, top, ignored=True, grid=grid)
    actual = value_and_gradient(hierarchical_ap(scores, levels, table, step, ramp), scores)
    expected = value_and_gradient(literal_hap(scores, levels, table, step, ramp), scores)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("grid", [0, 1 / 64], ids=["distinct", "tied"])
def test_smooth_ap_agrees_with_the_literal_sum(grid: float, way: str) -> None:
    scores, levels, table = example(4, 5, 15, 1, grid=grid)
    actual = value_and_gradient(smooth_hierarchical_ap(scores, levels, table, 0.02), scores)
    expected = value_and_gradient(literal_smooth_ap(scores, levels > 0, 0.02), scores)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


def test_queries_with_few_positives_and_ignored_items(way: str) -> None:
    levels = torch.tensor([[-1, 2, 0], [1, 2, 2]])
    scores = torch.tensor([[0.37, 0.26, 0.32], [0.1, 0.2, 0.3]], dtype=torch.float64, requires_grad=True)
    table = level_weights(level_counts(levels, 2))
    actual = value_and_gradient(hierarchical_ap(scores, levels, table), scores)
    expected = value_and_gradient(literal_hap(scores, levels, table, SmoothStep(), None), scores)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), queries=st.integers(1, 5), items=st.integers(1, 9), top=st.integers(1, 4))
def test_any_shape_agrees_with_the_literal_sum(seed: int, queries: int, items: int, top: int) -> None:
    scores, levels, table = example(seed, queries, items, top, ignored=True, grid=1 / 64 if seed % 2 else 0)
    actual = value_and_gradient(hierarchical_ap(scores, levels, table, ramp=Ramp()), scores)
    literal = literal_hap(scores, levels, table, SmoothStep(), Ramp()) + 0 * scores.sum()
    torch.testing.assert_close(actual, value_and_gradient(literal, scores), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("ramp", [None, Ramp()], ids=["count", "ramp"])
def test_gradcheck(ramp: Ramp | None, way: str) -> None:
    scores, levels, table = example(0, 4, 8, 2)
    step = SmoothStep(tau=0.05, rho=5.0, offset=None)
    if ramp is None:
        assert torch.autograd.gradcheck(lambda s: hierarchical_ap(s, levels, table, step), (scores,))
    else:
        assert torch.autograd.gradcheck(lambda s: hierarchical_ap(s, levels, table, step, ramp), (scores,))


def test_gradcheck_smooth_ap(way: str) -> None:
    scores, levels, table = example(1, 4, 8, 2, ignored=True)
    assert torch.autograd.gradcheck(lambda s: smooth_hierarchical_ap(s, levels, table, 0.05), (scores,))


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, levels, table = example(2, 9, 12, 2, ignored=True)
    levels[3] = 0
    whole = value_and_gradient(hierarchical_ap(scores, levels, table), scores)
    monkeypatch.setitem(rowwise.PAIRS_AT_ONCE, "cpu", 1)
    torch.testing.assert_close(value_and_gradient(hierarchical_ap(scores, levels, table), scores), whole)


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation returned."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for item in result if isinstance(result, tuple | list) else [result]:
            if isinstance(item, Tensor):
                self.numel = max(self.numel, item.numel())
        return result


@pytest.mark.parametrize("ramp", [None, Ramp()], ids=["count", "ramp"])
def test_memory_stays_quadratic(ramp: Ramp | None, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every item positive is the worst case: 128^3 pairs would be 2 million."""
    size, limit = 128, 1 << 12
    monkeypatch.setattr(rank_sums, "PAIRS_AT_ONCE", limit)
    monkeypatch.setitem(rowwise.PAIRS_AT_ONCE, "cpu", limit)
    scores = torch.rand(size, size).requires_grad_()
    levels = torch.randint(1, 3, (size, size))
    table = level_weights(level_counts(levels, 2))
    with Largest() as largest:
        hierarchical_ap(scores, levels, table, ramp=ramp).sum().backward()
    assert largest.numel <= max(size * size, 3 * limit)


@pytest.mark.parametrize("spread", [3.0, 50.0, 1e5])
def test_scores_far_apart(spread: float, way: str) -> None:
    """Embeddings of any norm: exponentials of the scores themselves would overflow."""
    scores, levels, table = example(12, 5, 25, 2)
    scores = (scores.detach() * spread).requires_grad_()
    actual = value_and_gradient(hierarchical_ap(scores, levels, table), scores)
    expected = value_and_gradient(literal_hap(scores, levels, table, SmoothStep(), None), scores)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


def test_scores_that_are_not_numbers_show(way: str) -> None:
    scores, levels, table = example(13, 3, 8, 2)
    broken = scores.detach().clone()
    broken[1] = math.nan
    values = hierarchical_ap(broken, levels, table)
    assert values.isnan().tolist() == [False, True, False]


def test_bounds_hierarchical_ap_from_below() -> None:
    scores, levels, table = example(5, 20, 30, 3)
    exact = []
    for s, t, weights in zip(scores.detach(), levels, table, strict=True):
        rel = weights[t[s.argsort(descending=True)]]
        hits = torch.stack([torch.minimum(rel[: k + 1], rel[k]).sum() / (k + 1) for k in range(len(rel))])
        exact.append(hits.sum() / rel.sum())
    values = hierarchical_ap(scores, levels, table)
    assert (values <= torch.stack(exact) + 1e-12).all()
    assert (values > 0).all()


def test_perfect_order_far_apart_is_one() -> None:
    levels = torch.tensor([[2, 2, 1, 0]])
    table = level_weights(level_counts(levels, 2))
    scores = torch.tensor([[4.0, 3.0, 2.0, 0.0]], requires_grad=True)
    value = hierarchical_ap(scores, levels, table)
    value.sum().backward()
    assert value.item() == 1
    assert scores.grad is not None
    assert not scores.grad.any()


def test_a_constant_added_to_the_scores_changes_nothing() -> None:
    scores, levels, table = example(6, 5, 11, 2)
    value, gradient = value_and_gradient(hierarchical_ap(scores, levels, table), scores)
    torch.testing.assert_close(hierarchical_ap(scores + 0.25, levels, table).detach(), value)
    torch.testing.assert_close(gradient.sum(1), torch.zeros(5, dtype=torch.float64))


def test_ignored_items_are_as_if_absent() -> None:
    scores, levels, table = example(7, 1, 12, 2, ignored=True)
    value, gradient = value_and_gradient(hierarchical_ap(scores, levels, table), scores)
    keep = levels[0] >= 0
    assert not keep.all()
    torch.testing.assert_close(hierarchical_ap(scores[:, keep], levels[:, keep], table).detach(), value)
    assert not gradient[0, ~keep].any()


@pytest.mark.parametrize("function", [hierarchical_ap, smooth_hierarchical_ap])
@pytest.mark.parametrize("shape", [(3, 4), (3, 0), (0, 4), (0, 0)])
def test_nothing_relevant_is_one_without_gradient(function, shape: tuple[int, int]) -> None:
    scores = torch.rand(shape, requires_grad=True)
    levels = torch.zeros(shape, dtype=torch.int64)
    values = function(scores, levels, level_weights(level_counts(levels, 2)))
    values.sum().backward()
    assert torch.equal(values, torch.ones(shape[0]))
    assert scores.grad is not None
    assert not scores.grad.any()


def test_half_precision_scores_are_widened_even_under_autocast() -> None:
    scores, levels, table = example(8, 4, 10, 2)
    narrow = scores.detach().to(torch.bfloat16).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value, gradient = value_and_gradient(hierarchical_ap(narrow, levels, table), narrow)
    wide = narrow.detach().float().requires_grad_()
    expected, wide_gradient = value_and_gradient(hierarchical_ap(wide, levels, table), wide)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, wide_gradient.to(torch.bfloat16))


def test_a_value_without_gradient_is_the_same() -> None:
    scores, levels, table = example(9, 4, 10, 2)
    with torch.no_grad():
        value = hierarchical_ap(scores, levels, table)
    torch.testing.assert_close(hierarchical_ap(scores, levels, table).detach(), value)
    assert not value.requires_grad


@pytest.mark.parametrize(
    ("scores", "levels", "table", "message"),
    [
        (torch.rand(2, 3), torch.zeros(2, 4, dtype=torch.int64), torch.rand(2, 2), "must both be"),
        (torch.rand(2, 3), torch.zeros(2, 3, dtype=torch.int64), torch.rand(3, 2), "one row a query"),
        (torch.rand(3), torch.zeros(3, dtype=torch.int64), torch.rand(3, 2), "must both be"),
        (torch.rand(2, 3), torch.full((2, 3), 2), torch.rand(2, 2), "go up to 2"),
    ],
)
def test_wrong_input(scores: Tensor, levels: Tensor, table: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        hierarchical_ap(scores, levels, table)


def test_wrong_step() -> None:
    with pytest.raises(InputError, match="tau"):
        SmoothStep(tau=0)
    with pytest.raises(InputError, match="delta"):
        SmoothStep(delta=-1)
    with pytest.raises(InputError, match="tau"):
        smooth_hierarchical_ap(torch.rand(1, 1), torch.ones(1, 1, dtype=torch.int64), torch.ones(1, 2), tau=-1)
