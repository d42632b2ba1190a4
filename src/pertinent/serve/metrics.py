"""Counts and times of the service, in Prometheus' text format."""

from __future__ import annotations

import bisect
import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Histogram:
    """How many values lie at or below each bound, their number and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds, self.counts, self.sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """The lines of the text format."""
        total = 0
        for bound, count in zip([*(f"{bound:g}" for bound in self.bounds), "+Inf"], self.counts, strict=True):
            total += count
            yield f'{name}_bucket{{{labels},le="{bound}"}} {total}'
        yield f"{name}_sum{{{labels}}} {self.sum:.6f}"
        yield f"{name}_count{{{labels}}} {total}"


class Metrics:
    """What the service counts; any thread may."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds: dict[str, Histogram] = {}
        self._batches: dict[str, Histogram] = {}
        self._in_flight = 0

    def begin(self) -> None:
        """A request came."""
        with self._lock:
            self._in_flight += 1

    def end(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered; 499 is one whose client went away."""
        with self._lock:
            self._in_flight -= 1
            self._requests[route, method, status] += 1
            self._seconds.setdefault(route, Histogram(SECONDS)).add(seconds)

    def batch(self, work: str, size: int) -> None:
        """A batch of so many items was worked on."""
        with self._lock:
            self._batches.setdefault(work, Histogram(SIZES)).add(size)

    def text(self) -> str:
        """Everything in the text format, version 0.0.4."""
        with self._lock:
            return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        yield from _head("pertinent_requests_total", "counter", "Requests by route, method and status.")
        for (route, method, status), count in sorted(self._requests.items()):
            yield f'pertinent_requests_total{{route="{route}",method="{method}",status="{status}"}} {count}'
        yield from _head("pertinent_request_seconds", "histogram", "Time from the request to the end of its answer.")
        for route, histogram in sorted(self._seconds.items()):
            yield from histogram.lines("pertinent_request_seconds", f'route="{route}"')
        yield from _head("pertinent_batch_size", "histogram", "Items worked on together.")
        for work, histogram in sorted(self._batches.items()):
            yield from histogram.lines("pertinent_batch_size", f'work="{work}"')
        yield from _head("pertinent_in_flight", "gauge", "Requests being answered now.")
        yield f"pertinent_in_flight {self._in_flight}"
        resident = resident_bytes()
        if resident is not None:
            yield from _head("process_resident_memory_bytes", "gauge", "Memory of the process.")
            yield f"process_resident_memory_bytes {resident}"


def resident_bytes() -> int | None:
    """Memory of this process, where the system tells it as Linux does."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _head(name: str, kind: str, words: str) -> Iterator[str]:
    yield f"# HELP {name} {words}"
    yield f"# TYPE {name} {kind}"
