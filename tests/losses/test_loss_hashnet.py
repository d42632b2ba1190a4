"""HashNetLoss: literal sums, weights, growth of beta, references, any tags and bits, wrong calls."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from pertinent.errors import InputError
from pertinent.losses import HashNetLoss

TAGS = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]]).bool()
REF_TAGS = torch.tensor([[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 1, 0]]).bool()
CLASSES = torch.tensor([0, 1, 0, -1, 2, 1])


def batch(count: int = 6, bits: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, bits, dtype=torch.float64, generator=generator).requires_grad_()


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


def test_classes_are_single_tags_and_unlabelled_rows_are_out() -> None:
    loss, x, known = HashNetLoss().double(), batch(), CLASSES >= 0
    tags = nn.functional.one_hot(CLASSES[known], 4).bool()
    tree = torch.stack([CLASSES, CLASSES.clamp(min=0) // 2], dim=1)
    torch.testing.assert_close(loss(x, CLASSES), loss(x[known], tags))
    torch.testing.assert_close(loss(x, tree), loss(x, CLASSES))


def test_gradcheck() -> None:
    loss, z = HashNetLoss().double(), batch(4, seed=1)
    assert torch.autograd.gradcheck(lambda x: loss(x, TAGS), (batch(seed=2),))
    assert torch.autograd.gradcheck(lambda x, y: loss(x, TAGS, None, y, REF_TAGS), (batch(seed=2), z))


@pytest.mark.parametrize("bits", [1, 1000])
@pytest.mark.parametrize("tags", [TAGS, TAGS & False, TAGS | True, TAGS[:1], TAGS[:0]], ids=str)
def test_any_tags_and_bits(tags: Tensor, bits: int) -> None:
    for x in (batch(len(tags), bits), torch.zeros(len(tags), bits, requires_grad=True)):
        value = HashNetLoss()(x, tags)
        value.backward()
        assert value.isfinite()
        assert x.grad.isfinite().all()


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
