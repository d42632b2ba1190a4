"""IDHNLoss: literal sums, hard and soft pairs, references, any tags and bits, wrong calls."""

from __future__ import annotations

import math

import pytest
import torch
from code_batches import CLASSES, REF_TAGS, TAGS, batch
from torch import Tensor, nn

from pertinent.errors import InputError
from pertinent.losses import IDHNLoss


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
