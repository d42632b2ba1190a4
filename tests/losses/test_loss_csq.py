"""CSQLoss: literal sums, majority centres, any classes and bits, wrong calls."""

from __future__ import annotations

import pytest
import torch
from code_batches import CENTRE_TAGS as TAGS
from code_batches import CLASSES, batch
from torch import Tensor

from pertinent.errors import InputError
from pertinent.losses import CSQLoss


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
