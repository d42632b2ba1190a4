"""APLoss and TAPLoss: a literal histogram, ties by all orders, weights, memory, degenerate batches, wrong calls."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pertinent.errors import InputError
from pertinent.functional import rowwise
from pertinent.functional.binned_ap import Bins, binned_ap
from pertinent.losses import APLoss, TAPLoss

LABELS = torch.tensor([[0, 0], [0, 0], [0, 0], [0, 0], [1, 0], [1, 0], [2, 1], [2, 1], [3, 1]])
BOTH: list[Callable[..., nn.Module]] = [APLoss, TAPLoss]


def batch(seed: int = 0, count: int = 9) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(count, 5, dtype=torch.float64, generator=generator)
    return nn.functional.normalize(drawn).requires_grad_()


def literal_ap(row: Tensor, relevant: Tensor, bins: int, low: float, high: float) -> Tensor:
    """Every bin by its triangle, as the quantiser does."""
    width = (high - low) / (bins - 1)
    found, seen, total = 0, 0, 0
    for m in range(bins):
        weight = (1 - (row - (high - m * width)).abs() / width).clamp(min=0)
        if m == 0:
            weight = torch.where(row >= high, 1, weight)
        if m == bins - 1:
            weight = torch.where(row <= low, 1, weight)
        here = (weight * relevant).sum()
        found, seen = found + here, seen + weight.sum()
        total = total + here * found / (seen + 1e-16)
    return total / relevant.sum()


@pytest.mark.parametrize(("bins", "low", "high"), [(2, 0.0, 1.0), (7, -0.3, 0.85), (25, 0.0, 1.0)])
def test_binned_ap_is_the_literal_sum(bins: int, low: float, high: float) -> None:
    generator = torch.Generator().manual_seed(bins)
    scores = (torch.rand(6, 20, dtype=torch.float64, generator=generator) * 1.6 - 0.3).requires_grad_()
    levels = torch.randint(0, 2, (6, 20), generator=generator)
    actual = binned_ap(scores, levels, Bins(bins, low, high))
    expected = torch.stack([literal_ap(s, t, bins, low, high) for s, t in zip(scores, levels, strict=True)])
    torch.testing.assert_close(actual, expected)
    weights = torch.linspace(1, 2, 6, dtype=torch.float64)
    gradients = [torch.autograd.grad((values * weights).sum(), scores)[0] for values in (actual, expected)]
    torch.testing.assert_close(*gradients)


def test_expected_ties_are_near_the_mean_over_all_orders() -> None:
    """The relevant item at place i of a bin has on average (p - 1)/(c - 1) (i - 1) relevant ones before it there."""
    counts, relevant = [30, 40, 20], [12, 10, 3]
    exact, before, found = 0.0, 0, 0
    for c, p in zip(counts, relevant, strict=True):
        places = [(found + 1 + (p - 1) / (c - 1) * i) / (before + 1 + i) for i in range(c)]
        exact += p * sum(places) / c / sum(relevant)
        before, found = before + c, found + p
    scores = torch.cat([torch.full((c,), s) for c, s in zip(counts, (1.0, 0.5, 0.0), strict=True)])
    levels = torch.cat([(torch.arange(c) < p).long() for c, p in zip(counts, relevant, strict=True)])
    values = {ties: binned_ap(scores[None], levels[None], Bins(3), ties).item() for ties in ("expected", "ordered")}
    assert values["expected"] == pytest.approx(exact, abs=0.012)
    assert abs(values["ordered"] - exact) > 0.015


def test_without_ties_every_kind_is_plain_ap() -> None:
    scores, levels = torch.linspace(1, 0, 6)[None, :], torch.tensor([[0, 1, 1, 0, 1, 0]])
    assert binned_ap(scores, levels, Bins(6)).item() == pytest.approx((1 / 2 + 2 / 3 + 3 / 5) / 3, rel=1e-6)


@pytest.mark.parametrize("ties", ["ordered", "expected", "mean"])
@pytest.mark.parametrize("distance", [False, True])
def test_gradcheck(ties: str, distance: bool) -> None:
    generator = torch.Generator().manual_seed(5)
    scores = torch.rand(3, 9, dtype=torch.float64, generator=generator).requires_grad_()
    levels = torch.randint(-1, 2, (3, 9), generator=generator)
    assert torch.autograd.gradcheck(
        lambda s: binned_ap(s, levels, Bins(6), ties, distance=distance),  # type: ignore[arg-type]
        (scores,),
    )


def test_blocks_and_ignored_items_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, levels = torch.rand(5, 12), torch.randint(-1, 2, (5, 12))
    whole = binned_ap(scores, levels)
    monkeypatch.setitem(rowwise.PAIRS_AT_ONCE, "cpu", 1)
    torch.testing.assert_close(binned_ap(scores, levels), whole)
    keep = levels[2] >= 0
    torch.testing.assert_close(binned_ap(scores[2:3, keep], levels[2:3, keep]), whole[2:3])


@pytest.mark.parametrize("make", BOTH)
def test_module_is_the_function_on_dot_products(make: Callable[..., nn.Module]) -> None:
    leaf, ties = batch(), "ordered" if make is APLoss else "expected"
    for level in (0, 1):
        same = (LABELS[:, None, level] == LABELS[None, :, level]).long()
        expected = 1 - binned_ap(leaf @ leaf.T, same, Bins(10, 0.2, 0.9), ties).mean()  # type: ignore[arg-type]
        torch.testing.assert_close(make(10, 0.2, 0.9, level=level)(leaf, LABELS), expected)
    near = make(distance=True)(leaf, LABELS)
    assert near != make()(leaf, LABELS)


def test_simplified_takes_the_mean_around_a_bin() -> None:
    leaf = batch()
    same = (LABELS[:, None, 0] == LABELS[None, :, 0]).long()
    expected = 1 - binned_ap(leaf @ leaf.T, same, ties="mean").mean()
    torch.testing.assert_close(TAPLoss(simplified=True)(leaf, LABELS), expected)


def test_query_weights() -> None:
    leaf, weights = batch(), torch.linspace(0.5, 1.5, 9, dtype=torch.float64)
    each = APLoss(reduction="none")(leaf, LABELS)
    torch.testing.assert_close(APLoss()(leaf, LABELS, query_weights=weights), 1 - ((1 - each) * weights).mean())


def test_balanced_counts_every_class_the_same() -> None:
    leaf = batch()
    each = 1 - APLoss(reduction="none")(leaf, LABELS)
    by_class = torch.stack([each[LABELS[:, 0] == label].mean() for label in range(4)])
    torch.testing.assert_close(APLoss(balanced=True)(leaf, LABELS), 1 - by_class.mean())
    labels = LABELS.clone()
    labels[0] = -1
    torch.testing.assert_close(APLoss(balanced=True)(leaf, labels), APLoss(balanced=True)(leaf[1:], labels[1:]))


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("balanced", [False, True])
def test_queries_without_relevant_items_are_left_out(make: Callable[..., nn.Module], balanced: bool) -> None:
    queries, items, labels = batch(1), batch(2), LABELS.clone()
    labels[:2] = 9
    loss = make(balanced=balanced)(queries, labels, ref_emb=items, ref_labels=LABELS)
    torch.testing.assert_close(loss, make(balanced=balanced)(queries[2:], labels[2:], None, items, LABELS))
    assert not torch.autograd.grad(loss, queries)[0][:2].any()
    each = make(reduction="none")(queries, labels, None, items, LABELS, query_weights=torch.zeros(9))
    assert not each[:2].any()


@pytest.mark.parametrize("labels", [torch.full((9,), -1), torch.arange(9)], ids=["unlabelled", "all different"])
def test_degenerate_batches(labels: Tensor) -> None:
    leaf = torch.eye(9, dtype=torch.float64).requires_grad_()
    loss = APLoss()(leaf, labels)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert leaf.grad.isfinite().all()
    assert APLoss()(leaf[:0], labels[:0]).item() == 0


@pytest.mark.parametrize("make", BOTH)
def test_wrong_calls(make: Callable[..., nn.Module]) -> None:
    with pytest.raises(InputError, match="two bins or more"):
        make(bins=1)
    with pytest.raises(InputError, match="min below max"):
        make(min=1.0, max=0.5)
    with pytest.raises(InputError, match="query_weights must be \\(9,\\)"):
        make()(batch(), LABELS, query_weights=torch.ones(3))
    with pytest.raises(InputError, match="give only one"):
        make(balanced=True)(batch(), LABELS, query_weights=torch.ones(9))
    with pytest.raises(InputError, match="indices_tuple"):
        make()(batch(), LABELS, (torch.tensor([0]),) * 3)
    with pytest.raises(InputError, match="both be"):
        binned_ap(torch.rand(2, 3), torch.zeros(2, 4))
    with pytest.raises(InputError, match="one row a query"):
        rowwise.by_rows(torch.add, torch.rand(2, 3), torch.rand(3))
