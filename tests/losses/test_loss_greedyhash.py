"""GreedyHashLoss: literal sums, straight gradient, several tags, any classes and bits, wrong calls."""

from __future__ import annotations

import pytest
import torch
from code_batches import CENTRE_TAGS as TAGS
from code_batches import CLASSES, batch
from torch import Tensor, nn

from pertinent.errors import InputError
from pertinent.losses import GreedyHashLoss


def build() -> GreedyHashLoss:
    torch.manual_seed(0)
    return GreedyHashLoss(4, 5, alpha=0.3).double()


def literal(loss: GreedyHashLoss, x: Tensor, codes: Tensor) -> Tensor:
    rows, gaps = [], []
    for i in range(6):
        logits = loss.classifier.weight @ codes[i] + loss.classifier.bias
        share = logits.sigmoid()
        rows.append(-sum((share[c] if TAGS[i, c] else 1 - share[c]).log() for c in range(4)) / 4)
        gaps.append(((x[i].abs() - 1).abs() ** 3).mean())
    return torch.stack(rows).mean() + 0.3 * torch.stack(gaps).mean()


def test_tags_are_told_one_by_one() -> None:
    loss, x = build(), batch()
    want = literal(loss, x, x.detach().sign())
    torch.testing.assert_close(loss(x, TAGS), want)
    assert float(sum(loss.components.values())) == pytest.approx(want.item())


def test_one_class_is_told_by_softmax() -> None:
    loss, x, known = build(), batch(), CLASSES >= 0
    logits = x.sign() @ loss.classifier.weight.T + loss.classifier.bias
    rows = nn.functional.cross_entropy(logits[known], CLASSES[known])
    gaps = (x[known].abs() - 1).abs().pow(3).mean()
    torch.testing.assert_close(loss(x, CLASSES), rows + 0.3 * gaps)


def test_the_gradient_passes_straight_through_the_sign() -> None:
    loss, x = build(), batch()
    codes = x.detach().sign().requires_grad_()
    in_x, in_codes = torch.autograd.grad(literal(loss, x, codes), (x, codes))
    (found,) = torch.autograd.grad(loss(x, TAGS), x)
    torch.testing.assert_close(found, in_x + in_codes)


def test_gradcheck_of_the_classifier() -> None:
    loss, x = build(), batch().detach()

    def value(weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(loss, {"classifier.weight": weight, "classifier.bias": bias}, (x, TAGS))

    assert torch.autograd.gradcheck(value, (loss.classifier.weight, loss.classifier.bias))


def test_a_zero_output_is_a_positive_bit() -> None:
    loss = build()
    assert loss(torch.zeros(1, 5).double(), TAGS[:1]) == loss.components["classes"] + 0.3
    ones = loss(torch.ones(1, 5).double(), TAGS[:1])
    torch.testing.assert_close(loss(torch.zeros(1, 5).double(), TAGS[:1]) - 0.3, ones)


def test_an_image_without_tags_counts() -> None:
    loss = build()
    assert loss(batch(1), TAGS[4:5]) > 0


def test_classes_are_single_tags_and_unlabelled_rows_are_out() -> None:
    torch.manual_seed(0)
    loss, x, known = GreedyHashLoss(4, 5).double(), batch(), CLASSES >= 0
    tree = torch.stack([CLASSES, CLASSES.clamp(min=0) // 2], dim=1)
    torch.testing.assert_close(loss(x, tree), loss(x, CLASSES))
    torch.testing.assert_close(loss(x, CLASSES), loss(x[known], CLASSES[known]))


def test_wrong_calls() -> None:
    with pytest.raises(InputError, match="at least 1"):
        GreedyHashLoss(0, 5)
    with pytest.raises(InputError, match="at least 1"):
        GreedyHashLoss(4, 0)
    with pytest.raises(InputError, match="alpha must be at least 0"):
        GreedyHashLoss(4, 5, -1)
    loss, x = GreedyHashLoss(4, 5), batch()
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
