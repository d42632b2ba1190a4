"""QuantisationLoss and BitBalanceLoss, the terms to add to other losses: literal sums, unlabelled rows, wrong calls."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pertinent.errors import InputError
from pertinent.losses import BitBalanceLoss, QuantisationLoss

TAGS = torch.eye(6, 4).bool()
CLASSES = torch.tensor([0, 1, 0, -1, 2, 1])
EVERY = [
    QuantisationLoss(),
    QuantisationLoss("cosine"),
    BitBalanceLoss(),
    BitBalanceLoss(0.7),
    BitBalanceLoss(tanh=False),
]


def batch(count: int = 6, bits: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, bits, dtype=torch.float64, generator=generator).requires_grad_()


def test_quantisation_is_the_literal_mean() -> None:
    x = batch()
    square = torch.stack([(x[i, k].abs() - 1) ** 2 for i in range(6) for k in range(5)]).mean()
    torch.testing.assert_close(QuantisationLoss()(x, TAGS), square)
    cosine = [1 - (x[i] @ x[i].sign()) / (x[i].norm() * 5**0.5) for i in range(6)]
    torch.testing.assert_close(QuantisationLoss("cosine")(x, TAGS), torch.stack(cosine).mean())


def test_signs_cost_nothing() -> None:
    codes = batch().detach().sign()
    assert QuantisationLoss()(codes, TAGS) == 0
    assert QuantisationLoss("cosine")(3 * codes, TAGS).item() == pytest.approx(0, abs=1e-12)


def test_balance_is_the_literal_mean() -> None:
    x = batch()
    h = x.tanh()
    means = torch.stack([sum(h[i, k] for i in range(6)) / 6 for k in range(5)])
    products = [(h[:, a] * h[:, b]).mean() ** 2 for a in range(5) for b in range(5) if a != b]
    balance, decorrelation = (means**2).mean(), torch.stack(products).mean()
    torch.testing.assert_close(BitBalanceLoss()(x, TAGS), balance)
    torch.testing.assert_close(BitBalanceLoss(0.7)(x, TAGS), balance + 0.7 * decorrelation)
    torch.testing.assert_close(BitBalanceLoss(tanh=False)(h, TAGS), balance)


@pytest.mark.parametrize("loss", EVERY, ids=str)
def test_labels_only_say_which_rows_are_left_out(loss: nn.Module) -> None:
    x, known = batch(), CLASSES >= 0
    torch.testing.assert_close(loss(x, CLASSES), loss(x[known], TAGS[known]))
    torch.testing.assert_close(loss(x, TAGS), loss(x, TAGS & False))
    assert torch.autograd.gradcheck(lambda e: loss(e, CLASSES), (batch(seed=1),))


@pytest.mark.parametrize("bits", [1, 1000])
@pytest.mark.parametrize("loss", EVERY, ids=str)
def test_any_rows_and_bits(loss: nn.Module, bits: int) -> None:
    for count in (0, 1, 6):
        for x in (batch(count, bits), torch.zeros(count, bits, requires_grad=True)):
            value = loss(x, TAGS[:count])
            value.backward()
            assert value.isfinite()
            assert x.grad.isfinite().all()


def test_wrong_calls() -> None:
    with pytest.raises(InputError, match="kind must be one of"):
        QuantisationLoss("cube")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="decorrelation must be at least 0"):
        BitBalanceLoss(-1)
    for loss in EVERY:
        with pytest.raises(InputError, match="cannot use indices_tuple"):
            loss(batch(), TAGS, ref_emb=batch(), ref_labels=TAGS)
        with pytest.raises(InputError, match=r"tags \(B, C\)"):
            loss(batch(), TAGS[:2])
