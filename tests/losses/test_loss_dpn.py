"""DPNLoss: literal sums, majority targets, any classes and bits, wrong calls."""

from __future__ import annotations

import pytest
import torch
from code_batches import CENTRE_TAGS as TAGS
from code_batches import CLASSES, batch
from torch import Tensor

from pertinent.errors import InputError
from pertinent.losses import DPNLoss


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
