"""PMLLoss: levels, weights, tags, miners, references, mined tuples, wrong calls."""

from __future__ import annotations

import builtins
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pertinent.errors import InputError, MissingDependencyError, UnknownNameError
from pertinent.losses import PMLLoss, TripletLoss
from pertinent.losses.pml import LABEL_FREE, as_pml_loss

library = pytest.importorskip("pytorch_metric_learning")
from pytorch_metric_learning import losses, miners, reducers  # noqa: E402

TREE = torch.tensor([[0, 0], [0, 0], [1, 0], [1, 0], [2, 1], [2, 1], [3, 1], [3, 1]])
TAGS = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [0, 0, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1]]).bool()


def batch(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(8, 5, dtype=torch.float64, generator=generator)
    return nn.functional.normalize(drawn).requires_grad_()


@pytest.mark.parametrize("level", [0, 1])
def test_a_level_is_the_loss_of_that_column(level: int) -> None:
    leaf, inner = batch(), losses.MultiSimilarityLoss()
    torch.testing.assert_close(PMLLoss(inner, level=level)(leaf, TREE), inner(leaf, TREE[:, level]))
    torch.testing.assert_close(PMLLoss(inner)(leaf, TREE[:, level]), inner(leaf, TREE[:, level]))


def test_weights_sum_the_levels() -> None:
    leaf, inner = batch(), losses.TripletMarginLoss()
    expected = 0.75 * inner(leaf, TREE[:, 0]) + 0.25 * inner(leaf, TREE[:, 1])
    torch.testing.assert_close(PMLLoss(inner, weights=[0.75, 0.25])(leaf, TREE), expected)


def test_miner_sees_the_level_and_passes_no_gradient() -> None:
    leaf, inner, miner = batch(), losses.TripletMarginLoss(margin=0.5), miners.BatchHardMiner()
    mined = miner(leaf, TREE[:, 1])
    torch.testing.assert_close(PMLLoss(inner, miner, 1)(leaf, TREE), inner(leaf, TREE[:, 1], mined))
    hard = TripletLoss(0.5, mining="hard", level=1, reduction="avg_non_zero")(leaf, TREE)
    torch.testing.assert_close(PMLLoss(inner, miner, 1)(leaf, TREE), hard, rtol=1e-4, atol=1e-4)


def test_built_by_name() -> None:
    torch.manual_seed(0)
    loss = PMLLoss("ProxyAnchorLoss", options={"num_classes": 4, "embedding_size": 5, "margin": 0.2}).double()
    assert {name for name, _ in loss.named_parameters()} == {"inner.proxies"}
    loss(batch(), TREE).backward()
    assert loss.inner.proxies.grad.any()
    mined = PMLLoss("TripletMarginLoss", "TripletMarginMiner", miner_options={"margin": 0.3})
    assert mined.miner.margin == 0.3


def test_tags_make_pairs_of_those_that_share_one() -> None:
    leaf = batch()
    inner = losses.ContrastiveLoss(pos_margin=0, neg_margin=1, reducer=reducers.MeanReducer())
    near, far = [], []
    for i in range(8):
        for j in range(8):
            if i != j and TAGS[i].any() and TAGS[j].any():
                d = (leaf[i] - leaf[j]).norm()
                if (TAGS[i] & TAGS[j]).any():
                    near.append(d)
                else:
                    far.append((1 - d).clamp(min=0))
    expected = torch.stack(near).mean() + torch.stack(far).mean()
    torch.testing.assert_close(PMLLoss(inner)(leaf, TAGS), expected, rtol=1e-6, atol=1e-6)


def test_one_tag_each_is_a_class() -> None:
    leaf, classes = batch(), TREE[:, 0]
    single = nn.functional.one_hot(classes).bool()
    for name in sorted(LABEL_FREE):
        loss = PMLLoss(name)
        torch.testing.assert_close(loss(leaf, single), loss(leaf, classes), msg=name)


def pairs(mined: tuple[list[int], ...]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Positive and negative pairs, sorted."""
    second = mined[0] if len(mined) == 3 else mined[2]
    return sorted(zip(mined[0], mined[1], strict=True)), sorted(zip(second, mined[-1], strict=True))


@pytest.mark.parametrize("miner", ["BatchHardMiner", "MultiSimilarityMiner", "TripletMarginMiner", "PairMarginMiner"])
def test_miners_on_tags(miner: str) -> None:
    """One tag each mines as classes do; with several tags the pairs keep to what `shares a tag` says."""
    leaf, classes, loss = batch(), TREE[:, 0], PMLLoss(_Recording(), miner)
    loss(leaf, nn.functional.one_hot(classes).bool())
    by_tags = pairs(loss.inner.seen)
    loss(leaf, classes)
    assert by_tags == pairs(loss.inner.seen)
    loss(leaf, TAGS)
    near, far = pairs(loss.inner.seen)
    assert near
    assert all(i != j and (TAGS[i] & TAGS[j]).any() for i, j in near)
    assert all(TAGS[i].any() and TAGS[j].any() and not (TAGS[i] & TAGS[j]).any() for i, j in far)


class _Recording(losses.TripletMarginLoss):
    seen: tuple[list[int], ...] = ()

    def forward(self, *args: Any) -> Tensor:
        self.seen = tuple(part.tolist() for part in args[2])
        return super().forward(*args)


def test_hardest_pair_of_an_image_with_tags() -> None:
    leaf = batch()
    loss = PMLLoss(_Recording(), "BatchHardMiner")
    loss(leaf, TAGS)
    apart = torch.cdist(leaf, leaf)
    expected = []
    for i in range(8):
        near = [j for j in range(8) if j != i and (TAGS[i] & TAGS[j]).any()]
        far = [j for j in range(8) if TAGS[i].any() and TAGS[j].any() and not (TAGS[i] & TAGS[j]).any()]
        if near and far:
            expected.append((i, max(near, key=lambda j: apart[i, j]), min(far, key=lambda j: apart[i, j])))
    assert sorted(zip(*loss.inner.seen, strict=True)) == expected


def test_unlabelled_rows_are_left_out() -> None:
    leaf, labels, inner = batch(), TREE[:, 0].clone(), losses.MultiSimilarityLoss()
    labels[[1, 6]] = -1
    keep = torch.tensor([0, 2, 3, 4, 5, 7])
    expected = inner(leaf[keep], labels[keep])
    torch.testing.assert_close(PMLLoss(inner)(leaf, labels), expected)
    loss = PMLLoss(_Recording())
    pairs = tuple(torch.tensor(part) for part in ([2, 6, 4], [3, 7, 5], [2, 3, 7], [4, 1, 0]))
    loss(leaf, labels, pairs)
    assert loss.inner.seen == ([1, 3], [2, 4], [1, 5], [3, 0])
    loss(leaf, labels, tuple(torch.tensor(part) for part in ([2, 0], [3, 1], [4, 2])))
    assert loss.inner.seen == ([1], [2], [3])


def test_nothing_labelled_costs_nothing() -> None:
    for labels in (torch.full((8,), -1), torch.zeros(8, 3, dtype=torch.bool)):
        for miner in (None, "BatchHardMiner"):
            leaf = batch()
            loss = PMLLoss("TripletMarginLoss", miner)(leaf, labels)
            loss.backward()
            assert loss == 0
            assert not leaf.grad.any()


def test_references() -> None:
    queries, items, inner = batch(1), batch(2), losses.MultiSimilarityLoss()
    ref_labels = TREE.flip(0).clone()
    ref_labels[3] = -1
    keep = torch.tensor([0, 1, 2, 4, 5, 6, 7])
    expected = inner(queries, TREE[:, 0], None, items[keep], ref_labels[keep, 0])
    torch.testing.assert_close(PMLLoss(inner)(queries, TREE, None, items, ref_labels), expected)
    tags = nn.functional.one_hot(TREE[:, 0], 4).bool()
    on_tags = PMLLoss(inner)(queries, tags, None, items, tags.flip(0))
    torch.testing.assert_close(on_tags, inner(queries, TREE[:, 0], None, items, TREE[:, 0].flip(0)))


def test_ours_where_the_library_wants_its_own() -> None:
    from pytorch_metric_learning.utils.distributed import DistributedLossWrapper

    leaf, ours = batch(), TripletLoss(0.4)
    wrapped = as_pml_loss(ours)
    assert isinstance(wrapped, losses.BaseMetricLossFunction)
    torch.testing.assert_close(wrapped(leaf, TREE), ours(leaf, TREE))
    assert isinstance(DistributedLossWrapper(wrapped), nn.Module)


def test_wrong_calls() -> None:
    leaf, one = batch(), torch.tensor([0])
    with pytest.raises(UnknownNameError, match="did you mean 'TripletMarginLoss'"):
        PMLLoss("TripletMarginLos")
    with pytest.raises(UnknownNameError, match="pytorch-metric-learning miner 'Best'"):
        PMLLoss("TripletMarginLoss", "Best")
    with pytest.raises(InputError, match="margins"):
        PMLLoss("TripletMarginLoss", options={"margins": 0.1})
    with pytest.raises(InputError, match="given by name, not to a built one"):
        PMLLoss(losses.TripletMarginLoss(), options={"margin": 0.1})
    with pytest.raises(InputError, match="belong to a miner given by name"):
        PMLLoss("TripletMarginLoss", miner_options={"margin": 0.1})
    with pytest.raises(InputError, match="either level=1 or weights"):
        PMLLoss("TripletMarginLoss", level=1, weights=[1.0, 1.0])
    with pytest.raises(InputError, match="indices_tuple fits neither"):
        PMLLoss("TripletMarginLoss", "BatchHardMiner")(leaf, TREE, (one, one, one))
    with pytest.raises(InputError, match="levels=3 was declared"):
        PMLLoss("TripletMarginLoss", weights=[1.0, 1.0, 1.0])(leaf, TREE)
    with pytest.raises(InputError, match="FastAPLoss needs classes and cannot take tags"):
        PMLLoss("FastAPLoss")(leaf, TAGS)
    with pytest.raises(InputError, match="leave weights None"):
        PMLLoss("TripletMarginLoss", weights=[1.0])(leaf, TAGS)
    with pytest.raises(InputError, match=r"tags must be \(B, C\) bool"):
        PMLLoss("TripletMarginLoss")(leaf, TAGS[:3])
    with pytest.raises(InputError, match="belong together"):
        PMLLoss("TripletMarginLoss")(leaf, TREE, ref_emb=leaf)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def no_import(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pytorch_metric_learning"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.startswith("pytorch_metric_learning")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(builtins, "__import__", no_import)
    with pytest.raises(MissingDependencyError, match="pip install pytorch-metric-learning"):
        PMLLoss("TripletMarginLoss")
    with pytest.raises(MissingDependencyError):
        as_pml_loss(TripletLoss())
