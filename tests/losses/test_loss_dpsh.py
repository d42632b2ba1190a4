"""DPSHLoss: literal sums, references, any tags and bits, wrong calls."""

from __future__ import annotations

import pytest
import torch
from code_batches import CLASSES, REF_TAGS, TAGS, batch
from torch import Tensor

from pertinent.errors import InputError
from pertinent.losses import DPSHLoss


def literal(x: Tensor, tags: Tensor, z: Tensor, z_tags: Tensor, same: bool) -> Tensor:
    """The paper's sums, pair by pair and row by row."""
    pairs, gaps = [], []
    for i in range(len(x)):
        for j in range(len(z)):
            if same and i == j:
                continue
            logit = (x[i] @ z[j]) / 2
            s = float((tags[i] & z_tags[j]).any())
            pairs.append((1 + logit.exp()).log() - s * logit)
        gaps.append(((x[i] - x[i].detach().sign()) ** 2).mean())
    return torch.stack(pairs).mean() + 0.1 * torch.stack(gaps).mean()


def test_is_the_literal_sum() -> None:
    loss, x, z = DPSHLoss().double(), batch(), batch(4, seed=1)
    torch.testing.assert_close(loss(x, TAGS), literal(x, TAGS, x, TAGS, True))
    assert float(sum(loss.components.values())) == pytest.approx(loss(x, TAGS).item())
    assert not any(term.requires_grad for term in loss.components.values())
    torch.testing.assert_close(loss(x, TAGS, None, z, REF_TAGS), literal(x, TAGS, z, REF_TAGS, False))


def test_a_zero_is_drawn_to_one() -> None:
    x = torch.zeros(1, 3, requires_grad=True)
    DPSHLoss(1.0)(x, TAGS[:1]).backward()
    assert (x.grad < 0).all()


def test_wrong_calls() -> None:
    with pytest.raises(InputError, match="eta must be at least 0"):
        DPSHLoss(-1)
    loss, x = DPSHLoss(), batch()
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
