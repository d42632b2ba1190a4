"""CSQLoss: literal sums, majority centres, any classes and bits, wrong calls."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pertinent.errors import InputError
from pertinent.losses import CSQLoss

TAGS = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 1]]).bool()
CLASSES = torch.tensor([0, 1, 0, -1, 2, 1])


def batch(count: int = 6, bits: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, bits, dtype=torch.float64, generator=generator).requires_grad_()


def target(loss: CSQLoss, tags: Tensor) -> Tensor:
    """The majority of the centres of an image's tags, counted bit by bit."""
    bits = []
    for k in range(5):
        votes = sum(float(loss.centres[c, k]) for c in range(4) if tags[c])
        bits.append(float(loss.ties[k]) if votes == 0 else (1.0 if votes > 0 else -1.0))
    return torch.tensor(bits).double()


def test_is_the_literal_sum() -> None:
    loss, x = CSQLoss(4, 5, quantisation=0.3).double(), batch()
    centre, gaps = [], []
    for i in range(6):
        if not TAGS[i].any():
            continue
        h = x[i].tanh()
        p, c = (h + 1) / 2, (target(loss, TAGS[i]) + 1) / 2
        centre.append(-(c * p.log() + (1 - c) * (1 - p).log()).mean())
        gaps.append(((h.abs() - 1) ** 2).mean())
    want = torch.stack(centre).mean() + 0.3 * torch.stack(gaps).mean()
    torch.testing.assert_close(loss(x, TAGS), want)
    assert float(sum(loss.components.values())) == pytest.approx(want.item())
    assert torch.autograd.gradcheck(lambda e: loss(e, TAGS), (x,))


def test_centres_go_with_the_state_and_are_told() -> None:
    first, other = CSQLoss(20, 12), CSQLoss(20, 12, seed=3)
    assert (first.centres != other.centres).any()
    other.load_state_dict(first.state_dict())
    assert torch.equal(other.centres, first.centres)
    assert repr(first).startswith("CSQLoss(20 centres of 12 bits, 6 apart: rows of a Hadamard matrix of order 12")
    assert "share" in repr(CSQLoss(40, 5))


def test_the_centre_is_where_the_loss_is_least() -> None:
    loss = CSQLoss(4, 5)
    at = loss(9 * loss.centres, torch.arange(4))
    assert at < 1e-3 < loss(9 * loss.centres.flip(0), torch.arange(4))


def test_classes_are_single_tags_and_unlabelled_rows_are_out() -> None:
    torch.manual_seed(0)
    loss, x, known = CSQLoss(4, 5).double(), batch(), CLASSES >= 0
    tree = torch.stack([CLASSES, CLASSES.clamp(min=0) // 2], dim=1)
    torch.testing.assert_close(loss(x, tree), loss(x, CLASSES))
    torch.testing.assert_close(loss(x, CLASSES), loss(x[known], CLASSES[known]))
    tags = CLASSES[:, None] == torch.arange(4)
    torch.testing.assert_close(loss(x, CLASSES), loss(x, tags))


@pytest.mark.parametrize(("classes", "bits"), [(1, 1), (7, 1), (2, 1), (40, 5), (4, 1000), (300, 12)])
def test_any_number_of_classes_and_bits(classes: int, bits: int) -> None:
    loss = CSQLoss(classes, bits)
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
        CSQLoss(0, 5)
    with pytest.raises(InputError, match="at least 1"):
        CSQLoss(4, 0)
    with pytest.raises(InputError, match="quantisation must be at least 0"):
        CSQLoss(4, 5, quantisation=-1)
    with pytest.raises(InputError, match="centres must be one of"):
        CSQLoss(4, 5, centres="far")
    loss, x = CSQLoss(4, 5), batch()
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
