"""Events: what long work tells about itself, to a log file, a terminal or nobody."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from pertinent.data.progress import Listener, silent
from pertinent.files import finite, storage_errors

__all__ = ["JsonLines", "Listener", "Rate", "memory_megabytes", "read_events", "silent"]


class JsonLines:
    """A listener that appends every event as one line of JSON, so that a crash loses at most the last line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_file() and path.read_bytes()[-1:] not in (b"", b"\n"):
            # A crash left half a line; the next event must not be lost with it.
            with storage_errors(path, "writing"), path.open("a", encoding="utf-8") as file:
                file.write("\n")

    def __call__(self, event: dict[str, Any]) -> None:
        """Append one event; raises StorageError when the disk is full."""
        with storage_errors(self.path, "writing"), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": round(time.time(), 3), **finite(event)}) + "\n")


def read_events(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a log; a half-written last line is left out."""
    events = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events


def memory_megabytes(device: torch.device) -> float:
    """Largest memory in use so far: of the GPU where training is there, else of the process; 0 where none can tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # there is none on Windows
        return 0.0
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


class Rate:
    """Items a second and seconds left, from a running start."""

    def __init__(self, total: int, done: int = 0) -> None:
        self.total, self.first, self.done = total, done, done
        self.start = time.monotonic()

    def add(self, count: int) -> dict[str, float]:
        """Count `count` more items; returns `rate` (items/s) and `eta` (s)."""
        self.done += count
        rate = (self.done - self.first) / max(time.monotonic() - self.start, 1e-9)
        return {"rate": rate, "eta": (self.total - self.done) / max(rate, 1e-9)}
