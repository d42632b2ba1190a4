"""What all losses for codes that draw images to centres keep to."""

from __future__ import annotations

import pytest
import torch
from code_batches import CENTRE_TAGS, CLASSES, batch
from torch import nn

from pertinent.errors import InputError
from pertinent.losses import CSQLoss, DPNLoss, GreedyHashLoss, HyP2Loss, OrthoHashLoss

CENTRES = [CSQLoss, DPNLoss, GreedyHashLoss, OrthoHashLoss]


@pytest.mark.parametrize("kind", [CSQLoss, DPNLoss, OrthoHashLoss])
def test_classes_are_single_tags_and_unlabelled_rows_are_out(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    loss, x, known = kind(4, 5).double(), batch(), CLASSES >= 0
    tree = torch.stack([CLASSES, CLASSES.clamp(min=0) // 2], dim=1)
    torch.testing.assert_close(loss(x, tree), loss(x, CLASSES))
    torch.testing.assert_close(loss(x, CLASSES), loss(x[known], CLASSES[known]))
    tags = CLASSES[:, None] == torch.arange(4)
    torch.testing.assert_close(loss(x, CLASSES), loss(x, tags))


@pytest.mark.parametrize("kind", CENTRES)
@pytest.mark.parametrize(("classes", "bits"), [(1, 1), (7, 1), (2, 1), (40, 5), (4, 1000), (300, 12)])
def test_any_number_of_classes_and_bits(classes: int, bits: int, kind: type[nn.Module]) -> None:
    loss = kind(classes, bits)
    tags = torch.zeros(4, classes, dtype=torch.bool)
    tags[0], tags[1, 0], tags[2, -1] = True, True, True
    for labels in (tags, tags & False, tags[:, 0].long() * (classes - 1), torch.full((4,), -1)):
        for x in (batch(4, bits).detach().float().requires_grad_(), torch.zeros(4, bits, requires_grad=True)):
            value = loss(x, labels)
            value.backward()
            assert value.isfinite()
            assert x.grad.isfinite().all()
    assert loss(batch(0, bits), tags[:0]) == 0


@pytest.mark.parametrize("kind", [*CENTRES, HyP2Loss])
def test_a_tree_is_its_finest_column_and_zeros_and_ones_of_any_type_are_tags(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    loss, x, tags = kind(4, 5).double(), batch(), CENTRE_TAGS
    for labels in (tags.long(), tags.to(torch.uint8)):
        torch.testing.assert_close(loss(x, labels), loss(x, tags))
    tree = torch.stack([CLASSES, CLASSES.clamp(min=0) // 2, torch.zeros(6).long()], dim=1)
    torch.testing.assert_close(loss(x, tree), loss(x, CLASSES))
    flat = torch.tensor([[0, 0], [1, 1], [1, 1], [0, 0], [1, 1], [0, 0]])
    torch.testing.assert_close(loss(x, flat), loss(x, flat[:, 0]))
    with pytest.raises(InputError, match=r"labels \(6, 3\) of 0 and 1 are no tree.*write labels > 0"):
        loss(x, tags[:, 1:].long())
