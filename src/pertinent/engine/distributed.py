"""The processes that train together.

Started by `torchrun` or `accelerate launch`, which set the environment that accelerate reads; alone, a world of one
does nothing. Gradients do not pass through communication here: every process computes the loss of the whole batch and
takes from its gradient the rows that are its own. The gradients of the network are therefore summed over processes,
never averaged, and those of a loss's own parameters are whole everywhere already.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pertinent.errors import MissingDependencyError, TrainingError

Item = TypeVar("Item")


@dataclass(frozen=True)
class World:
    """Which of how many processes this is; `World()` is one alone."""

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, cpu: bool = False) -> World:
        """Meet the other processes of the launcher, over NCCL on GPUs and Gloo on CPUs.

        Args:
            cpu: stay on the CPU although there are GPUs.

        Raises:
            MissingDependencyError: started as one of several processes, and accelerate is not installed.
            TrainingError: accelerate was set up before, for another number of processes.
        """
        wanted = int(os.environ.get("WORLD_SIZE", "1"))
        if wanted == 1:
            return cls()
        try:
            from accelerate import PartialState
        except ImportError as error:
            raise MissingDependencyError("several processes need accelerate: pip install accelerate") from error
        asked = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
        # Not told that it is on CPUs, accelerate takes each process for one alone.
        state = PartialState(cpu=cpu or asked or not torch.cuda.is_available())
        if state.num_processes != wanted:
            raise TrainingError(
                f"the launcher started {wanted} processes, but accelerate was set up for {state.num_processes} "
                "before; do not make an Accelerator of your own, or make it with cpu=True on CPUs"
            )
        return cls(state.process_index, state.num_processes)

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    @property
    def device(self) -> torch.device | None:
        """Where this process computes: its own GPU among those of its machine, or the CPU; None if it may choose."""
        if self.size == 1:
            return None
        if dist.get_backend() != "nccl":
            return torch.device("cpu")
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))

    def share(self, count: int) -> slice:
        """This process's part of `count` items: contiguous, in rank order, sizes at most one apart."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def gather(self, rows: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        """Rows `(n_rank, ...)` of all processes in rank order, without gradient; their numbers may differ.

        Args:
            rows: those of this process.
            counts: how many rows each process has, where that is known.
        """
        if self.size == 1:
            return rows
        counts = self.gather_counts(len(rows)) if counts is None else counts
        # NCCL carries only what lies on a GPU.
        padded = torch.zeros(max(counts), *rows.shape[1:], dtype=rows.dtype, device=self.device)
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)]).to(rows.device)

    def gather_counts(self, count: int) -> list[int]:
        """`count` of every process, in rank order."""
        if self.size == 1:
            return [count]
        counts = [torch.zeros((), dtype=torch.int64, device=self.device) for _ in range(self.size)]
        dist.all_gather(counts, torch.tensor(count, device=self.device))
        return [int(number) for number in counts]

    def copy(self, tensor: Tensor) -> None:
        """Give every process the leader's values, in place."""
        if self.size > 1:
            dist.broadcast(tensor, 0)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up each gradient over the processes; a parameter without one anywhere keeps none."""
        if self.size == 1:
            return
        learning = [p for p in parameters if p.requires_grad]
        if not learning:
            return
        # A process without pictures has no gradients, but must take part in the sum.
        found = torch.tensor([float(p.grad is not None) for p in learning], device=learning[0].device)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        work = []
        for parameter, somewhere in zip(learning, found.tolist(), strict=True):
            if somewhere:
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                work.append(dist.all_reduce(parameter.grad, async_op=True))
        for handle in work:
            handle.wait()

    def copy_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every process the leader's gradients: equal already, but for the order in which a GPU adds."""
        for parameter in parameters:
            if parameter.grad is not None:
                self.copy(parameter.grad)

    def mean_buffers(self, module: nn.Module) -> None:
        """Average the running statistics that a network keeps, over the processes, each having seen its own pictures.

        Frozen ones, and all that never changes, stay as they are, bit by bit.
        """
        if self.size == 1:
            return
        buffers = [
            buffer
            for part in module.modules()
            if part.training and getattr(part, "running_mean", None) is not None
            for buffer in part.buffers(recurse=False)
            if buffer.is_floating_point()
        ]
        if not buffers:
            return
        flat = torch.cat([buffer.reshape(-1) for buffer in buffers])
        dist.all_reduce(flat)
        means = torch.split(flat / self.size, [buffer.numel() for buffer in buffers])
        for buffer, mean in zip(buffers, means, strict=True):
            buffer.copy_(mean.view_as(buffer))

    def gather_objects(self, item: Item) -> list[Item]:
        """An object of every process, in rank order."""
        if self.size == 1:
            return [item]
        items: list[Any] = [None] * self.size
        dist.all_gather_object(items, item)
        return items

    def wait(self) -> None:
        """Go on when every process has come here."""
        if self.size > 1:
            dist.barrier()
