"""Every loss for codes, on its own: a linear layer learns codes that rank unseen multi-label features better."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pertinent as pt
from pertinent.losses import LOSSES

BITS, TAGS, DIM = 16, 12, 32
NAMES = ["csq", "dch", "dhn", "dpn", "dpsh", "dsh", "greedyhash", "hashnet", "idhn", "orthohash", "hyp2"]


def features(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images of one to three tags: the sum of their tags' directions, and noise, most of it in half of the numbers."""
    directions = torch.randn(TAGS, DIM, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    tags = torch.rand(count, TAGS, generator=generator) < 0.06
    tags[torch.arange(count), torch.randint(TAGS, (count,), generator=generator)] = True
    noise = torch.randn(count, DIM, generator=generator)
    noise[:, DIM // 2 :] *= 4
    return tags.float() @ directions + noise, tags


def mean_ap(network: nn.Module) -> float:
    x, tags = features(300, 2)
    with torch.no_grad():
        codes = np.where(network(x).numpy() >= 0, 1.0, -1.0)
    relevance = pt.Relevance.tags(tags.numpy())
    return float(pt.evaluate(codes, relevance=relevance, metrics=["ap"], similarity="hamming").mean["ap"])


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_codes(name: str) -> None:
    torch.manual_seed(0)
    network = nn.Linear(DIM, BITS)
    known = {"num_classes": TAGS, "bits": BITS}
    loss = LOSSES.build(name, **{key: known[key] for key in LOSSES.options(name) if key in known})
    before = mean_ap(network)
    optimiser = torch.optim.Adam([*network.parameters(), *loss.parameters()], lr=0.01)
    for step in range(150):
        x, tags = features(64, 10 + step)
        value = loss(network(x), tags)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    assert value.isfinite()
    assert mean_ap(network) > before + 0.12


@pytest.mark.parametrize(("name", "options"), [("quantisation", {}), ("bit_balance", {"decorrelation": 1.0})])
def test_a_term_alone_gets_what_it_asks_for(name: str, options: dict[str, float]) -> None:
    torch.manual_seed(0)
    network, term = nn.Linear(DIM, BITS), LOSSES.build(name, **options)
    nn.init.ones_(network.bias)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    x, tags = features(300, 2)
    before = term(network(x), tags).item()
    for step in range(80):
        inputs, labels = features(64, 10 + step)
        optimiser.zero_grad()
        term(network(inputs), labels).backward()
        optimiser.step()
    assert term(network(x), tags).item() < 0.5 * before
