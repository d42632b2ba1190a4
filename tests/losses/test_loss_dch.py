"""DCHLoss: literal sums, weights, equal codes, tanh, references, any tags and bits, wrong calls."""

from __future__ import annotations

import pytest
import torch
from code_batches import CLASSES, REF_TAGS, TAGS, batch
from torch import Tensor

from pertinent.errors import InputError
from pertinent.losses import DCHLoss


def literal(x: Tensor, tags: Tensor, z: Tensor, z_tags: Tensor, same: bool) -> Tensor:
    """The paper's sums, pair by pair and row by row."""

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return (1 - (a @ b) / (a.norm() * b.norm())) * 5 / 2

    terms: dict[float, list[Tensor]] = {0.0: [], 1.0: []}
    gaps = []
    for i in range(len(x)):
        for j in range(len(z)):
            if same and i == j:
                continue
            d, s = distance(x[i].tanh(), z[j].tanh()), float((tags[i] & z_tags[j]).any())
            terms[s].append(s * (d / 20).log() + (1 + 20 / d).log())
        gaps.append((1 + distance(x[i].tanh().abs(), torch.ones(5).double()) / 20).log())
    total = len(terms[0.0]) + len(terms[1.0])
    weighted = [total / len(found) * loss for found in terms.values() for loss in found]
    return torch.stack(weighted).mean() + 0.1 * torch.stack(gaps).mean()


def test_is_the_literal_sum() -> None:
    loss, x, z = DCHLoss().double(), batch(), batch(4, seed=1)
    torch.testing.assert_close(loss(x, TAGS), literal(x, TAGS, x, TAGS, True))
    assert float(sum(loss.components.values())) == pytest.approx(loss(x, TAGS).item())
    assert not any(term.requires_grad for term in loss.components.values())
    torch.testing.assert_close(loss(x, TAGS, None, z, REF_TAGS), literal(x, TAGS, z, REF_TAGS, False))


def test_equal_codes_of_unrelated_images_cost_much_and_a_little_gap_is_widened() -> None:
    equal = torch.ones(2, 8, dtype=torch.float64)
    labels = torch.tensor([0, 1])
    assert 5 < float(DCHLoss()(equal, labels)) < 20
    near = (equal + torch.tensor([[0.3], [0.0]]) * torch.linspace(0, 1, 8)).requires_grad_()
    DCHLoss(quantisation=0.0)(near, labels).backward()
    assert near.grad.abs().sum() > 0


def test_tanh_may_be_in_the_network() -> None:
    x = batch()
    torch.testing.assert_close(DCHLoss(tanh=False)(x.tanh(), TAGS), DCHLoss()(x, TAGS))


def test_wrong_calls() -> None:
    with pytest.raises(InputError, match="gamma must be positive"):
        DCHLoss(0)
    with pytest.raises(InputError, match="quantisation must be at least 0"):
        DCHLoss(quantisation=-1)
    loss, x = DCHLoss(), batch()
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
