"""HashNetLoss: literal sums, weights, growth of beta, references, any tags and bits, wrong calls."""

from __future__ import annotations

import math

import pytest
import torch
from code_batches import CLASSES, REF_TAGS, TAGS, batch
from torch import Tensor

from pertinent.errors import InputError
from pertinent.losses import HashNetLoss


def literal(x: Tensor, tags: Tensor, z: Tensor, z_tags: Tensor, same: bool) -> Tensor:
    """The paper's sums, pair by pair and row by row."""
    terms: dict[float, list[Tensor]] = {0.0: [], 1.0: []}
    for i in range(len(x)):
        for j in range(len(z)):
            if same and i == j:
                continue
            logit = 10 / 5 * (x[i].tanh() @ z[j].tanh())
            common, either = (tags[i] & z_tags[j]).sum(), (tags[i] | z_tags[j]).sum()
            s = float(common > 0)
            degree = common / either if s else 1.0
            terms[s].append(degree * ((1 + logit.exp()).log() - s * logit))
    total = len(terms[0.0]) + len(terms[1.0])
    return torch.stack([total / len(found) * loss for found in terms.values() for loss in found]).mean()


def test_is_the_literal_sum() -> None:
    loss, x, z = HashNetLoss().double(), batch(), batch(4, seed=1)
    torch.testing.assert_close(loss(x, TAGS), literal(x, TAGS, x, TAGS, True))

    torch.testing.assert_close(loss(x, TAGS, None, z, REF_TAGS), literal(x, TAGS, z, REF_TAGS, False))


def test_beta_grows_with_the_calls_in_training() -> None:
    loss, x = HashNetLoss(every=3), batch()
    seen = []
    for _ in range(8):
        loss(x, TAGS)
        seen.append(float(loss.beta))
    assert seen == pytest.approx([1, 1, *[math.sqrt(2)] * 3, *[math.sqrt(3)] * 3])
    loss.eval()
    loss(x, TAGS)
    assert int(loss.calls) == 8


def test_beta_is_the_slope_and_goes_with_the_state() -> None:
    x, loss, other = batch(), HashNetLoss(every=1), HashNetLoss(every=1).eval()
    for _ in range(15):
        value = loss(x, TAGS)
    other.load_state_dict(loss.state_dict())
    assert float(other.beta) == 4
    torch.testing.assert_close(other(x, TAGS), value)
    torch.testing.assert_close(HashNetLoss().eval()(4 * x, TAGS), value)


def test_wrong_calls() -> None:
    with pytest.raises(InputError, match="alpha must be positive"):
        HashNetLoss(0)
    with pytest.raises(InputError, match="every must be positive"):
        HashNetLoss(every=0)
    loss, x = HashNetLoss(), batch()
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
