"""Work done ahead of its use, by a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from queue import Queue
from typing import TypeVar

T = TypeVar("T")
_END = object()


def ahead(items: Iterable[T], depth: int = 1) -> Iterator[T]:
    """The same items in the same order, made by a thread while the caller is busy with those before.

    What making an item raises is raised where it would have come. When the caller goes away, the thread ends after the
    item that it is making.

    Args:
        items: made one after the other.
        depth: how many may wait for the caller.
    """
    waiting: Queue[tuple[object, BaseException | None]] = Queue(depth)
    left = threading.Event()

    def make() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                waiting.put((item, None))
                if left.is_set():
                    return
        except BaseException as raised:
            error = raised
        waiting.put((_END, error))

    thread = threading.Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item  # type: ignore[misc]
    finally:
        left.set()
        while thread.is_alive():
            # Room for what it still wants to hand over.
            while not waiting.empty():
                waiting.get_nowait()
            thread.join(0.05)
