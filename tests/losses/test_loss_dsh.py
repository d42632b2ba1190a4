"""DSHLoss: literal sums, margin, references, any tags and bits, wrong calls."""

from __future__ import annotations

import pytest
import torch
from code_batches import CLASSES, REF_TAGS, TAGS, batch
from torch import Tensor

from pertinent.errors import InputError
from pertinent.losses import DSHLoss


def literal(x: Tensor, tags: Tensor, z: Tensor, z_tags: Tensor, same: bool) -> Tensor:
    """The paper's sums, pair by pair and row by row."""
    pairs, norms = [], []
    for i in range(len(x)):
        for j in range(len(z)):
            if same and i == j:
                continue
            d = ((x[i] - z[j]) ** 2).sum()
            pairs.append(d / 2 if (tags[i] & z_tags[j]).any() else (2 * 5 - d).clamp(min=0) / 2)
        norms.append((x[i].abs() - 1).abs().sum())
    return torch.stack(pairs).mean() + 0.01 * 2 * torch.stack(norms).mean()


def test_is_the_literal_sum() -> None:
    loss, x, z = DSHLoss().double(), batch(), batch(4, seed=1)
    torch.testing.assert_close(loss(x, TAGS), literal(x, TAGS, x, TAGS, True))
    assert float(sum(loss.components.values())) == pytest.approx(loss(x, TAGS).item())
    assert not any(term.requires_grad for term in loss.components.values())
    torch.testing.assert_close(loss(x, TAGS, None, z, REF_TAGS), literal(x, TAGS, z, REF_TAGS, False))


def test_is_the_mean_over_pairs_of_the_papers_loss() -> None:
    """The regulariser of the paper stands inside the sum over pairs and has both images of each."""
    x, terms = batch(), []
    for i in range(6):
        for j in range(i):
            d = ((x[i] - x[j]) ** 2).sum()
            pair = d / 2 if (TAGS[i] & TAGS[j]).any() else (10 - d).clamp(min=0) / 2
            terms.append(pair + 0.01 * ((x[i].abs() - 1).abs().sum() + (x[j].abs() - 1).abs().sum()))
    torch.testing.assert_close(DSHLoss()(x, TAGS), torch.stack(terms).mean())


def test_beyond_the_margin_others_cost_nothing() -> None:
    x = torch.tensor([[1.0, 1, 1], [-1, -1, 1]], dtype=torch.float64)
    assert DSHLoss()(x, torch.tensor([0, 1])) == 0  # squared distance 8, margin 6
    assert DSHLoss(margin=10.0)(x, torch.tensor([0, 1])) == 1
    assert DSHLoss()(x, torch.tensor([0, 0])) == 4


def test_wrong_calls() -> None:
    with pytest.raises(InputError, match="alpha must be at least 0"):
        DSHLoss(-1)
    with pytest.raises(InputError, match="margin must be positive"):
        DSHLoss(margin=0)
    loss, x = DSHLoss(), batch()
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
