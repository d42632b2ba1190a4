"""`Batcher`: what many requests ask for, done together by one thread."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Collects items and works on them in batches, in a thread of its own.

    While a batch is worked on, the next one gathers; so batches grow with the load, and a lone item waits for no more
    than `wait`. An item whose future was cancelled is left out. Where the work fails on a batch, each of its items is
    tried alone, so that only those at fault get the error.

    Args:
        work: makes one result an item, in their order.
        name: of the thread.
        size: most items in a batch.
        wait: seconds that the first item of a batch waits for others.
        observe: hears the size of each batch.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Result]],
        name: str,
        *,
        size: int,
        wait: float = 0.0,
        observe: Callable[[int], None],
    ) -> None:
        self.work, self.size, self.wait, self.observe = work, size, wait, observe
        self._waiting: queue.SimpleQueue[tuple[Item, Future[Result]] | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether items are still taken and worked on."""
        return self._thread.is_alive() and not self._closed

    def submit(self, item: Item) -> Future[Result]:
        """Put an item into the queue; raises RuntimeError after `close`."""
        if not self.alive:
            raise RuntimeError("the batcher is closed")
        future: Future[Result] = Future()
        self._waiting.put((item, future))
        return future

    def close(self) -> None:
        """Work on what waits, then end the thread."""
        self._closed = True
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        going = True
        while going:
            first = self._waiting.get()
            batch, going = self._gather(first) if first is not None else ([], False)
            batch = [(item, future) for item, future in batch if future.set_running_or_notify_cancel()]
            if batch:
                self.observe(len(batch))
                self._do(batch)

    def _gather(self, first: tuple[Item, Future[Result]]) -> tuple[list[tuple[Item, Future[Result]]], bool]:
        batch, until = [first], time.monotonic() + self.wait
        while len(batch) < self.size:
            try:
                left = until - time.monotonic()
                more = self._waiting.get(timeout=left) if left > 0 else self._waiting.get_nowait()
            except queue.Empty:
                break
            if more is None:
                return batch, False
            batch.append(more)
        return batch, True

    def _do(self, batch: Sequence[tuple[Item, Future[Result]]]) -> None:
        try:
            results = self.work([item for item, _ in batch])
        except Exception as error:  # whatever it is, somebody waits for it, and the thread must live on
            if len(batch) == 1:
                batch[0][1].set_exception(error)
            else:
                for pair in batch:
                    self._do([pair])
            return
        for (_, future), result in zip(batch, results, strict=True):
            future.set_result(result)
