"""HISTLoss: literal distances, stability, extensions (tree, tags, variances), degenerate batches, wrong calls."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pertinent.errors import InputError
from pertinent.functional.hypergraph import class_distances, distribution_losses, incidence, propagation, variances
from pertinent.losses import HISTLoss

LABELS = torch.tensor([[3, 1], [0, 0], [3, 1], [1, 0], [0, 0], [1, 0], [2, 1]])


def batch(seed: int = 0, count: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 6, dtype=torch.float64, generator=generator).requires_grad_()


def build(**options: object) -> HISTLoss:
    torch.manual_seed(0)
    options = {"hidden": 5, "tau": 3.0} | options
    return HISTLoss(5, 6, **options).double()  # type: ignore[arg-type]


def literal_distances(x: Tensor, means: Tensor, spread: Tensor) -> Tensor:
    u, q = x / x.norm(dim=1, keepdim=True), means / means.norm(dim=1, keepdim=True)
    return torch.stack([torch.stack([((a - b) ** 2 / s).sum() for b, s in zip(q, spread, strict=True)]) for a in u])


def test_distances_are_the_literal_ones() -> None:
    generator = torch.Generator().manual_seed(1)
    x, means = batch(), torch.randn(5, 6, dtype=torch.float64, generator=generator).requires_grad_()
    spread = (torch.rand(5, 6, dtype=torch.float64, generator=generator) * 3 + 1).requires_grad_()
    actual, expected = class_distances(x, means, spread), literal_distances(x, means, spread)
    torch.testing.assert_close(actual, expected)
    for leaf in (x, means, spread):
        gradients = [torch.autograd.grad((d**2).sum(), leaf, retain_graph=True)[0] for d in (actual, expected)]
        torch.testing.assert_close(*gradients)


class Largest(TorchDispatchMode):
    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for item in result if isinstance(result, tuple | list) else [result]:
            if isinstance(item, Tensor):
                self.numel = max(self.numel, item.numel())
        return result


def test_no_tensor_of_items_classes_and_dimensions() -> None:
    loss, leaf = HISTLoss(40, 30, hidden=8), torch.randn(20, 30, requires_grad=True)
    with Largest() as largest:
        loss(leaf, torch.arange(20)).backward()
    assert largest.numel <= 40 * 30


def test_stable_where_probabilities_underflow() -> None:
    distances = torch.tensor([[0.0, 4.0], [4.0, 0.0], [0.1, 0.0]])
    targets = torch.tensor([[True, False], [True, False], [True, False]])
    whole = distribution_losses(distances, targets, 64.0)
    logs = torch.log_softmax(-64 * distances.double(), 1)[:, 0]
    assert whole.item() == pytest.approx(-logs.mean().item(), rel=1e-6)
    dropped = distribution_losses(distances, targets, 64.0, drop_underflow=True)
    assert dropped.item() == pytest.approx(-logs[[0, 2]].mean().item(), rel=1e-6)
    assert distribution_losses(distances[1:2], targets[1:2], 64.0, drop_underflow=True) == 0


@pytest.mark.parametrize("kind", ["relu6", "softplus", "unit"])
def test_variances(kind: str) -> None:
    values = torch.tensor([-2.0, 0.5, 7.0], dtype=torch.float64, requires_grad=True)
    spread = variances(values, kind)  # type: ignore[arg-type]
    expected = {
        "relu6": values.detach().clamp(0, 6).exp(),
        "softplus": 1 + (1 + values.detach().exp()).log(),
        "unit": torch.ones(3, dtype=torch.float64),
    }[kind]
    torch.testing.assert_close(spread.detach(), expected)
    loss = build(variance=kind)
    loss(batch(), LABELS).backward()
    moved = loss.distributions.log_vars.grad
    alive = {"relu6": (loss.distributions.log_vars > 0).sum().item(), "softplus": 30, "unit": 0}[kind]
    assert (0 if moved is None else int((moved != 0).sum())) == alive


@pytest.mark.parametrize(
    "options", [{}, {"tree": True}, {"variance": "softplus"}, {"lambda_s": 0.0}, {"lambda_d": 0.0}]
)
def test_gradcheck(options: dict[str, object]) -> None:
    loss = build(**options)
    # The paper's variances have corners at 0 and 6, where differences say nothing; half of the values start below 0.
    names = [
        name for name, value in loss.named_parameters() if name != "distributions.log_vars" or "variance" in options
    ]
    if not loss.lambda_s:
        names = [name for name in names if name.startswith("distributions")]
    values = [dict(loss.named_parameters())[name] for name in names]

    def value(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(loss, dict(zip(names, parameters, strict=True)), (x, LABELS))

    assert torch.autograd.gradcheck(value, (batch(2), *values), atol=1e-5)


def test_permuted_classes_with_permuted_parameters() -> None:
    loss, order = build(), torch.tensor([2, 0, 4, 1, 3])
    value = loss(batch(), LABELS)
    other = build()
    with torch.no_grad():
        for parameter in (*other.distributions.parameters(), *other.hgnn.theta2.parameters()):
            parameter[order] = parameter.clone()
    torch.testing.assert_close(other(batch(), order[LABELS[:, 0]]), value)


def test_a_hyperedge_spreads_evenly_among_its_members() -> None:
    membership = incidence(torch.full((4, 2), 1e4), torch.tensor([[1, 0], [1, 0], [0, 1], [0, 1]]).bool(), 1.0)
    expected = torch.block_diag(torch.full((2, 2), 0.5), torch.full((2, 2), 0.5))
    torch.testing.assert_close(propagation(membership), expected)


def test_tree_adds_hyperedges_for_coarser_classes() -> None:
    loss, x = build(tree=True), batch()
    distances = loss.distributions(x)
    targets = torch.nn.functional.one_hot(LABELS[:, 0], 5).bool()
    coarser = LABELS[:, 1:].clone()
    coarser[1] = -1
    edges = loss.hyperedges(distances, targets, coarser)
    assert edges.shape == (7, 4 + 2)
    below = {0: [0, 1], 1: [2, 3]}
    for node in range(7):
        for label in (0, 1):
            nearest = torch.exp(-loss.alpha * distances[node, below[label]].min())
            inside = bool(coarser[node, 0] == label)
            nearest = torch.ones_like(nearest) if inside or LABELS[node, 0] in below[label] else nearest
            torch.testing.assert_close(edges[node, 4 + label], nearest)
    assert loss(x, LABELS) != build()(x, LABELS)
    torch.testing.assert_close(build(tree=True)(x, LABELS[:, 0]), build()(x, LABELS))


def test_tags() -> None:
    """With one tag each, L_D is that of classes; with several, their mean. L_CE is binary."""
    loss, x = build(), batch()
    single = torch.nn.functional.one_hot(LABELS[:, 0], 5).bool()
    loss(x, LABELS)
    first = loss.components["distribution"]
    loss(x, single)
    torch.testing.assert_close(loss.components["distribution"], first)
    several = single.clone()
    several[0, 1] = True
    loss(x, several)
    logs = torch.log_softmax(-3 * loss.distributions(x), 1)
    each = [logs[row][several[row]].mean() for row in range(7)]
    torch.testing.assert_close(loss.components["distribution"], -torch.stack(each).mean().detach())
    edges = loss.hyperedges(loss.distributions(x), several, torch.zeros(7, 0, dtype=torch.int64))
    assert torch.equal(edges == 1, several[:, several.any(0)])
    logits = loss.hgnn(x, propagation(edges))
    binary = torch.nn.functional.binary_cross_entropy_with_logits(logits, several.double())
    torch.testing.assert_close(loss.components["hypergraph"], binary.detach())
    none = several.clone()
    none[3] = False
    keep = [0, 1, 2, 4, 5, 6]
    torch.testing.assert_close(build()(x, none), build()(x[keep], several[keep]))


def test_unlabelled_rows_are_left_out() -> None:
    x, labels = batch(), LABELS[:, 0].clone()
    labels[[1, 4]] = -1
    keep = [0, 2, 3, 5, 6]
    torch.testing.assert_close(build()(x, labels), build()(x[keep], labels[keep]))


@pytest.mark.parametrize("count", [0, 1])
def test_few_rows(count: int) -> None:
    loss, x = build(), batch(count=7)
    labels = torch.full((7,), -1)
    labels[:count] = 2
    value = loss(x, labels)
    value.backward()
    assert value.isfinite()
    assert (value == 0) == (count == 0)
    for tensor in (x, *loss.parameters()):
        assert tensor.grad.isfinite().all()
        assert count or not tensor.grad.any()


def test_without_the_network() -> None:
    loss = build(lambda_s=0.0)
    value = loss(batch(), LABELS)
    assert value == loss.components["distribution"]
    assert loss.components["hypergraph"] == 0


def test_without_the_distribution_loss() -> None:
    """Only the network's cross entropy is left, through which the distributions learn by the hyperedges."""
    loss, x, labels = build(lambda_d=0.0), batch(), LABELS[:, 0]
    value = loss(x, LABELS)
    value.backward()
    targets = torch.nn.functional.one_hot(labels, 5).bool()
    edges = loss.hyperedges(loss.distributions(x), targets, LABELS[:, :0])
    expected = torch.nn.functional.cross_entropy(loss.hgnn(x, propagation(edges)), labels)
    torch.testing.assert_close(value, expected)
    assert loss.components["distribution"] == 0
    assert loss.components["hypergraph"] == value
    moved = loss.distributions.means.grad.abs().sum(1)
    assert (moved > 0).tolist() == [True] * 4 + [False], "no hyperedge leads to the class that is absent"


def test_the_terms_are_weighted_apart() -> None:
    x = batch()
    first, second = build(lambda_s=0.0)(x, LABELS), build(lambda_d=0.0)(x, LABELS)
    torch.testing.assert_close(build()(x, LABELS), first + second)
    torch.testing.assert_close(build(lambda_d=0.25, lambda_s=3.0)(x, LABELS), 0.25 * first + 3 * second)
    assert build(lambda_d=0.0, lambda_s=0.0)(x, LABELS) == 0


def test_eval_uses_running_statistics() -> None:
    loss = build()
    loss(batch(), LABELS)
    before = loss.hgnn.bn1.running_mean.clone()
    loss.eval()
    assert loss(batch(1), LABELS).isfinite()
    assert torch.equal(loss.hgnn.bn1.running_mean, before)


def test_wrong_calls() -> None:
    with pytest.raises(InputError, match="at least 1"):
        HISTLoss(0, 6)
    with pytest.raises(InputError, match="tau must be positive"):
        HISTLoss(5, 6, tau=0)
    with pytest.raises(InputError, match=r"lambda_s and lambda_d at least 0, got 32\.0, 0\.9, 1\.0, -1"):
        HISTLoss(5, 6, lambda_d=-1)
    with pytest.raises(InputError, match="lambda_s and lambda_d at least 0"):
        HISTLoss(5, 6, lambda_s=-0.5)
    with pytest.raises(InputError, match="variance must be one of"):
        HISTLoss(5, 6, variance="exp")  # type: ignore[arg-type]
    loss, x = build(), batch()
    with pytest.raises(InputError, match=r"label 9 in column 0 is outside 0\.\.4"):
        loss(x, torch.tensor([0, 1, 2, 9, 0, 0, 0]))
    with pytest.raises(InputError, match="bool labels are tags"):
        loss(x, torch.ones(7, 3, dtype=torch.bool))
    with pytest.raises(InputError, match="without tree=True"):
        build(tree=True)(x, torch.ones(7, 5, dtype=torch.bool))
    with pytest.raises(InputError, match="indices_tuple"):
        loss(x, LABELS, (torch.tensor([0]),) * 4)
    with pytest.raises(InputError, match="ref_emb"):
        loss(x, LABELS, ref_emb=x, ref_labels=LABELS)
    with pytest.raises(InputError, match="level=4"):
        build(level=4)(x, LABELS)
