"""OrthoHashLoss: literal sums, both margins, quantisation, any classes and bits, wrong calls."""

from __future__ import annotations

import pytest
import torch
from code_batches import CENTRE_TAGS as TAGS
from code_batches import CLASSES, batch

from pertinent.errors import InputError
from pertinent.losses import OrthoHashLoss


@pytest.mark.parametrize("kind", ["cos", "arc"])
def test_is_the_literal_sum(kind: str) -> None:
    loss, x = OrthoHashLoss(4, 5, kind=kind, quantisation=0.3).double(), batch()  # type: ignore[arg-type]
    rows, gaps = [], []
    for i in range(6):
        if not TAGS[i].any():
            continue
        logits = []
        for c in range(4):
            cosine = (x[i] @ loss.centres[c]) / (x[i].norm() * loss.centres[c].norm())
            if TAGS[i, c]:
                cosine = cosine - 0.2 if kind == "cos" else (cosine.acos() + 0.2).cos()
            logits.append(8 * cosine)
        share = torch.stack(logits).softmax(0)
        rows.append(-sum(share[c].log() for c in range(4) if TAGS[i, c]) / TAGS[i].sum())
        gaps.append(1 - (x[i] @ x[i].sign()) / (x[i].norm() * 5**0.5))
    want = torch.stack(rows).mean() + 0.3 * torch.stack(gaps).mean()
    torch.testing.assert_close(loss(x, TAGS), want)
    assert float(sum(loss.components.values())) == pytest.approx(want.item())
    assert torch.autograd.gradcheck(lambda e: loss(e, TAGS), (x,))


@pytest.mark.parametrize(("classes", "bits"), [(20, 64), (48, 48), (36, 36), (12, 12)])
def test_codes_are_orthogonal(classes: int, bits: int) -> None:
    codes = OrthoHashLoss(classes, bits).centres
    torch.testing.assert_close(codes @ codes.T, bits * torch.eye(classes))


def test_lengths_do_not_matter() -> None:
    loss, x = OrthoHashLoss(4, 5).double(), batch()
    torch.testing.assert_close(loss(3 * x, TAGS), loss(x, TAGS))


def test_wrong_calls() -> None:
    with pytest.raises(InputError, match="at least 1"):
        OrthoHashLoss(0, 5)
    with pytest.raises(InputError, match="at least 1"):
        OrthoHashLoss(4, 0)
    with pytest.raises(InputError, match="scale must be positive"):
        OrthoHashLoss(4, 5, 0)
    with pytest.raises(InputError, match="margin must be at least 0"):
        OrthoHashLoss(4, 5, margin=-1)
    with pytest.raises(InputError, match="kind must be one of"):
        OrthoHashLoss(4, 5, kind="tan")
    loss, x = OrthoHashLoss(4, 5), batch()
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
