"""What all losses for codes that compare pairs of images keep to."""

from __future__ import annotations

import pytest
import torch
from code_batches import CLASSES, REF_TAGS, TAGS, batch
from torch import Tensor, nn

from pertinent.errors import InputError
from pertinent.losses import DCHLoss, DHNLoss, DPSHLoss, DSHLoss, HashNetLoss, IDHNLoss

PAIRS = [DHNLoss, IDHNLoss, DPSHLoss, DSHLoss, DCHLoss, HashNetLoss]


@pytest.mark.parametrize("kind", PAIRS)
def test_classes_are_single_tags_and_unlabelled_rows_are_out(kind: type[nn.Module]) -> None:
    loss, x, known = kind().double(), batch(), CLASSES >= 0
    tags = nn.functional.one_hot(CLASSES[known], 4).bool()
    tree = torch.stack([CLASSES, CLASSES.clamp(min=0) // 2], dim=1)
    torch.testing.assert_close(loss(x, CLASSES), loss(x[known], tags))
    torch.testing.assert_close(loss(x, tree), loss(x, CLASSES))


@pytest.mark.parametrize("kind", PAIRS)
def test_tags_written_as_integers_are_not_taken_for_a_tree(kind: type[nn.Module]) -> None:
    loss, x = kind().double(), batch()
    with pytest.raises(InputError, match=r"labels \(6, 4\) of 0 and 1 are no tree.*write labels > 0"):
        loss(x, TAGS.long())
    with pytest.raises(InputError, match="write labels > 0"):
        loss(x, CLASSES, None, x, TAGS.long())
    flat = torch.tensor([[0, 0], [1, 1], [1, 1], [0, 0], [1, 1], [0, 0]])
    torch.testing.assert_close(loss(x, flat), loss(x, flat[:, 0]))


@pytest.mark.parametrize("kind", PAIRS)
def test_gradcheck(kind: type[nn.Module]) -> None:
    loss, z = kind().double(), batch(4, seed=1)
    assert torch.autograd.gradcheck(lambda x: loss(x, TAGS), (batch(seed=2),))
    assert torch.autograd.gradcheck(lambda x, y: loss(x, TAGS, None, y, REF_TAGS), (batch(seed=2), z))


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("bits", [1, 1000])
@pytest.mark.parametrize("tags", [TAGS, TAGS & False, TAGS | True, TAGS[:1], TAGS[:0]], ids=str)
def test_any_tags_and_bits(tags: Tensor, bits: int, kind: type[nn.Module]) -> None:
    for x in (batch(len(tags), bits), torch.zeros(len(tags), bits, requires_grad=True)):
        value = kind()(x, tags)
        value.backward()
        assert value.isfinite()
        assert x.grad.isfinite().all()
