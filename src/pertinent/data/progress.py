"""Telling a listener how far long work is: `Progress`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

Listener = Callable[[dict[str, Any]], None]


def silent(event: dict[str, Any]) -> None:
    """Listen to nothing."""


class Progress:
    """Counts what is done and tells a listener, from any thread, ten times a second at most and at the end."""

    def __init__(self, event: str, name: str, total: int | None, listener: Listener, done: int = 0) -> None:
        self.event, self.name, self.total, self.listener = event, name, total, listener
        self.first = self.done = done
        self.start = self.told = time.monotonic()
        self.lock = threading.Lock()

    def add(self, count: int) -> None:
        """Count `count` more."""
        with self.lock:
            self.done += count
            now = time.monotonic()
            if now - self.told < 0.1 and self.done != self.total:
                return
            self.told = now
            rate = (self.done - self.first) / max(now - self.start, 1e-9)
            eta = None if self.total is None else (self.total - self.done) / max(rate, 1e-9)
            told = {"event": self.event, "name": self.name, "done": self.done, "total": self.total}
            self.listener({**told, "rate": rate, "eta": eta})
