"""What every registered loss must do, whatever it is.

A new loss needs nothing here, unless its constructor has a new option without a default (add it to OPTIONS) or it takes
other labels than classes (add it to LABELS).
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pertinent.errors import InputError
from pertinent.losses import LOSSES

B, D, C = 16, 8, 4
CLASSES = torch.arange(B) % C
TREE = torch.stack([CLASSES, CLASSES // 2], dim=1)
TAGS = nn.functional.one_hot(CLASSES, C).bool() | nn.functional.one_hot(torch.arange(B) // 8, C).bool()

OPTIONS: dict[str, Any] = {
    "num_classes": C,
    "dim": D,
    "bits": D,
    "proxy_labels": TREE.unique(dim=0),
    "margins": (0.25, 0.45),
    "inner": "MultiSimilarityLoss",
}
NEEDS = {"pml": "pytorch_metric_learning"}
LABELS: dict[str, Tensor] = {"hap": TREE, "csl": TREE, "hyp2": TAGS}
NAMES = LOSSES.names()


def build(name: str, seed: int = 0) -> nn.Module:
    required = [key for key, value in LOSSES.options(name).items() if value.default is value.empty]
    missing = [key for key in required if key not in OPTIONS]
    assert not missing, f"add {missing} to OPTIONS so that {name} can be built"
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    torch.manual_seed(seed)
    module = LOSSES.build(name, **{key: OPTIONS[key] for key in required})
    assert isinstance(module, nn.Module)
    return module


def labels_of(name: str) -> Tensor:
    return LABELS.get(name, CLASSES)


def embeddings(dtype: torch.dtype = torch.float32, norm: float = 1.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    unit = nn.functional.normalize(torch.randn(B, D, dtype=torch.float64, generator=generator))
    return (unit * norm).to(dtype).requires_grad_()


def check_finite(module: nn.Module, leaf: Tensor, labels: Tensor) -> Tensor:
    loss = module(leaf, labels)
    assert loss.ndim == 0
    assert loss.isfinite()
    loss.backward()
    assert leaf.grad is not None
    assert leaf.grad.dtype == leaf.dtype
    for tensor in (leaf, *module.parameters()):
        assert tensor.grad is None or tensor.grad.isfinite().all()
    return loss


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_value_and_gradient_are_finite(name: str, dtype: torch.dtype) -> None:
    leaf = embeddings(dtype)
    loss = check_finite(build(name).to(dtype), leaf, labels_of(name))
    assert loss.dtype == dtype
    assert leaf.grad is not None
    assert leaf.grad.any()


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns(name: str) -> None:
    module = build(name)
    check_finite(module, embeddings(), labels_of(name))
    for key, parameter in module.named_parameters():
        assert parameter.grad is not None, f"{key} has no gradient"
        assert parameter.grad.any(), f"{key} has a zero gradient"


@pytest.mark.parametrize("name", NAMES)
def test_precisions_agree(name: str) -> None:
    module = build(name)
    narrow, wide = embeddings(), embeddings(torch.float64)
    loss = check_finite(module, narrow, labels_of(name))
    exact = check_finite(build(name).double(), wide, labels_of(name))
    torch.testing.assert_close(loss.double(), exact, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_autocast(name: str) -> None:
    """Under bfloat16 autocast the result stays wide, finite, and near the full-precision one."""
    leaf = embeddings()
    exact = build(name)(leaf, labels_of(name))
    module = build(name)
    with torch.autocast("cpu", torch.bfloat16):
        loss = module(leaf, labels_of(name))
    loss.backward()
    assert loss.dtype == torch.float32
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()
    torch.testing.assert_close(loss, exact, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_narrow_embeddings(name: str) -> None:
    leaf = embeddings(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        loss = build(name)(leaf, labels_of(name))
    loss.backward()
    assert loss.dtype == torch.float32
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_order_of_the_batch_does_not_matter(name: str) -> None:
    order = torch.randperm(B, generator=torch.Generator().manual_seed(1))
    leaf, moved = embeddings(torch.float64), embeddings(torch.float64).detach()[order].requires_grad_()
    loss = check_finite(build(name).double(), leaf, labels_of(name))
    other = check_finite(build(name).double(), moved, labels_of(name)[order])
    torch.testing.assert_close(other, loss)
    assert leaf.grad is not None
    torch.testing.assert_close(moved.grad, leaf.grad[order])


@pytest.mark.parametrize("name", NAMES)
def test_class_ids_do_not_matter(name: str) -> None:
    """Unless the loss has parameters or centres of its own for each class."""
    new_ids = torch.tensor([10**12, 3, 0, 77])
    leaf, labels = embeddings(torch.float64), labels_of(name)
    module = build(name).double()
    if list(module.parameters()) or "num_classes" in LOSSES.options(name):
        return
    torch.testing.assert_close(module(leaf, new_ids[labels]), module(leaf, labels))


# What goes straight through a sign is not the numerical gradient.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "greedyhash"])
def test_gradcheck(name: str) -> None:
    """Only in the embeddings; the losses' own tests look at their parameters."""
    module, rows = build(name).double(), slice(0, 6)
    # Not of norm 1: an item's score with itself would lie on the centre of a bin.
    leaf = embeddings(torch.float64, norm=0.9).detach()[rows].requires_grad_()
    assert torch.autograd.gradcheck(lambda e: module(e, labels_of(name)[rows]), (leaf,), atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_items(name: str, count: int) -> None:
    leaf = embeddings().detach()[:count].requires_grad_()
    check_finite(build(name), leaf, labels_of(name)[:count])


@pytest.mark.parametrize("name", NAMES)
def test_nobody_has_a_positive(name: str) -> None:
    labels = torch.eye(C).bool() if labels_of(name).dtype == torch.bool else labels_of(name)[:C]
    check_finite(build(name), embeddings().detach()[:C].requires_grad_(), labels)


@pytest.mark.parametrize("name", NAMES)
def test_nobody_has_a_negative(name: str) -> None:
    check_finite(build(name), embeddings(), labels_of(name)[:1].expand_as(labels_of(name)).clone())


@pytest.mark.parametrize("name", NAMES)
def test_nobody_has_a_label(name: str) -> None:
    labels = labels_of(name)
    none = torch.zeros_like(labels) if labels.dtype == torch.bool else torch.full_like(labels, -1)
    leaf = embeddings()
    loss = check_finite(build(name), leaf, none)
    if labels.dtype != torch.bool:
        assert loss == 0
        assert not leaf.grad.any()


@pytest.mark.parametrize("name", NAMES)
def test_equal_embeddings(name: str) -> None:
    leaf = nn.functional.normalize(torch.ones(B, D)).requires_grad_()
    check_finite(build(name), leaf, labels_of(name))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("norm", [1e-3, 1.0, 1e3])
def test_any_norm(name: str, norm: float) -> None:
    check_finite(build(name), embeddings(norm=norm), labels_of(name))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("name", NAMES)
def test_cuda_agrees(name: str) -> None:
    leaf, there = embeddings(torch.float64), embeddings(torch.float64).detach().cuda().requires_grad_()
    loss = check_finite(build(name).double(), leaf, labels_of(name))
    other = check_finite(build(name).double().cuda(), there, labels_of(name).cuda())
    torch.testing.assert_close(other.cpu(), loss)
    torch.testing.assert_close(there.grad.cpu(), leaf.grad)


def check_compiled(name: str, backend: str) -> None:
    torch._dynamo.reset()
    leaf, again = embeddings(), embeddings()
    loss = check_finite(build(name), leaf, labels_of(name))
    compiled = torch.compile(build(name), backend=backend)(again, labels_of(name))
    compiled.backward()
    torch.testing.assert_close(compiled, loss)
    torch.testing.assert_close(again.grad, leaf.grad, rtol=1e-4, atol=1e-5)


# The compiler looks at every tensor's `grad` and hides the warning, but not from a filter that makes it an error.
QUIET = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


@QUIET
@pytest.mark.parametrize("name", NAMES)
def test_traced_by_torch_compile(name: str) -> None:
    check_compiled(name, "eager")


@QUIET
@pytest.mark.slow
@pytest.mark.skipif("PERTINENT_SLOW" not in os.environ, reason="compiles for minutes; set PERTINENT_SLOW=1")
@pytest.mark.parametrize("name", NAMES)
def test_compiled_by_torch_compile(name: str) -> None:
    check_compiled(name, "inductor")


@pytest.mark.parametrize("name", NAMES)
def test_state_is_saved(name: str) -> None:
    first, second = build(name, seed=0), build(name, seed=1)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    torch.testing.assert_close(second(embeddings(), labels_of(name)), first(embeddings(), labels_of(name)))


@pytest.mark.parametrize("name", NAMES)
def test_batches_do_not_remember_each_other(name: str) -> None:
    """Outside the running statistics of a batch norm, which training uses only to keep them."""
    module, labels = build(name), labels_of(name)
    alone = module(embeddings(), labels)
    module(embeddings(seed=5), labels)
    torch.testing.assert_close(module(embeddings(), labels), alone)


@pytest.mark.parametrize("name", NAMES)
def test_too_few_labels(name: str) -> None:
    with pytest.raises(InputError):
        build(name)(embeddings(), labels_of(name)[:3])


@pytest.mark.parametrize("name", NAMES)
def test_pairs_are_used_or_refused(name: str) -> None:
    """pytorch-metric-learning's miners hand over pairs (anchor, positive, anchor, negative)."""
    one = torch.tensor([0])
    pairs = (one, torch.tensor([4]), one, torch.tensor([1]))
    leaf = embeddings()
    unmined = build(name)(leaf, labels_of(name))
    try:
        mined = build(name)(leaf, labels_of(name), pairs)
    except InputError as error:
        if "indices_tuple" not in str(error):
            raise
    else:
        assert not torch.isclose(mined, unmined)


@pytest.mark.parametrize("name", NAMES)
def test_documentation(name: str) -> None:
    text = LOSSES.get(name).__doc__
    assert LOSSES.entries[name].summary
    assert re.search(r"`\(B\b", text), "say the shapes of the input, such as `(B, D)`"
    assert re.search(r"\b(19|20)\d\d\b", text), "name the paper with its year"
    assert re.search(r"functional\.|mean of|cross entropy|max\(|1 - |softplus|library", text), "say the formula"
    for option in LOSSES.options(name):
        assert re.search(rf"\b{option}\b", text), f"{option} is not described"


def test_the_table_of_losses_is_whole() -> None:
    docs = (Path(__file__).parents[2] / "docs").glob("losses*.md")
    table = "".join(path.read_text() for path in docs)
    rows = re.findall(r"^\| `(\w+)` `(\w+)` \|", table, re.MULTILINE)
    assert sorted(rows) == sorted((name, entry.object_name) for name, entry in LOSSES.entries.items())


TAKES_REFERENCES = [
    name for name in NAMES if "ref_includes_query" in inspect.signature(LOSSES.get(name).forward).parameters
]


@pytest.mark.parametrize("name", TAKES_REFERENCES)
def test_references_that_are_the_batch_change_nothing(name: str) -> None:
    """A memory of past batches that is still empty: the value and the gradient are those of the batch alone."""
    alone, joined = embeddings(torch.float64), embeddings(torch.float64)
    labels = labels_of(name)
    want = check_finite(build(name).double(), alone, labels)
    found = build(name).double()(joined, labels, None, joined, labels, ref_includes_query=True)
    found.backward()
    torch.testing.assert_close(found, want, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(joined.grad, alone.grad, rtol=1e-9, atol=1e-12)
    with pytest.raises(InputError, match="ref_includes_query says that ref_emb begins with the 16"):
        build(name).double()(joined, labels, None, joined[:3], labels[:3], ref_includes_query=True)


# These read the number of relevant pairs or present classes back once a call, to size what follows.
COUNTS_BACK = {"hap", "hist", "pml", "triplet", "smooth_ap", "smooth_hap", "smooth_ndcg", "smooth_recall"}
COUNTS_BACK |= {"sup_ap", "sup_ndcg", "sup_recall"}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in COUNTS_BACK])
def test_the_host_never_waits_for_a_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors without data cannot be read back, so what runs on them never makes the host wait for a GPU."""
    # Autocast knows no device without data; what it does to types is tested above.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    leaf = embeddings().detach().to("meta").requires_grad_()
    loss = build(name).to("meta")(leaf, labels_of(name).to("meta"))
    loss.backward()
    assert leaf.grad is not None
    assert leaf.grad.shape == leaf.shape
