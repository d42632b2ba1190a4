"""The gradient of a batch: any weighted sum of losses, in one pass or two, on one process or many.

The loss needs the embeddings of the whole batch at once, the network does not. So the embeddings are cut loose from
the network, the loss is computed on all of them, and its gradient in each embedding is carried back through the
network chunk by chunk (Revaud et al., "Learning with Average Precision", ICCV 2019, multistage backpropagation). With
`chunk` the graph of the first pass is not kept: a second pass makes it again, chunk by chunk, from the same pixels and
the same random state, and leaves the running statistics as the first pass left them. The result is the gradient of one
graph over the same chunks.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pertinent.engine.distributed import World
from pertinent.engine.memory import Memory
from pertinent.errors import ConfigError, TrainingError

# Positions in a batch of (anchor, positive, anchor, negative).
Tuples = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass
class Objective:
    """What is minimised: losses times their weights, on a batch and, for those that take references, a memory.

    Where the batches are `mined`, losses that say `takes_tuples` see the mined pairs alone, without a memory.

    Raises:
        ConfigError: there is a memory, and no loss that takes references.
    """

    losses: nn.ModuleDict
    weights: Mapping[str, float]
    memory: Memory | None = None
    mined: bool = False
    _paired: set[str] = field(init=False)
    _ranking: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self._paired = {key for key, loss in self.losses.items() if self.mined and getattr(loss, "takes_tuples", False)}
        self._ranking = {
            key
            for key, loss in self.losses.items()
            if key not in self._paired and "ref_includes_query" in inspect.signature(loss.forward).parameters
        }
        if self.memory is not None and self.memory.size and not self._ranking:
            names = ", ".join(self.losses)
            raise ConfigError([f"memory.size: none of the losses ({names}) compares with other items; leave it out"])

    def __call__(
        self, embeddings: Tensor, labels: Tensor, tuples: Tuples | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Total, and every term with the components that the losses name, without gradient."""
        terms = {key: self._term(key, loss, embeddings, labels, tuples) for key, loss in self.losses.items()}
        total = sum((self.weights[key] * term for key, term in terms.items()), start=embeddings.new_zeros(()))
        parts = {"loss": total.detach(), **{key: term.detach() for key, term in terms.items()}}
        for key, loss in self.losses.items():
            parts |= {f"{key}.{name}": value for name, value in getattr(loss, "components", {}).items()}
        return total, parts

    def _term(self, key: str, loss: nn.Module, embeddings: Tensor, labels: Tensor, tuples: Tuples | None) -> Tensor:
        if key in self._paired:
            pairs: Tensor = loss(embeddings, labels, tuples)
            return pairs
        if self.memory is None or not len(self.memory) or key not in self._ranking:
            term: Tensor = loss(embeddings, labels)
            return term
        past, past_labels = self.memory.items()
        items = torch.cat([embeddings, past.to(embeddings.dtype)])
        term = loss(embeddings, labels, None, items, torch.cat([labels, past_labels]), ref_includes_query=True)
        return term


def gradients(
    network: nn.Module,
    forward: Callable[[Tensor], Tensor],
    pixels: Tensor,
    labels: Tensor,
    objective: Objective,
    *,
    tuples: Tuples | None = None,
    chunk: int | None = None,
    world: World | None = None,
    scale: Callable[[Tensor], Tensor] = lambda total: total,
) -> dict[str, Tensor]:
    """Add the gradient of one batch to the parameters of network and losses.

    Args:
        network: whose buffers the second pass must not change.
        forward: the network as it is to be called, under autocast or compiled: pixels to embeddings `(n, D)`.
        pixels: `(n, ...)`, this process's part of the batch.
        labels: labels of the whole batch, in rank order.
        objective: the losses; its memory, if any, then keeps this batch.
        tuples: the mined pairs of the whole batch, where it is mined.
        chunk: most pictures to go through the network at once; None takes all in one graph. Chunks are made equal,
            at most one picture apart.
        world: the processes; None is one alone. The gradients of the processes are not summed here.
        scale: enlarges the total before it is differentiated, as half precision needs.

    Returns:
        `loss`, every term, and the components that losses name, without gradient; equal on every process unless a loss
        draws at random.
    """
    world = world or World()
    chunks = _chunks(pixels, chunk)
    twice = len(chunks) > 1
    buffers = Buffers(network) if twice else None
    states: list[Randomness] = []
    with torch.no_grad() if twice else contextlib.nullcontext():
        outputs = []
        for part in chunks:
            if twice:
                states.append(Randomness(pixels.device))
            outputs.append(forward(part))
    # With older torch an autocast around all this hands the second pass weights that were narrowed without gradient.
    torch.clear_autocast_cache()
    local = torch.cat(outputs) if twice else (outputs[0] if outputs else None)
    loose = local.detach() if local is not None else None
    whole, own = _gather(loose, pixels, world)
    whole.requires_grad_()
    # Whatever autocast says outside, losses are computed wide, and so are their gradients.
    with torch.autocast(whole.device.type, enabled=False):
        total, parts = objective(whole, labels, tuples)
        if total.requires_grad:
            scale(total).backward()  # type: ignore[no-untyped-call]
    if objective.memory is not None:
        objective.memory.add(whole.detach(), labels)
    slopes = torch.zeros_like(whole) if whole.grad is None else whole.grad
    # A loss may draw at random, and a GPU add in any order: all go on from one and the same result.
    world.copy(slopes)
    slope = slopes[own]
    if buffers is not None:
        with buffers.as_then():
            pieces = torch.split(slope, [len(part) for part in chunks])
            for part, state, piece in zip(chunks, states, pieces, strict=True):
                with state.again():
                    _backward(forward(part), piece)
    elif local is not None:
        _backward(local, slope)
    return parts


def _backward(embeddings: Tensor, slope: Tensor) -> None:
    # In warm-up a network without a head has nothing that learns.
    if embeddings.requires_grad:
        embeddings.backward(slope)  # type: ignore[no-untyped-call]


def _chunks(pixels: Tensor, chunk: int | None) -> Sequence[Tensor]:
    if not len(pixels):
        return ()
    return pixels.tensor_split(-(-len(pixels) // chunk)) if chunk else (pixels,)


def _gather(local: Tensor | None, pixels: Tensor, world: World) -> tuple[Tensor, slice]:
    """Embeddings of the whole batch, and which rows are this process's."""
    if world.size == 1:
        assert local is not None
        return local, slice(0, len(local))
    counts = world.gather_counts(len(pixels))
    first = sum(counts[: world.rank])
    # A process without pictures cannot know the width of an embedding; the others tell.
    widths = world.gather_counts(0 if local is None else local.shape[1])
    rows = pixels.new_zeros(0, max(widths)) if local is None else local
    return world.gather(rows, counts), slice(first, first + counts[world.rank])


class Randomness:
    """The state of the random generators of the CPU and of one device, to draw the same again."""

    def __init__(self, device: torch.device) -> None:
        if device.type not in ("cpu", "cuda"):
            raise TrainingError(f"two passes need a CPU or a CUDA device, got {device}; leave train.chunk out")
        self.device = device
        self.cpu = torch.get_rng_state()
        self.gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    @contextlib.contextmanager
    def again(self) -> Iterator[None]:
        """Draw as then; afterwards the generators stand where they stood before."""
        with torch.random.fork_rng([self.device] if self.gpu is not None else []):
            torch.set_rng_state(self.cpu)
            if self.gpu is not None:
                torch.cuda.set_rng_state(self.gpu, self.device)
            yield


class Buffers:
    """The buffers of a network (running statistics and the like), to start from the same again."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.values = self._read()

    @contextlib.contextmanager
    def as_then(self) -> Iterator[None]:
        """Start with the values of then; afterwards the buffers hold what they held before."""
        before = self._read()
        self._write(self.values)
        try:
            yield
        finally:
            self._write(before)

    def _read(self) -> list[Tensor]:
        return [buffer.clone() for buffer in self.network.buffers()]

    @torch.no_grad()
    def _write(self, values: list[Tensor]) -> None:
        for buffer, value in zip(self.network.buffers(), values, strict=True):
            buffer.copy_(value)
