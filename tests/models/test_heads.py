from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pertinent.functional.pooling import average_max_pool, average_pool, gem_pool, max_pool
from pertinent.models.heads import Head, Pool

GOLDEN = Path(__file__).parents[1] / "golden" / "happier" / "head_01.npz"


def golden() -> dict[str, torch.Tensor]:
    with np.load(GOLDEN) as stored:
        return {key: torch.from_numpy(stored[key]) for key in stored}


@pytest.mark.parametrize(("pool", "word"), [("average", "avg"), ("max", "max")])
@pytest.mark.parametrize(("layer_norm", "norm"), [("before", "ln"), ("none", "noln")])
def test_embedding_agrees_with_happier(pool, word, layer_norm, norm):
    data = golden()
    head = Head(24, 8, layer_norm).double()
    head.linear.load_state_dict({"weight": data["fc_weight"], "bias": data["fc_bias"]})
    embedding = torch.nn.functional.normalize(head(Pool(pool)(data["feature_map"])), dim=1)
    torch.testing.assert_close(embedding.detach(), data[f"{word}_{norm}_embedding"], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "function"),
    [("average", average_pool), ("max", max_pool), ("average+max", average_max_pool), ("gem", gem_pool)],
)
def test_pool_by_name(name, function):
    maps = golden()["feature_map"]
    torch.testing.assert_close(Pool(name).double()(maps).detach(), function(maps), rtol=1e-12, atol=1e-12)


def test_only_gem_learns_and_its_power_starts_at_three():
    assert [p.tolist() for p in Pool("gem").parameters()] == [[3.0]]
    pool = Pool("gem")
    pool(golden()["feature_map"]).sum().backward()
    assert pool.p.grad is not None
    assert pool.p.grad.abs().item() > 0
    assert not list(Pool("average+max").parameters())


@pytest.mark.parametrize("layer_norm", ["none", "before", "after"])
@pytest.mark.parametrize("dim", [None, 5])
def test_head_is_its_parts_in_order(layer_norm, dim):
    pooled = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    head = Head(9, dim, layer_norm)
    want = torch.nn.functional.layer_norm(pooled, (9,)) if layer_norm == "before" else pooled
    want = want if dim is None else want @ head.linear.weight.T + head.linear.bias
    want = torch.nn.functional.layer_norm(want, want.shape[1:]) if layer_norm == "after" else want
    torch.testing.assert_close(head(pooled), want)
    assert head.dim == (dim or 9)
    # The LayerNorm has no weights of its own, as in HAPPIER and HIST.
    assert [name for name, _ in head.named_parameters()] == ([] if dim is None else ["linear.weight", "linear.bias"])


def test_own_leaves_the_pooling_to_the_backbone():
    pooled = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    assert Pool("own")(pooled) is pooled


def test_dropout_of_the_pooled_vector_before_the_linear_layer():
    """Torchvision's Inception-v3 has it before its classifier, which a hash layer replaces."""
    torch.manual_seed(0)
    head, pooled = Head(400, 400, "none", dropout=0.5), torch.ones(8, 400)
    head.linear.load_state_dict({"weight": torch.eye(400), "bias": torch.zeros(400)})
    training = head(pooled)
    assert set(training.unique().tolist()) == {0.0, 2.0}
    assert 0.4 < (training == 0).float().mean() < 0.6
    torch.testing.assert_close(head.eval()(pooled), pooled)
