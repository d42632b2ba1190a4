"""Work done ahead of its use, by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
Made = TypeVar("Made")


def ahead(
    make: Callable[[Item], Made], batches: Iterable[Sequence[Item]], threads: int, depth: int = 1
) -> Iterator[list[Made]]:
    """What `make` makes of the items of each batch, in their order, made by threads while the caller is busy.

    What making an item raises is raised where its batch would have come. When the caller goes away, the threads end
    after the items that they are making.

    Args:
        make: called in the threads; several of them at once.
        batches: of items.
        threads: at least 1.
        depth: so many batches are made before they are asked for.
    """
    waiting: deque[list[Future[Made]]] = deque()
    pool = ThreadPoolExecutor(threads, "ahead", _alone)
    try:
        for batch in batches:
            waiting.append([pool.submit(make, item) for item in batch])
            if len(waiting) > depth:
                yield [future.result() for future in waiting.popleft()]
        while waiting:
            yield [future.result() for future in waiting.popleft()]
    finally:
        pool.shutdown(cancel_futures=True)


def _alone() -> None:
    """Let this thread compute without a team of its own: one more OpenMP team slows down that of the caller."""
    torch.get_num_threads()  # torch sets up a thread at its first use, and would set the limit back
    threadpool_limits(1, user_api="openmp")
