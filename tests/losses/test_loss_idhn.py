"""IDHNLoss: literal sums, hard and soft pairs, references, any tags and bits, wrong calls."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from pertinent.errors import InputError
from pertinent.losses import IDHNLoss

TAGS = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]]).bool()
REF_TAGS = torch.tensor([[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 1, 0]]).bool()
CLASSES = torch.tensor([0, 1, 0, -1, 2, 1])


def batch(count: int = 6, bits: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, bits, dtype=torch.float64, generator=generator).requires_grad_()


def literal(x: Tensor, tags: Tensor, z: Tensor, z_tags: Tensor, same: bool) -> Tensor:
    """The paper's sums, pair by pair and row by row."""
    pairs, gaps = [], []
    for i in range(len(x)):
        for j in range(len(z)):
            if same and i == j:
                continue
            a, b = x[i] / (1 + x[i].abs()), z[j] / (1 + z[j].abs())
            lengths = math.sqrt(float(tags[i].sum() * z_tags[j].sum()))
            s = float((tags[i] & z_tags[j]).sum()) / lengths if lengths else 0.0
            if 0.01 <= s <= 0.99:
                pairs.append(0.1 * 5 * ((a @ b + 5) / 10 - s) ** 2)
            else:
                logit = 5 / 5 * (a @ b)
                pairs.append((1 + logit.exp()).log() - round(s) * logit)
        gaps.append(((x[i] / (1 + x[i].abs())).abs() - 1).abs().mean())
    return torch.stack(pairs).mean() + 0.1 * torch.stack(gaps).mean()


def test_is_the_literal_sum() -> None:
    loss, x, z = IDHNLoss().double(), batch(), batch(4, seed=1)
    torch.testing.assert_close(loss(x, TAGS), literal(x, TAGS, x, TAGS, True))
    assert float(sum(loss.components.values())) == pytest.approx(loss(x, TAGS).item())
    assert not any(term.requires_grad for term in loss.components.values())
    torch.testing.assert_close(loss(x, TAGS, None, z, REF_TAGS), literal(x, TAGS, z, REF_TAGS, False))


def test_classes_are_single_tags_and_unlabelled_rows_are_out() -> None:
    loss, x, known = IDHNLoss().double(), batch(), CLASSES >= 0
    tags = nn.functional.one_hot(CLASSES[known], 4).bool()
    tree = torch.stack([CLASSES, CLASSES.clamp(min=0) // 2], dim=1)
    torch.testing.assert_close(loss(x, CLASSES), loss(x[known], tags))
    torch.testing.assert_close(loss(x, tree), loss(x, CLASSES))


def test_gradcheck() -> None:
    loss, z = IDHNLoss().double(), batch(4, seed=1)
    assert torch.autograd.gradcheck(lambda x: loss(x, TAGS), (batch(seed=2),))
    assert torch.autograd.gradcheck(lambda x, y: loss(x, TAGS, None, y, REF_TAGS), (batch(seed=2), z))


@pytest.mark.parametrize("bits", [1, 1000])
@pytest.mark.parametrize("tags", [TAGS, TAGS & False, TAGS | True, TAGS[:1], TAGS[:0]], ids=str)
def test_any_tags_and_bits(tags: Tensor, bits: int) -> None:
    for x in (batch(len(tags), bits), torch.zeros(len(tags), bits, requires_grad=True)):
        value = IDHNLoss()(x, tags)
        value.backward()
        assert value.isfinite()
        assert x.grad.isfinite().all()


def test_softsign_may_be_in_the_network() -> None:
    x = batch()
    torch.testing.assert_close(IDHNLoss(softsign=False)(nn.functional.softsign(x), TAGS), IDHNLoss()(x, TAGS))


def test_half_similar_images_want_codes_in_between() -> None:
    tags = torch.tensor([[1, 1, 0], [1, 0, 0]]).bool()
    codes = torch.ones(2, 8, dtype=torch.float64)
    loss, values = IDHNLoss(softsign=False, quantisation=0.0), []
    for differing in range(9):
        codes[1, :differing] = -1
        values.append(float(loss(codes, tags)))
    assert values.index(min(values)) == 2  # cosine of the tags .71, so (8 - 2 d + 8) / 16 = .71


def test_wrong_calls() -> None:
    with pytest.raises(InputError, match="alpha must be positive"):
        IDHNLoss(0)
    with pytest.raises(InputError, match="gamma must be at least 0"):
        IDHNLoss(gamma=-1)
    loss, x = IDHNLoss(), batch()
    with pytest.raises(InputError, match="must be bool"):
        loss(x, TAGS.double())
    with pytest.raises(InputError, match=r"tags \(B, C\)"):
        loss(x, TAGS[:2])
    with pytest.raises(InputError, match="indices_tuple"):
        loss(x, TAGS, (torch.tensor([0]),) * 4)
    with pytest.raises(InputError, match="belong together"):
        loss(x, TAGS, ref_emb=x)
    with pytest.raises(InputError, match="of one kind"):
        loss(x, TAGS, None, x, CLASSES)
