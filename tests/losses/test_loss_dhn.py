"""DHNLoss: literal sums, weights, tanh, references, any tags and bits, wrong calls."""

from __future__ import annotations

import pytest
import torch
from code_batches import CLASSES, REF_TAGS, TAGS, batch
from torch import Tensor

from pertinent.errors import InputError
from pertinent.losses import DHNLoss


def literal(x: Tensor, tags: Tensor, z: Tensor, z_tags: Tensor, same: bool) -> Tensor:
    """The paper's sums, pair by pair and row by row."""
    pairs, gaps = [], []
    for i in range(len(x)):
        for j in range(len(z)):
            if same and i == j:
                continue
            logit = 0.5 * (x[i].tanh() @ z[j].tanh())
            s = float((tags[i] & z_tags[j]).any())
            pairs.append((1 + logit.exp()).log() - s * logit)
        gaps.append((x[i].tanh().abs() - 1).cosh().log().mean())
    return torch.stack(pairs).mean() + 0.1 * torch.stack(gaps).mean()


def test_is_the_literal_sum() -> None:
    loss, x, z = DHNLoss().double(), batch(), batch(4, seed=1)
    torch.testing.assert_close(loss(x, TAGS), literal(x, TAGS, x, TAGS, True))
    assert float(sum(loss.components.values())) == pytest.approx(loss(x, TAGS).item())
    assert not any(term.requires_grad for term in loss.components.values())
    torch.testing.assert_close(loss(x, TAGS, None, z, REF_TAGS), literal(x, TAGS, z, REF_TAGS, False))


def test_weights_make_both_kinds_count_the_same() -> None:
    x, terms = batch(), {True: [], False: []}
    for i in range(6):
        for j in range(6):
            if i != j:
                logit, s = 0.5 * (x[i].tanh() @ x[j].tanh()), bool((TAGS[i] & TAGS[j]).any())
                terms[s].append((1 + logit.exp()).log() - s * logit)
    want = torch.stack(terms[True]).mean() + torch.stack(terms[False]).mean()
    torch.testing.assert_close(DHNLoss(quantisation=0.0, weighted=True)(x, TAGS), want)


def test_tanh_may_be_in_the_network() -> None:
    x = batch()
    torch.testing.assert_close(DHNLoss(tanh=False)(x.tanh(), TAGS), DHNLoss()(x, TAGS))


def test_wrong_calls() -> None:
    with pytest.raises(InputError, match="alpha must be positive"):
        DHNLoss(0)
    with pytest.raises(InputError, match="quantisation must be at least 0"):
        DHNLoss(quantisation=-1)
    loss, x = DHNLoss(), batch()
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
