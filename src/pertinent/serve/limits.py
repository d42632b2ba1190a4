"""How often one client may ask: token buckets."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

# Clients that are remembered; the one that was silent longest is forgotten first.
CLIENTS = 10_000


class RateLimit:
    """A bucket of requests a client, which refills with time.

    Args:
        rate: requests a second; 0 does not limit.
        burst: requests that a full bucket holds.
        clock: tells the time in seconds.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst, self.clock = rate, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> int:
        """Take one request from a client's bucket: 0, or the whole seconds until there is one where it is empty."""
        if not self.rate:
            return 0
        now = self.clock()
        left, then = self._buckets.pop(client, (float(self.burst), now))
        left = min(self.burst, left + (now - then) * self.rate)
        seconds = 0 if left >= 1 else math.ceil((1 - left) / self.rate)
        self._buckets[client] = (left if seconds else left - 1, now)
        if len(self._buckets) > CLIENTS:
            self._buckets.popitem(last=False)
        return seconds

    def __len__(self) -> int:
        return len(self._buckets)
