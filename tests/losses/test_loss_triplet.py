"""TripletLoss and ContrastiveLoss: mining by literal loops, mined tuples, degenerate batches, wrong calls."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from pertinent.errors import InputError
from pertinent.functional import triplets
from pertinent.functional.distances import distances, paired_distances
from pertinent.losses import ContrastiveLoss, TripletLoss

LABELS = torch.tensor([[0, 0], [0, 0], [0, 0], [1, 0], [1, 0], [2, 1], [2, 1], [3, 1]])


def batch(seed: int = 0, count: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, 4, dtype=torch.float64, generator=generator)
    return nn.functional.normalize(drawn).requires_grad_()


def literal_triplets(
    apart: Tensor, labels: Tensor, item_labels: Tensor | None, mining: str
) -> list[tuple[int, int, int]]:
    others = labels if item_labels is None else item_labels
    chosen = []
    for a in range(len(labels)):
        near = [p for p in range(len(others)) if others[p] == labels[a] and (item_labels is not None or p != a)]
        far = [n for n in range(len(others)) if others[n] != labels[a]]
        if mining == "hard" and near and far:
            chosen.append((a, max(near, key=lambda p: apart[a, p]), min(far, key=lambda n: apart[a, n])))
        if mining == "semihard":
            for p in near:
                farther = [n for n in far if apart[a, n] > apart[a, p]]
                chosen += [(a, p, min(farther, key=lambda n: apart[a, n]))] if farther else []
        if mining == "all":
            chosen += [(a, p, n) for p in near for n in far]
    return chosen


def literal_loss(queries: Tensor, items: Tensor, chosen: list[tuple[int, int, int]], options: dict[str, Any]) -> Tensor:
    losses = []
    for a, p, n in chosen:
        own, other = (queries[a] - items[p]).norm(p=options["p"]), (queries[a] - items[n]).norm(p=options["p"])
        if options["swap"]:
            other = torch.minimum(other, (items[p] - items[n]).norm(p=options["p"]))
        gap = own - other
        losses.append((1 + gap.exp()).log() if options["kind"] == "logexp" else (gap + options["margin"]).clamp(min=0))
    return torch.stack(losses)


@pytest.mark.parametrize("mining", ["all", "hard", "semihard"])
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("rule", [("margin", 0.3, 2.0), ("margin", 0.3, 1.0), ("logexp", 1.0, 2.0)])
@pytest.mark.parametrize("with_references", [False, True])
def test_mining_is_the_literal_loop(
    mining: str, swap: bool, rule: tuple[str, float, float], with_references: bool
) -> None:
    kind, margin, p = rule
    options: dict[str, Any] = {"margin": margin, "p": p, "swap": swap, "kind": kind}
    queries = batch(1)
    items = batch(2) if with_references else queries
    item_labels = LABELS.flip(0) if with_references else None
    references = {"ref_emb": items, "ref_labels": item_labels} if with_references else {}
    apart = torch.cdist(queries, items, p)
    chosen = literal_triplets(apart, LABELS[:, 0], None if item_labels is None else item_labels[:, 0], mining)
    losses = literal_loss(queries, items, chosen, options)
    reduced = {"mean": losses.mean(), "sum": losses.sum(), "avg_non_zero": losses[losses > 0].mean()}
    for reduction, expected in reduced.items():
        actual = TripletLoss(**options, mining=mining, reduction=reduction)(queries, LABELS, **references)
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
        gradients = [torch.autograd.grad(loss, queries, retain_graph=True)[0] for loss in (actual, expected)]
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_batch_all_is_exact_without_the_tiny_shift() -> None:
    leaf = batch(3)
    chosen = literal_triplets(torch.cdist(leaf, leaf), LABELS[:, 1], None, "all")
    expected = literal_loss(leaf, leaf, chosen, {"margin": 0.2, "p": 2.0, "swap": True, "kind": "margin"}).mean()
    torch.testing.assert_close(TripletLoss(0.2, swap=True, level=1)(leaf, LABELS), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["margin", "logexp"])
@pytest.mark.parametrize("swap", [False, True])
def test_gradcheck(kind: str, swap: bool) -> None:
    loss = TripletLoss(kind=kind, swap=swap)  # type: ignore[arg-type]
    assert torch.autograd.gradcheck(lambda e: loss(e, LABELS), (batch(4),))


def test_runs_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    for mining in ("all", "semihard"):
        loss = TripletLoss(0.5, swap=True, mining=mining)  # type: ignore[arg-type]
        whole = loss(batch(), LABELS)
        monkeypatch.setitem(triplets.TRIPLETS_AT_ONCE, "cpu", 1)
        torch.testing.assert_close(loss(batch(), LABELS), whole)
        monkeypatch.undo()


class Largest(TorchDispatchMode):
    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for item in result if isinstance(result, tuple | list) else [result]:
            if isinstance(item, Tensor):
                self.numel = max(self.numel, item.numel())
        return result


def test_triplets_are_never_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two classes of 32 make 63488 triplets."""
    monkeypatch.setitem(triplets.TRIPLETS_AT_ONCE, "cpu", 1 << 12)
    with Largest() as largest:
        TripletLoss(swap=True)(torch.randn(64, 4).requires_grad_(), torch.arange(64) % 2).backward()
    assert largest.numel <= 1 << 12


def test_mined_tuples() -> None:
    leaf = batch(5)
    one, two = torch.tensor([0, 3]), torch.tensor([1, 4])
    far = torch.tensor([5, 0])
    own, other = paired_distances(leaf[one], leaf[two]), paired_distances(leaf[one], leaf[far])
    expected = (own - other + 0.4).clamp(min=0).mean()
    torch.testing.assert_close(TripletLoss(0.4)(leaf, LABELS, (one, two, far)), expected)
    torch.testing.assert_close(TripletLoss(0.4)(leaf, None, (one, two, one, far)), expected, rtol=1e-5, atol=1e-5)
    near = (own.square().sum() + (0.9 - other).clamp(min=0).square().sum()) / 2
    for mined in ((one, two, far), (one, two, one, far)):
        torch.testing.assert_close(ContrastiveLoss(0.9, reduction="sum")(leaf, None, mined), near)
        torch.testing.assert_close(ContrastiveLoss(0.9)(leaf, None, mined), near / 4)


def test_tuples_point_into_the_references() -> None:
    queries, items = batch(1), batch(2)
    one, two, far = (torch.tensor([value]) for value in (0, 6, 7))
    expected = paired_distances(queries[:1], items[6:7]) - paired_distances(queries[:1], items[7:8]) + 3
    torch.testing.assert_close(TripletLoss(3.0)(queries, None, (one, two, far), items), expected[0])


@pytest.mark.parametrize("reduction", ["mean", "sum", "avg_non_zero"])
def test_contrastive_is_the_literal_sum(reduction: str) -> None:
    leaf, losses = batch(6), []
    for i in range(8):
        for j in range(8):
            d = (leaf[i] - leaf[j]).norm()
            if i != j:
                losses.append(d**2 / 2 if LABELS[i, 0] == LABELS[j, 0] else (1.2 - d).clamp(min=0) ** 2 / 2)
    each = torch.stack(losses)
    expected = {"mean": each.mean(), "sum": each.sum(), "avg_non_zero": each[each > 0].mean()}[reduction]
    actual = ContrastiveLoss(1.2, reduction=reduction)(leaf, LABELS)  # type: ignore[arg-type]
    torch.testing.assert_close(actual, expected)
    gradients = [torch.autograd.grad(loss, leaf)[0] for loss in (actual, expected)]
    torch.testing.assert_close(*gradients)


def test_contrastive_against_references_and_gradcheck() -> None:
    queries, items = batch(1), batch(2)
    same = LABELS[:, None, 1] == LABELS[None, :, 1]
    apart = torch.cdist(queries, items)
    expected = torch.where(same, apart**2, (0.7 - apart).clamp(min=0) ** 2).mean() / 2
    torch.testing.assert_close(ContrastiveLoss(level=1)(queries, LABELS, None, items, LABELS), expected)
    assert torch.autograd.gradcheck(lambda e: ContrastiveLoss(1.0)(e, LABELS), (batch(7),))


@pytest.mark.parametrize("mining", ["all", "hard", "semihard"])
@pytest.mark.parametrize("labels", [torch.zeros(8, dtype=torch.int64), torch.arange(8), torch.full((8,), -1)])
def test_batches_without_triplets_cost_nothing(mining: str, labels: Tensor) -> None:
    leaf = batch()
    loss = TripletLoss(mining=mining)(leaf, labels)  # type: ignore[arg-type]
    loss.backward()
    assert loss.item() == 0
    assert not leaf.grad.any()


def test_equal_embeddings_have_finite_gradients() -> None:
    leaf = torch.ones(8, 4, requires_grad=True)
    for loss in (TripletLoss(), TripletLoss(mining="hard"), ContrastiveLoss(), TripletLoss(p=1.0)):
        value = loss(leaf, LABELS)
        (gradient,) = torch.autograd.grad(value, leaf)
        assert value.isfinite()
        assert gradient.isfinite().all()


def test_distances() -> None:
    queries, items = batch(1), batch(2, 5)
    for p in (1.0, 2.0, 3.0, math.inf):
        expected = torch.stack([torch.stack([(q - i).norm(p=p) for i in items]) for q in queries])
        torch.testing.assert_close(distances(queries, items, p), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert distances(queries.bfloat16(), items.bfloat16()).dtype == torch.float32


def test_wrong_calls() -> None:
    one = torch.tensor([0])
    with pytest.raises(InputError, match="kind must be one of"):
        TripletLoss(kind="hinge")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="mining one of"):
        TripletLoss(mining="easy")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="has no margin"):
        TripletLoss(margin=0.2, kind="logexp")
    with pytest.raises(InputError, match="p must be positive"):
        TripletLoss(p=0)
    with pytest.raises(InputError, match="margin must be positive"):
        ContrastiveLoss(margin=0)
    for loss in (TripletLoss(), ContrastiveLoss()):
        with pytest.raises(InputError, match="needs labels"):
            loss(batch(), None)
        with pytest.raises(InputError, match="vector of positions"):
            loss(batch(), LABELS, (one, one))
        with pytest.raises(InputError, match="differ in length"):
            loss(batch(), LABELS, (one, torch.tensor([1, 2]), one))
        with pytest.raises(InputError, match="belong together"):
            loss(batch(), LABELS, ref_emb=batch())
    for make in (TripletLoss, ContrastiveLoss):
        with pytest.raises(InputError, match="reduction must be one of"):
            make(reduction="none")
