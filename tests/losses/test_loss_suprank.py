"""NDCG, recall and calibration losses: literal sums, bounds, levels, references, degenerate batches, wrong calls."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pertinent.errors import InputError
from pertinent.functional import rank_sums
from pertinent.functional.smooth_step import SmoothStep
from pertinent.losses import (
    CalibrationLoss,
    HAPLoss,
    SmoothAPLoss,
    SmoothHAPLoss,
    SmoothNDCGLoss,
    SmoothRecallLoss,
    SupNDCGLoss,
    SupRecallLoss,
)

LABELS = torch.tensor([[0, 0], [0, 0], [0, 0], [1, 0], [1, 0], [2, 1], [2, 1], [3, 1], [4, 1], [4, 1]])
RANKING: list[Callable[..., nn.Module]] = [SupNDCGLoss, SmoothNDCGLoss, SupRecallLoss, SmoothRecallLoss, SmoothHAPLoss]


def batch(seed: int = 0, count: int = 10) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, 6, dtype=torch.float64, generator=generator)
    return nn.functional.normalize(drawn).requires_grad_()


@pytest.fixture(params=["sorted", "dense"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "dense":
        monkeypatch.setattr(rank_sums, "SORTED_ON", [])


def literal_ranks(scores: Tensor, levels: Tensor, smooth: bool, exact: bool = False) -> Tensor:
    """Rank of item j in a query's list, `(B,)`, by looping over all items."""
    ranks = []
    for j in range(len(scores)):
        rank = torch.ones((), dtype=scores.dtype)
        for k in range(len(scores)):
            x = scores[k] - scores[j]
            if k == j or levels[k] < 0:
                continue
            if smooth:
                rank = rank + torch.sigmoid(x / 0.01)
            elif exact or levels[k] >= levels[j]:
                rank = rank + (x.detach() >= 0)
            elif x > 0.05:
                rank = rank + 100 * (x - 0.05) + 1.44
            else:
                rank = rank + torch.sigmoid(x / 0.01) + 0.5 * (x > 0)
        ranks.append(rank)
    return torch.stack(ranks)


def pair_levels(labels: Tensor) -> Tensor:
    return (labels[:, None] == labels[None, :]).sum(2)


def literal_ndcg(embeddings: Tensor, levels: Tensor, smooth: bool, exact: bool = False) -> Tensor:
    scores, total = embeddings @ embeddings.T, torch.zeros((), dtype=embeddings.dtype)
    for row, level in zip(scores, levels, strict=True):
        gain = 2.0**level - 1
        found = (gain / torch.log2(1 + literal_ranks(row, level, smooth, exact))).sum()
        ideal = sum(value / math.log2(2 + place) for place, value in enumerate(sorted(gain.tolist(), reverse=True)))
        total = total + found / ideal
    return 1 - total / len(scores)


def literal_recall(embeddings: Tensor, levels: Tensor, at: tuple[int, ...], smooth: bool) -> Tensor:
    scores, values = embeddings @ embeddings.T, []
    for query, (row, level) in enumerate(zip(scores, levels.clone(), strict=True)):
        level[query] = -1
        if not (level > 0).any():
            continue
        ranks = literal_ranks(row, level, smooth)[level > 0]
        at_each = [torch.sigmoid((k - ranks) / 0.7).sum() / min(k, len(ranks)) for k in at]
        values.append(torch.stack(at_each).mean())
    return 1 - torch.stack(values).mean()


def close(actual: Tensor, expected: Tensor, leaf: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)
    gradients = [torch.autograd.grad(loss, leaf, retain_graph=True)[0] for loss in (actual, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("level", [None, 0, 1])
@pytest.mark.parametrize("smooth", [False, True])
def test_ndcg_is_the_literal_sum(level: int | None, smooth: bool) -> None:
    leaf = batch()
    labels = LABELS if level is None else LABELS[:, level : level + 1]
    loss = (SmoothNDCGLoss if smooth else SupNDCGLoss)(level=level)
    close(loss(leaf, LABELS), literal_ndcg(leaf, pair_levels(labels), smooth), leaf)


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("smooth", [False, True])
def test_recall_is_the_literal_sum(level: int, smooth: bool) -> None:
    leaf = batch(1)
    loss = (SmoothRecallLoss if smooth else SupRecallLoss)((1, 2, 3), 0.7, level=level)
    levels = pair_levels(LABELS[:, level : level + 1])
    close(loss(leaf, LABELS), literal_recall(leaf, levels, (1, 2, 3), smooth), leaf)


def test_recall_of_all_levels_is_their_mean() -> None:
    """On a nested tree an item that shares l columns shares the l coarsest."""
    leaf, loss = batch(2), SupRecallLoss(level=None, reduction="none")
    each = [SupRecallLoss(level=level, reduction="none")(leaf, LABELS) for level in (0, 1)]
    torch.testing.assert_close(loss(leaf, LABELS), (each[0] + each[1]) / 2)


def test_sup_ndcg_bounds_the_true_one() -> None:
    for seed in range(5):
        leaf = batch(seed)
        exact = literal_ndcg(leaf, pair_levels(LABELS), smooth=False, exact=True)
        assert SupNDCGLoss()(leaf, LABELS) >= exact - 1e-12


def test_smooth_hap_of_one_level_is_smooth_ap() -> None:
    leaf = batch()
    for level in (0, 1):
        close(SmoothHAPLoss(level=level)(leaf, LABELS), SmoothAPLoss(level=level)(leaf, LABELS), leaf)


@pytest.mark.parametrize("make", RANKING)
def test_gradcheck(make: Callable[..., nn.Module]) -> None:
    loss = make(tau=0.1) if make not in (SupNDCGLoss, SupRecallLoss) else make(tau=0.1, rho=5.0, offset=None)
    assert torch.autograd.gradcheck(lambda e: loss(e, LABELS), (batch(3),))


@pytest.mark.parametrize("make", RANKING)
def test_references(make: Callable[..., nn.Module]) -> None:
    """Against other items; a query that finds nothing relevant is left out of the mean."""
    queries, items = batch(1), batch(2)
    labels = LABELS.clone()
    labels[:2] = torch.tensor([9, 9])
    loss = make()(queries, labels, ref_emb=items, ref_labels=LABELS)
    torch.testing.assert_close(loss, make()(queries[2:], labels[2:], ref_emb=items, ref_labels=LABELS))
    found = torch.autograd.grad(loss, queries)[0]
    assert not found[:2].any()
    assert found[2:].any()


@pytest.mark.parametrize("make", RANKING)
def test_unlabelled_rows_are_as_if_absent(make: Callable[..., nn.Module]) -> None:
    leaf, labels = batch(), LABELS.clone()
    labels[[2, 5]] = -1
    keep = torch.tensor([0, 1, 3, 4, 6, 7, 8, 9])
    torch.testing.assert_close(make()(leaf, labels), make()(leaf[keep], labels[keep]))


@pytest.mark.parametrize("make", RANKING)
@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_rank(make: Callable[..., nn.Module], count: int) -> None:
    leaf = batch(count=count)
    loss = make()(leaf, LABELS[:count])
    assert abs(loss.item()) < 1e-12
    assert not torch.autograd.grad(loss, leaf)[0].abs().gt(1e-12).any()


def test_a_perfect_order_far_apart() -> None:
    leaf = nn.functional.normalize(torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]], dtype=torch.float64))
    labels = torch.tensor([0, 0, 1, 1])
    assert SupNDCGLoss()(leaf, labels).item() == pytest.approx(0, abs=1e-12)
    expected = 1 - 1 / (1 + math.exp(-1 / 0.5))
    assert SupRecallLoss((2,), 0.5)(leaf, labels).item() == pytest.approx(expected)


def test_wrong_options() -> None:
    with pytest.raises(InputError, match="at needs one or more K"):
        SupRecallLoss(())
    with pytest.raises(InputError, match="at least 1, got \\(0, 2\\)"):
        SmoothRecallLoss((0, 2))
    with pytest.raises(InputError, match="temperature must be positive"):
        SupRecallLoss(temperature=0)
    with pytest.raises(InputError, match="tau must be positive"):
        SmoothNDCGLoss(tau=0)
    with pytest.raises(InputError, match="beta must be positive"):
        HAPLoss(with_hrank=True, beta=0.0)
    with pytest.raises(InputError, match="delta must be"):
        SmoothStep(delta=-1)
    with pytest.raises(InputError, match="reduction must be one of"):
        SupNDCGLoss(reduction="median")  # type: ignore[arg-type]


def literal_calibration(embeddings: Tensor, labels: Tensor, low: float, high: float) -> Tensor:
    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    short, long = [], []
    for i in range(len(unit)):
        for j in range(len(unit)):
            cosine = unit[i] @ unit[j]
            if i != j and labels[i] == labels[j] and cosine < high:
                short.append(high - cosine)
            if labels[i] != labels[j] and cosine > low:
                long.append(cosine - low)
    return sum(torch.stack(part).mean() for part in (short, long) if part)  # type: ignore[return-value]


@pytest.mark.parametrize("margins", [(0.9, 0.6), (0.3, -0.2), (1.0, 1.0)])
def test_calibration_is_the_literal_mean(margins: tuple[float, float]) -> None:
    leaf = (batch().detach() * torch.rand(10, 1, dtype=torch.float64).add(0.5)).requires_grad_()
    expected = [literal_calibration(leaf, LABELS[:, level], margins[1], margins[0]) for level in (0, 1)]
    for level in (0, 1):
        close(CalibrationLoss(*margins, level=level)(leaf, LABELS), expected[level], leaf)
    close(CalibrationLoss(*margins, level=None)(leaf, LABELS), (expected[0] + expected[1]) / 2, leaf)
    close(CalibrationLoss(*margins, level=None)(leaf, LABELS[:, 0]), expected[0], leaf)


def test_calibration_compares_with_references() -> None:
    queries, items = batch(1), batch(2)
    loss = CalibrationLoss()(queries, LABELS, ref_emb=items, ref_labels=LABELS)
    cosines, same = queries @ items.T, LABELS[:, None, 0] == LABELS[None, :, 0]
    short, long = (0.9 - cosines)[same], (cosines - 0.6)[~same]
    torch.testing.assert_close(loss, short[short > 0].mean() + long[long > 0].mean())


def test_calibration_without_faults_is_zero() -> None:
    leaf = nn.functional.one_hot(LABELS[:, 0]).double().requires_grad_()
    loss = CalibrationLoss()(leaf, LABELS)
    loss.backward()
    assert loss.item() == 0
    assert not leaf.grad.any()
    unlabelled = CalibrationLoss()(batch(), torch.full((10,), -1))
    assert unlabelled.item() == 0


def test_calibration_gradcheck_and_wrong_calls() -> None:
    assert torch.autograd.gradcheck(lambda e: CalibrationLoss(0.8, 0.1)(e, LABELS), (batch(4),))
    with pytest.raises(InputError, match="margins are cosines"):
        CalibrationLoss(pos_margin=1.5)
    with pytest.raises(InputError, match="indices_tuple"):
        CalibrationLoss()(batch(), LABELS, (torch.tensor([0]),) * 4)
    with pytest.raises(InputError, match="belong together"):
        CalibrationLoss()(batch(), LABELS, ref_labels=LABELS)
