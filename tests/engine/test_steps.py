from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from every_loss import NAMES, B, D, build, labels_of, make_network, make_objective, make_pixels
from torch import Tensor, nn

from pertinent.engine.steps import Objective, gradients
from pertinent.errors import TrainingError
from pertinent.losses import CalibrationLoss, ClusterLoss

# The most pictures at once, and the parts that this makes of 16.
CHUNKS = {1: [1] * 16, 3: [3, 3, 3, 3, 2, 2], 7: [6, 5, 5], 15: [8, 8], 16: [16], 100: [16]}


def one_graph(
    network: nn.Module, pixels: Tensor, labels: Tensor, objective: Objective, sizes: Sequence[int]
) -> dict[str, Tensor]:
    """What two passes must equal: the same chunks, everything kept."""
    outputs = [network(part) for part in pixels.split(list(sizes))]
    total, parts = objective(torch.cat(outputs), labels)
    total.backward()
    return parts


def same(one: Any, other: Any, **tolerance: float) -> None:
    torch.testing.assert_close(one, other, **(tolerance or {"rtol": 1e-9, "atol": 1e-9}))


def same_gradients(one: nn.Module, other: nn.Module, **tolerance: float) -> None:
    for (name, first), (_, second) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        assert (first.grad is None) == (second.grad is None), name
        if first.grad is not None:
            same(first.grad, second.grad, **tolerance)


def compare(
    network: nn.Module, objective: Objective, labels: Tensor, chunk: int, pixels: Tensor | None = None
) -> dict[str, Tensor]:
    """Both ways from the same state, all they leave compared; the gradients of `network` are those of two passes."""
    pixels = make_pixels() if pixels is None else pixels
    other, others = copy.deepcopy(network), copy.deepcopy(objective)
    torch.manual_seed(11)
    expected = one_graph(other, pixels, labels, others, CHUNKS[chunk])
    state = torch.get_rng_state()
    torch.manual_seed(11)
    parts = gradients(network, network, pixels, labels, objective, chunk=chunk)
    same(parts, expected)
    same_gradients(network, other)
    same_gradients(objective.losses, others.losses)
    same(dict(network.named_buffers()), dict(other.named_buffers()), rtol=0, atol=0)
    same(dict(objective.losses.named_buffers()), dict(others.losses.named_buffers()))
    assert torch.equal(torch.get_rng_state(), state), "later random numbers are the same too"
    return parts


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("name", NAMES)
def test_two_passes_equal_one_graph(name: str, chunk: int):
    """With dropout, and BatchNorm that normalises each chunk by itself."""
    network = make_network(norm=True, dropout=0.3)
    parts = compare(network, make_objective(name), labels_of(name), chunk)
    same(parts["loss"], parts[name])
    assert all(p.grad is not None and p.grad.any() for p in (network[0].weight, network[-2].weight))
    assert int(network[1].num_batches_tracked) == len(CHUNKS[chunk]), "each chunk is counted once, not twice"


def test_several_losses_and_their_parameters():
    objective = make_objective("hap", "cluster", "hist", "calibration")
    labels = torch.stack([torch.arange(B) % 4, torch.arange(B) % 2], dim=1)
    parts = compare(make_network(norm=True, dropout=0.3), objective, labels, 3)
    assert parts.keys() == {*objective.losses, "loss", "hist.distribution", "hist.hypergraph"}
    total = sum(objective.weights[key] * parts[key] for key in objective.losses)
    same(parts["loss"], total)
    assert not any(value.requires_grad for value in parts.values())


def test_batch_norm_that_is_frozen():
    network = make_network(norm=True, dropout=0.3)
    network[1].eval()
    before = copy.deepcopy(network[1].state_dict())
    compare(network, make_objective("hap"), labels_of("hap"), 3)
    same(dict(network[1].state_dict()), dict(before), rtol=0, atol=0)


def test_buffers_that_the_next_forward_uses():
    """The second pass goes from where the first one began, so a power iteration makes the same steps again."""
    network = make_network()
    network[-2] = nn.utils.parametrizations.spectral_norm(network[-2])
    compare(network, make_objective("hap"), labels_of("hap"), 3)


def test_without_chunks_there_is_one_graph():
    network, calls = make_network(norm=True, dropout=0.3), []

    def forward(pixels: Tensor) -> Tensor:
        calls.append((len(pixels), torch.is_grad_enabled()))
        return network(pixels)

    gradients(network, forward, make_pixels(), labels_of("hap"), make_objective("hap"))
    assert calls == [(16, True)]
    calls.clear()
    gradients(network, forward, make_pixels(), labels_of("hap"), make_objective("hap"), chunk=7)
    assert calls == [(6, False), (5, False), (5, False), (6, True), (5, True), (5, True)]


def test_gradients_are_added_to_those_there_are():
    network, objective = make_network(), make_objective("cluster")
    gradients(network, network, make_pixels(), labels_of("cluster"), objective, chunk=5)
    once = [p.grad.clone() for p in (*network.parameters(), *objective.losses.parameters())]
    gradients(network, network, make_pixels(), labels_of("cluster"), objective)
    same([p.grad for p in (*network.parameters(), *objective.losses.parameters())], [2 * grad for grad in once])


@pytest.mark.parametrize("chunk", [None, 3])
def test_scale(chunk: int | None):
    """Half precision enlarges the loss before it goes back; what is told stays as it is."""
    network, objective = make_network(), make_objective("cluster")
    other, others = copy.deepcopy(network), copy.deepcopy(objective)
    plain = gradients(network, network, make_pixels(), labels_of("cluster"), objective, chunk=chunk)
    scaled = gradients(other, other, make_pixels(), labels_of("cluster"), others, chunk=chunk, scale=lambda t: t * 8)
    same(scaled, plain)
    for p in (*network.parameters(), *objective.losses.parameters()):
        p.grad *= 8
    same_gradients(other, network)
    same_gradients(others.losses, objective.losses)


@pytest.mark.parametrize("around", [False, True], ids=["inside", "around"])
@pytest.mark.parametrize("name", ["hap", "cluster", "hist"])
def test_autocast(name: str, around: bool):
    """The network in bfloat16, the loss in float32, whether autocast is on in the chunks or around everything."""
    network, objective, labels = make_network(dropout=0.3).float(), make_objective(name), labels_of(name)
    objective.losses.float()
    other, others, pixels = copy.deepcopy(network), copy.deepcopy(objective), make_pixels().float()

    def narrow(pixels: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return network(pixels).float()

    torch.manual_seed(11)
    outputs = []
    for part in pixels.split(CHUNKS[3]):
        with torch.autocast("cpu", torch.bfloat16):
            outputs.append(other(part).float())
    total, expected = others(torch.cat(outputs), labels)
    total.backward()
    torch.manual_seed(11)
    with torch.autocast("cpu", torch.bfloat16, enabled=around):
        parts = gradients(network, narrow, pixels, labels, objective, chunk=3)
    assert parts["loss"].dtype == torch.float32
    same(parts, expected, rtol=1e-6, atol=1e-6)
    for first, second in zip(network.parameters(), other.parameters(), strict=True):
        # Autocast around everything keeps one narrow copy of the weights, and sums on it.
        allowed = 0.02 if around else 1e-6
        assert (first.grad - second.grad).norm() <= allowed * second.grad.norm()
    same_gradients(objective.losses, others.losses, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("chunk", [None, 3])
def test_a_network_in_which_nothing_learns(chunk: int | None):
    """As in the warm-up without a head: the loss's own parameters learn all the same."""
    network, objective = make_network().requires_grad_(False), make_objective("cluster")
    gradients(network, network, make_pixels(), labels_of("cluster"), objective, chunk=chunk)
    assert objective.losses["cluster"].weight.grad.any()


class Constant(nn.Module):
    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        return embeddings.new_tensor(2.0)


def test_a_loss_without_gradient():
    network = make_network()
    parts = gradients(
        network, network, make_pixels(), torch.arange(B), Objective(nn.ModuleDict({"c": Constant()}), {"c": 1.0})
    )
    assert parts["loss"] == 2
    assert not any(p.grad.any() for p in network.parameters() if p.grad is not None)


def test_labels_without_any_pair():
    network = make_network()
    objective = Objective(
        nn.ModuleDict({"a": CalibrationLoss(), "b": ClusterLoss(4, D)}).double(), {"a": 1.0, "b": 1.0}
    )
    parts = gradients(network, network, make_pixels(), torch.full((B,), -1), objective, chunk=3)
    assert parts["loss"] == 0
    assert not any(p.grad.any() for p in network.parameters() if p.grad is not None)


def test_the_mean_over_accumulated_batches():
    network, objective = make_network(), make_objective("cluster")
    other, others, labels = copy.deepcopy(network), copy.deepcopy(objective), labels_of("cluster")
    for seed in (0, 1):
        gradients(network, network, make_pixels(seed), labels, objective, chunk=3, scale=lambda total: total / 2)
    totals = [others(other(make_pixels(seed)), labels)[0] for seed in (0, 1)]
    (sum(totals) / 2).backward()
    same_gradients(network, other)
    same_gradients(objective.losses, others.losses)


def test_a_device_whose_random_state_cannot_be_replayed():
    network = nn.Linear(4, D, device="meta")
    with pytest.raises(
        TrainingError, match=r"two passes need a CPU or a CUDA device, got meta; leave train\.chunk out"
    ):
        gradients(network, network, torch.zeros(4, 4, device="meta"), torch.arange(4), make_objective("hap"), chunk=2)


def test_an_error_in_the_second_pass_leaves_the_buffers_of_the_first():
    network, calls = make_network(norm=True), []

    def failing(pixels: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == 8:
            raise RuntimeError("out of memory")
        return network(pixels)

    with pytest.raises(RuntimeError, match="out of memory"):
        gradients(network, failing, make_pixels(), labels_of("hap"), make_objective("hap"), chunk=3)
    assert int(network[1].num_batches_tracked) == 6


def test_every_loss_is_built_for_the_embeddings_of_the_network():
    assert make_network()(make_pixels()).shape == (B, D)
    assert isinstance(build("hap"), nn.Module)
