"""Choosing a kind of index for a collection of N vectors of D numbers."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from pertinent.pipeline import Pipeline
from pertinent.store import EmbeddingStore

NUMBERS = 10_000_000
"""An exact search reads every number of every vector; so many take some milliseconds."""

SHARE = 0.5
"""Of the memory that is free, what an index may take."""

LINKS = 8 * 32 + 32
"""Bytes of a vector's links in a graph with the default options."""


@dataclass(frozen=True)
class Choice:
    """A kind of index, and why."""

    kind: str
    why: str


def choose(count: int, dim: int, memory: int | None = None, tuned: bool = False) -> Choice:
    """A kind for N vectors of D numbers.

    Args:
        count: N.
        dim: D, after the stages.
        memory: bytes that are free; asked of the system when None.
        tuned: its search will be tuned, for which another one without some items is built beside it.
    """
    memory = free_memory() if memory is None else memory
    size = f"{count:,} vectors of {dim} numbers"
    if count * dim <= NUMBERS:
        return Choice("exact", f"{size} are compared one by one in some milliseconds")
    if importlib.util.find_spec("faiss") is None:
        return Choice(
            "exact", f"{size} deserve an approximate index, but faiss is not installed: pip install faiss-cpu"
        )
    # Of a graph there are the vectors, those that faiss copies while it is built, and the links.
    needed = count * (12 * dim + 2 * LINKS if tuned else 8 * dim + LINKS)
    told = f"{needed / 1e9:.1f} GB to build it, {memory / 1e9:.1f} GB are free"
    if needed <= SHARE * memory:
        return Choice(
            "hnsw", f"{size} are too many to compare one by one, and a graph of them fits into memory ({told})"
        )
    return Choice("ivf_pq", f"a graph of {size} would not fit into memory ({told}); short codes do")


def free_memory() -> int:
    """Bytes of memory that are free, or can be made so."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def dim_of(store: EmbeddingStore, pipeline: Pipeline | None) -> int:
    """Numbers of a vector after the stages."""
    return len(pipeline.learned[-1].projection) if pipeline and pipeline.learned else store.dim
