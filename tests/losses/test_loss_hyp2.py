"""HyP2Loss: literal sums, threshold rule, pair scope, references, two modalities, class labels, wrong calls."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from pertinent.errors import InputError
from pertinent.functional.code_distance import code_threshold, griesmer
from pertinent.losses import HyP2Loss

TAGS = torch.tensor(
    [[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 1, 0, 0], [1, 0, 0, 0, 1], [0, 0, 0, 0, 0], [0, 1, 0, 1, 0]]
).bool()


def batch(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(6, 8, dtype=torch.float64, generator=generator).requires_grad_()


def build(**options: object) -> HyP2Loss:
    torch.manual_seed(0)
    return HyP2Loss(5, 8, **options).double()  # type: ignore[arg-type]


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b) / (a.norm() * b.norm())


def literal_proxies(x: Tensor, proxies: Tensor, tags: Tensor, zeta: float) -> Tensor:
    near, far = [], []
    for i in range(len(x)):
        for c in range(len(proxies)):
            s = cosine(x[i], proxies[c])
            if tags[i, c]:
                near.append(1 - s)
            else:
                far.append((s - zeta).clamp(min=0))
    return torch.stack(near).mean() + torch.stack(far).mean()


def literal_pairs(x: Tensor, z: Tensor, ref_tags: Tensor, zeta: float, least: int) -> Tensor:
    terms = []
    for i in range(len(x)):
        for j in range(len(z)):
            enough = TAGS[i].sum() >= least and ref_tags[j].sum() >= least
            if enough and not (TAGS[i] & ref_tags[j]).any():
                terms.append((cosine(x[i], z[j]) - zeta).clamp(min=0))
    return torch.stack(terms).mean()


@pytest.mark.parametrize(("scope", "least"), [("multi", 2), ("all", 1)])
@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float64])
def test_is_the_literal_sum(scope: str, least: int, dtype: torch.dtype) -> None:
    loss, x = build(beta=0.7, threshold=-0.3, pair_scope=scope), batch()
    expected = literal_proxies(x, loss.proxies, TAGS, -0.3) + 0.7 * literal_pairs(x, x, TAGS, -0.3, least)
    value = loss(x, TAGS.to(dtype))
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(sum(loss.components.values()), value.detach())
    assert not any(term.requires_grad for term in loss.components.values())


def test_references_take_the_place_of_the_batch_in_the_pairs() -> None:
    loss, x, z = build(threshold=0.0), batch(1), batch(2)
    expected = literal_proxies(x, loss.proxies, TAGS, 0.0) + 0.5 * literal_pairs(x, z, TAGS.flip(0), 0.0, 2)
    torch.testing.assert_close(loss(x, TAGS, None, z, TAGS.flip(0)), expected)


def test_two_modalities_share_the_proxies() -> None:
    loss, x, z = build(threshold=0.0), batch(1), batch(2)
    proxies = literal_proxies(x, loss.proxies, TAGS, 0.0) + literal_proxies(z, loss.proxies, TAGS, 0.0)
    pairs = sum(literal_pairs(a, b, TAGS, 0.0, 2) for a, b in ((x, x), (x, z), (z, z)))
    torch.testing.assert_close(loss.cross_modal(x, z, TAGS), proxies + 0.5 * pairs)
    torch.testing.assert_close(loss.cross_modal(z, x, TAGS), proxies + 0.5 * pairs)
    with pytest.raises(InputError, match="labels must be"):
        loss.cross_modal(x, z[:3], TAGS)


def test_classes_are_single_tags() -> None:
    loss, labels = build(), torch.tensor([0, 1, 4, 2, -1, 3])
    tags = nn.functional.one_hot(labels.clamp(min=0), 5).bool() & (labels >= 0)[:, None]
    torch.testing.assert_close(loss(batch(), labels), loss(batch(), tags))


def test_gradcheck() -> None:
    loss = build(threshold=0.05, pair_scope="all")

    def value(x: Tensor, proxies: Tensor) -> Tensor:
        return torch.func.functional_call(loss, {"proxies": proxies}, (x, TAGS))

    assert torch.autograd.gradcheck(value, (batch(3), loss.proxies))


@pytest.mark.parametrize("tags", [torch.zeros(6, 5), torch.ones(6, 5), torch.zeros(0, 5)], ids=["none", "all", "empty"])
def test_a_term_without_pairs_is_zero(tags: Tensor) -> None:
    loss, x = build(), batch().detach()[: len(tags)].requires_grad_()
    value = loss(x, tags.bool())
    value.backward()
    assert value.isfinite()
    assert x.grad.isfinite().all()
    assert loss.components["pair"] == 0


class Waits(TorchDispatchMode):
    """Names of operations whose result the processor must wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(word in str(func) for word in ("nonzero", "_local_scalar_dense", "unique", "masked_select")):
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_an_accelerator() -> None:
    loss, x = build(), batch()
    with Waits() as waits:
        loss(x, TAGS).backward()
        loss(x, TAGS, None, x, TAGS)
        loss.cross_modal(x, x, TAGS)
    assert waits.found == []


def test_threshold_is_chosen_and_said() -> None:
    loss = HyP2Loss(20, 36)
    assert loss.threshold == pytest.approx(1 / 18)
    assert "20 classes need 2^5 words" in repr(loss)
    assert "17 bits" in loss.threshold_reason
    assert HyP2Loss(20, 36, threshold=0.2).threshold_reason == "given"


@pytest.mark.parametrize(
    ("classes", "bits", "words"),
    [
        (1, 8, "Griesmer"),
        (16, 300, "Griesmer"),
        (300, 64, "table"),
        (100, 1000, "lengthened: a lower bound"),
        (1000, 600, "lengthened: a lower bound"),
        (3_000_000, 64, "Varshamov"),
        (600, 4, "some classes must share one"),
    ],
)
def test_thresholds_for_any_classes_and_bits(classes: int, bits: int, words: str) -> None:
    chosen = code_threshold(classes, bits)
    k = max(1, (classes - 1).bit_length())
    assert words in chosen.reason
    assert 1 <= chosen.distance <= max(griesmer(bits, k), 1)
    assert chosen.cosine == 1 - 2 * chosen.distance / bits


def test_longer_codes_are_never_nearer() -> None:
    for k in (5, 8, 9, 14, 30):
        distances = [code_threshold(2**k, bits).distance for bits in range(k, 700, 7)]
        assert distances == sorted(distances)


def test_wrong_calls() -> None:
    with pytest.raises(InputError, match="at least 1"):
        HyP2Loss(0, 8)
    with pytest.raises(InputError, match="pair_scope must be"):
        HyP2Loss(5, 8, pair_scope="some")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="threshold is a cosine"):
        HyP2Loss(5, 8, threshold=2.0)
    loss, x = build(), batch()
    with pytest.raises(InputError, match=r"embeddings must be \(B, 8\)"):
        loss(x[:, :4], TAGS)
    with pytest.raises(InputError, match=r"labels must be \(6, 5\)"):
        loss(x, TAGS[:, :3])
    with pytest.raises(InputError, match="label 7 is outside"):
        loss(x, torch.tensor([0, 1, 2, 3, 4, 7]))
    with pytest.raises(InputError, match="belong together"):
        loss(x, TAGS, ref_emb=x)
    with pytest.raises(InputError, match="indices_tuple"):
        loss(x, TAGS, (torch.tensor([0]),) * 4)
