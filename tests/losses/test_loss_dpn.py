"""DPNLoss: literal sums, majority targets, any classes and bits, wrong calls."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pertinent.errors import InputError
from pertinent.losses import DPNLoss

TAGS = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 1]]).bool()
CLASSES = torch.tensor([0, 1, 0, -1, 2, 1])


def batch(count: int = 6, bits: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, bits, dtype=torch.float64, generator=generator).requires_grad_()


def target(loss: DPNLoss, tags: Tensor) -> Tensor:
    """The majority of the centres of an image's tags, counted bit by bit."""
    bits = []
    for k in range(5):
        votes = sum(float(loss.centres[c, k]) for c in range(4) if tags[c])
        bits.append(float(loss.ties[k]) if votes == 0 else (1.0 if votes > 0 else -1.0))
    return torch.tensor(bits).double()


def test_is_the_literal_sum() -> None:
    loss, x = DPNLoss(4, 5, margin=0.8).double(), batch()
    rows = [(0.8 - x[i] * target(loss, TAGS[i])).clamp(min=0).mean() for i in range(6) if TAGS[i].any()]
    torch.testing.assert_close(loss(x, TAGS), torch.stack(rows).mean())
    assert torch.autograd.gradcheck(lambda e: loss(e, TAGS), (x,))


def test_beyond_the_margin_it_is_zero() -> None:
    loss = DPNLoss(4, 5)
    assert loss(loss.centres, torch.arange(4)) == 0
    assert loss(loss.centres / 2, torch.arange(4)) == 0.5


def test_targets_are_random_unless_asked() -> None:
    assert "random words" in repr(DPNLoss(20, 16))
    assert DPNLoss(20, 16, centres="separated").distance == 8


def test_classes_are_single_tags_and_unlabelled_rows_are_out() -> None:
    torch.manual_seed(0)
    loss, x, known = DPNLoss(4, 5).double(), batch(), CLASSES >= 0
    tree = torch.stack([CLASSES, CLASSES.clamp(min=0) // 2], dim=1)
    torch.testing.assert_close(loss(x, tree), loss(x, CLASSES))
    torch.testing.assert_close(loss(x, CLASSES), loss(x[known], CLASSES[known]))
    tags = CLASSES[:, None] == torch.arange(4)
    torch.testing.assert_close(loss(x, CLASSES), loss(x, tags))


@pytest.mark.parametrize(("classes", "bits"), [(1, 1), (7, 1), (2, 1), (40, 5), (4, 1000), (300, 12)])
def test_any_number_of_classes_and_bits(classes: int, bits: int) -> None:
    loss = DPNLoss(classes, bits)
    tags = torch.zeros(4, classes, dtype=torch.bool)
    tags[0], tags[1, 0], tags[2, -1] = True, True, True
    for labels in (tags, tags & False, tags[:, 0].long() * (classes - 1), torch.full((4,), -1)):
        for x in (batch(4, bits).detach().float().requires_grad_(), torch.zeros(4, bits, requires_grad=True)):
            value = loss(x, labels)
            value.backward()
            assert value.isfinite()
            assert x.grad.isfinite().all()
    assert loss(batch(0, bits), tags[:0]) == 0


def test_wrong_calls() -> None:
    with pytest.raises(InputError, match="at least 1"):
        DPNLoss(0, 5)
    with pytest.raises(InputError, match="at least 1"):
        DPNLoss(4, 0)
    with pytest.raises(InputError, match="margin must be positive"):
        DPNLoss(4, 5, 0)
    with pytest.raises(InputError, match="seed at least 0"):
        DPNLoss(4, 5, seed=-1)
    loss, x = DPNLoss(4, 5), batch()
    with pytest.raises(InputError, match=r"embeddings must be \(B, 5\)"):
        loss(batch(bits=3), TAGS)
    with pytest.raises(InputError, match="labels must have 4 columns"):
        loss(x, TAGS[:, :3])
    with pytest.raises(InputError, match="must be bool"):
        loss(x, TAGS.float())
    with pytest.raises(InputError, match=r"label 4 in column 0 is outside 0\.\.3"):
        loss(x, CLASSES + 2)
    with pytest.raises(InputError, match="cannot use indices_tuple"):
        loss(x, TAGS, ref_emb=x, ref_labels=TAGS)
