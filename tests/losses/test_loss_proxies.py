"""ClusterLoss and CSLLoss: values by hand, unlabelled rows, wrong labels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pertinent.errors import InputError
from pertinent.losses import ClusterLoss, CSLLoss

LABELS = torch.tensor([[0, 0], [1, 0], [2, 1], [2, 1], [0, 0]])
ROWS = LABELS.unique(dim=0)


def batch() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(5, 6, dtype=torch.float64, generator=generator)
    return torch.nn.functional.normalize(drawn).requires_grad_()


def cluster(**options: object) -> ClusterLoss:
    torch.manual_seed(0)
    return ClusterLoss(3, 6, **options).double()  # type: ignore[arg-type]


def csl(**options: object) -> CSLLoss:
    torch.manual_seed(0)
    return CSLLoss(ROWS, 6, (0.25, 0.45), **options).double()  # type: ignore[arg-type]


def literal_csl(loss: CSLLoss, embeddings: Tensor, labels: Tensor) -> Tensor:
    weight = loss.weight / loss.weight.norm(dim=1, keepdim=True)
    total = torch.zeros((), dtype=torch.float64)
    for e, row in zip(embeddings, labels, strict=True):
        scores = 32 * weight @ e
        own = [-s for s, proxy in zip(scores, ROWS, strict=True) if proxy[0] == row[0]]
        for level, margin in enumerate((0.25, 0.45)):
            others = [s for s, proxy in zip(scores, ROWS, strict=True) if proxy[level] != row[level]]
            if others:
                joint = torch.stack(own).exp().sum() * torch.stack(others).exp().sum() * math.exp(margin * 32)
                total = total + (1 + joint).log()
    return total / len(labels)


def test_cluster_by_hand() -> None:
    loss, embeddings = cluster(temperature=0.1), batch()
    weight = loss.weight / loss.weight.norm(dim=1, keepdim=True)
    logits = embeddings @ weight.T / 0.1
    expected = -(logits.exp() / logits.exp().sum(1, keepdim=True))[range(5), LABELS[:, 0]].log().mean()
    torch.testing.assert_close(loss(embeddings, LABELS), expected)
    torch.testing.assert_close(loss(embeddings, LABELS[:, 0]), expected)


def test_proxies_start_within_the_uniform_bound() -> None:
    for weight in (ClusterLoss(200, 16).weight, CSLLoss([[i, 0] for i in range(200)], 16, (0.1, 0.2)).weight):
        assert weight.shape == (200, 16)
        assert 0.24 < weight.abs().max().item() <= 0.25


def test_csl_by_hand() -> None:
    loss, embeddings = csl(), batch()
    torch.testing.assert_close(loss(embeddings, LABELS), literal_csl(loss, embeddings, LABELS))
    torch.testing.assert_close(csl(reduction="mean")(embeddings, LABELS) * 2, loss(embeddings, LABELS))


def test_csl_level_of_one_class_adds_nothing() -> None:
    torch.manual_seed(0)
    embeddings, labels = batch(), LABELS.clone()
    labels[:, 1] = 0
    both = CSLLoss(labels.unique(dim=0), 6, (0.25, 0.45)).double()
    torch.manual_seed(0)
    fine = CSLLoss(labels[:, :1].unique(dim=0), 6, (0.25,)).double()
    loss = both(embeddings, labels)
    torch.testing.assert_close(loss, fine(embeddings, labels[:, :1]))
    (gradient,) = torch.autograd.grad(loss, embeddings)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("make", [cluster, csl])
def test_gradcheck(make) -> None:
    loss, embeddings = make(), batch()
    assert torch.autograd.gradcheck(
        lambda e, w: torch.func.functional_call(loss, {"weight": w}, (e, LABELS)), (embeddings, loss.weight)
    )


@pytest.mark.parametrize("make", [cluster, csl])
def test_unlabelled_rows_are_left_out(make) -> None:
    loss, embeddings, labels = make(), batch(), LABELS.clone()
    labels[1] = -1
    keep = [0, 2, 3, 4]
    torch.testing.assert_close(loss(embeddings, labels), loss(embeddings[keep], labels[keep]))
    nothing = loss(embeddings, torch.full_like(labels, -1))
    nothing.backward()
    assert nothing.item() == 0
    assert not embeddings.grad.any()
    assert not loss.weight.grad.any()


@pytest.mark.parametrize("make", [cluster, csl])
def test_half_embeddings_score_in_float32(make) -> None:
    loss, embeddings = make().float(), batch().detach().to(torch.float16)
    wide = loss(embeddings.float(), LABELS)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = loss(embeddings, LABELS)
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow, wide)


@pytest.mark.parametrize("make", [cluster, csl])
def test_arguments_that_a_proxy_loss_cannot_use(make) -> None:
    loss, embeddings = make(), batch()
    with pytest.raises(InputError, match="indices_tuple"):
        loss(embeddings, LABELS, (torch.tensor([0]),) * 4)
    with pytest.raises(InputError, match="ref_emb"):
        loss(embeddings, LABELS, ref_emb=embeddings, ref_labels=LABELS)


def test_wrong_labels_are_named() -> None:
    embeddings, labels = batch(), LABELS.clone()
    labels[2, 0] = 7
    with pytest.raises(InputError, match=r"label 7 in column 0 is outside 0\.\.2"):
        cluster()(embeddings, labels)
    with pytest.raises(InputError, match="fine label 7 has no proxy"):
        csl()(embeddings, labels)
    with pytest.raises(InputError, match="levels=2"):
        csl()(embeddings, labels[:, 0])
    with pytest.raises(InputError, match="level=2"):
        cluster(level=2)(embeddings, labels)


def test_wrong_options() -> None:
    with pytest.raises(InputError, match="at least 1"):
        ClusterLoss(0, 6)
    with pytest.raises(InputError, match="temperature"):
        ClusterLoss(3, 6, temperature=0)
    with pytest.raises(InputError, match="one margin for each of 2 label columns, got 1"):
        CSLLoss(ROWS, 6, (0.25,))
    with pytest.raises(InputError, match="proxy_labels"):
        CSLLoss(ROWS[0], 6, (0.25,))
    with pytest.raises(InputError, match="'sum', 'mean', got 'none'"):
        CSLLoss(ROWS, 6, (0.25, 0.45), reduction="none")  # type: ignore[arg-type]
