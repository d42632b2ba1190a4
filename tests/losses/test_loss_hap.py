"""HAPLoss and its one-level relatives: labels, references, reductions, degenerate batches, wrong calls."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pertinent.errors import InputError
from pertinent.functional.relevance import level_counts, level_weights, tree_levels
from pertinent.losses import HAPLoss, SmoothAPLoss, SupAPLoss

FAMILY: list[Callable[..., nn.Module]] = [HAPLoss, SupAPLoss, SmoothAPLoss]
LABELS = torch.tensor([[0, 0], [0, 0], [1, 0], [1, 0], [2, 1], [2, 1], [3, 1], [3, 1]])


def batch(seed: int = 0, count: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, 16, dtype=torch.float64, generator=generator)
    return nn.functional.normalize(drawn).requires_grad_()


def gradient(loss: Tensor, leaf: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(loss, leaf, retain_graph=True)
    return found


def test_gradcheck_through_the_module() -> None:
    loss = HAPLoss(tau=0.05, rho=5.0, offset=None, with_hrank=True, beta=3.0)
    assert torch.autograd.gradcheck(lambda e: loss(e, LABELS), (batch(),))


def test_level_is_the_loss_of_that_column() -> None:
    embeddings = batch()
    for level in (0, 1):
        single = HAPLoss()(embeddings, LABELS[:, level])
        torch.testing.assert_close(HAPLoss(level=level)(embeddings, LABELS), single)
        torch.testing.assert_close(SupAPLoss(level=level)(embeddings, LABELS), single)


def test_binary_hap_is_sup_ap_and_sigmoids_bring_smooth_ap() -> None:
    """With sigmoids for every step SmoothAP is the mean of (1 + sum over positives) / (1 + sum over all)."""
    embeddings = batch(1)
    scores, positive = embeddings @ embeddings.T, LABELS[:, None, 0] == LABELS[None, :, 0]
    gaps = torch.sigmoid((scores[:, None, :] - scores[:, :, None]) / 0.02) * ~torch.eye(8, dtype=torch.bool)
    ratio = (1 + (gaps * positive[:, None, :]).sum(2)) / (1 + gaps.sum(2))
    expected = 1 - ((ratio * positive).sum(1) / positive.sum(1)).mean()
    actual = SmoothAPLoss(tau=0.02)(embeddings, LABELS)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(gradient(actual, embeddings), gradient(expected, embeddings))


def test_map_relevance_takes_a_weight_for_each_level() -> None:
    embeddings = batch()
    fine_only = HAPLoss(relevance="map", alpha=[0.0, 1.0])(embeddings, LABELS)
    assert fine_only > 0
    equal = HAPLoss(relevance="map", alpha=[1.0, 1.0])(embeddings, LABELS)
    assert not torch.isclose(fine_only, equal)
    with pytest.raises(InputError, match="2 levels, got 3"):
        HAPLoss(relevance="map", alpha=[1.0, 1.0, 1.0])(embeddings, LABELS)


@pytest.mark.parametrize("make", FAMILY)
def test_references_equal_to_the_batch_change_nothing(make: Callable[..., nn.Module]) -> None:
    embeddings = batch()
    square = make()(embeddings, LABELS)
    against = make()(embeddings, LABELS, ref_emb=embeddings, ref_labels=LABELS)
    torch.testing.assert_close(against, square)
    torch.testing.assert_close(gradient(against, embeddings), gradient(square, embeddings))


@pytest.mark.parametrize("make", FAMILY)
def test_reductions_agree(make: Callable[..., nn.Module]) -> None:
    embeddings = batch()
    each = make(reduction="none")(embeddings, LABELS)
    assert each.shape == (8,)
    torch.testing.assert_close(make(reduction="sum")(embeddings, LABELS), each.sum())
    torch.testing.assert_close(make()(embeddings, LABELS), each.mean())
    torch.testing.assert_close(make(reduction="avg_non_zero")(embeddings, LABELS), each[each > 0].mean())


@pytest.mark.parametrize("make", FAMILY)
def test_unlabelled_rows_are_as_if_absent(make: Callable[..., nn.Module]) -> None:
    embeddings, labels = batch(), LABELS.clone()
    labels[[2, 5]] = -1
    keep = torch.tensor([0, 1, 3, 4, 6, 7])
    loss = make()(embeddings, labels)
    torch.testing.assert_close(loss, make()(embeddings[keep], labels[keep]))
    found = gradient(loss, embeddings)
    assert not found[[2, 5]].any()
    assert found[keep].any()


def test_a_row_unlabelled_at_one_level_counts_only_where_that_level_is_not_used() -> None:
    embeddings, labels = batch(), LABELS.clone()
    labels[2, 0] = -1
    keep = torch.tensor([0, 1, 3, 4, 5, 6, 7])
    torch.testing.assert_close(HAPLoss()(embeddings, labels), HAPLoss()(embeddings[keep], labels[keep]))
    torch.testing.assert_close(HAPLoss(level=1)(embeddings, labels), HAPLoss(level=1)(embeddings, LABELS))


@pytest.mark.parametrize("reduction", ["mean", "sum", "avg_non_zero"])
@pytest.mark.parametrize("make", FAMILY)
@pytest.mark.parametrize(
    "labels",
    [torch.full((8, 2), -1), torch.zeros(8, 2, dtype=torch.int64), torch.zeros(1, 2, dtype=torch.int64), LABELS[:0]],
    ids=["unlabelled", "one class", "one item", "empty"],
)
def test_degenerate_batches_cost_nothing(make: Callable[..., nn.Module], labels: Tensor, reduction: str) -> None:
    embeddings = batch(count=len(labels))
    loss = make(reduction=reduction)(embeddings, labels)
    assert abs(loss.item()) < 1e-12
    assert gradient(loss, embeddings).abs().max() < 1e-12 if len(labels) else True


def test_queries_without_a_relevant_reference_are_left_out_of_the_mean() -> None:
    queries, references = batch(1), batch(2)
    own, ref_labels = LABELS.clone(), LABELS.clone()
    own[:3] = torch.tensor([9, 9])
    loss = HAPLoss()(queries, own, ref_emb=references, ref_labels=ref_labels)
    torch.testing.assert_close(loss, HAPLoss()(queries[3:], own[3:], ref_emb=references, ref_labels=ref_labels))
    each = HAPLoss(reduction="none")(queries, own, ref_emb=references, ref_labels=ref_labels)
    assert torch.equal(each[:3], torch.zeros(3, dtype=torch.float64))
    assert not gradient(loss, queries)[:3].any()


@pytest.mark.parametrize("make", FAMILY)
def test_all_embeddings_equal_is_finite(make: Callable[..., nn.Module]) -> None:
    embeddings = torch.ones(8, 4, requires_grad=True)
    loss = make()(embeddings, LABELS)
    assert 0 < loss.item() < 1
    assert gradient(loss, embeddings).isfinite().all()


def test_a_tied_item_of_lower_relevance_counts_one_half() -> None:
    """Query 0, its twin and one stranger, all tied: the two positives have ranks 2 + .5."""
    embeddings, labels = torch.ones(3, 4), torch.tensor([0, 0, 1])
    each = HAPLoss(reduction="none")(embeddings, labels)
    torch.testing.assert_close(each[0], torch.tensor(1 - 2 / 2.5))
    torch.testing.assert_close(each[2], torch.tensor(1 - 1 / 2))


def test_half_embeddings_score_in_float32() -> None:
    embeddings = batch().detach().to(torch.float16)
    wide = HAPLoss()(embeddings.float(), LABELS)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = HAPLoss()(embeddings, LABELS)
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow, wide)


def test_gradient_step_improves_hierarchical_ranking() -> None:
    embeddings = batch(3)
    levels = tree_levels(LABELS, LABELS)
    assert level_weights(level_counts(levels, 2)).shape == (8, 3)
    before = HAPLoss()(embeddings, LABELS)
    moved = embeddings - 1e-4 * gradient(before, embeddings)
    assert HAPLoss()(moved, LABELS) < before


@pytest.mark.parametrize("make", FAMILY)
def test_wrong_calls(make: Callable[..., nn.Module]) -> None:
    loss, embeddings = make(), batch()
    pairs = (torch.tensor([0]), torch.tensor([1]), torch.tensor([2]), torch.tensor([3]))
    with pytest.raises(InputError, match="indices_tuple"):
        loss(embeddings, LABELS, pairs)
    with pytest.raises(InputError, match="belong together"):
        loss(embeddings, LABELS, ref_emb=embeddings)
    with pytest.raises(InputError, match="got \\(8, 16\\) and \\(7, 2\\)"):
        loss(embeddings, LABELS[:7])
    with pytest.raises(InputError, match="bool"):
        loss(embeddings, LABELS > 0)
    with pytest.raises(InputError, match="one D"):
        loss(embeddings, LABELS, ref_emb=embeddings[:, :4], ref_labels=LABELS)
    with pytest.raises(InputError, match="'mean', 'sum', 'none', 'avg_non_zero', got 'median'"):
        make(reduction="median")
    with pytest.raises(InputError, match="tau must be positive"):
        make(tau=0)
    with pytest.raises(InputError, match="level=2"):
        make(level=2)(embeddings, LABELS)


def test_wrong_options_of_hap() -> None:
    with pytest.raises(InputError, match="'pop' or 'map'"):
        HAPLoss(relevance="pops")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="levels=3 was declared but labels have 2 columns"):
        HAPLoss(levels=3)(batch(), LABELS)
    with pytest.raises(InputError, match="queries have 2 label columns and items 1"):
        HAPLoss()(batch(), LABELS, ref_emb=batch(), ref_labels=LABELS[:, 0])
