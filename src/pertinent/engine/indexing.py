"""Choosing a kind of index for a collection, and the effort of its search for a wished recall.

Letters: N items, Q queries, D dim.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pertinent.errors import InputError, StorageError
from pertinent.index import Index
from pertinent.index.binary import BinaryIndex
from pertinent.index.exact import ExactIndex
from pertinent.pipeline import Pipeline
from pertinent.store import EmbeddingStore

NUMBERS = 10_000_000
"""An exact search reads every number of every vector; so many take some milliseconds."""

SHARE = 0.5
"""Of the memory that is free, what an index may take."""

K, QUERIES, TIMED = 10, 1000, 50
# Equal vectors may be scored unequally in the last digit.
CLOSE = 1e-6
MOST = 4096


@dataclass(frozen=True)
class Choice:
    """A kind of index, and why."""

    kind: str
    why: str


@dataclass(frozen=True)
class Measured:
    """What was measured of an index, as `index.json` holds it.

    Attributes:
        recall: share of the true 10 nearest that a search finds; where several are equally near any of them counts.
        wished: the recall that was asked for.
        queries: how many were asked.
        held_out: where they came from: `queries` of the store, or `items` that were taken out of their own results.
        effort: the option that decides between speed and recall, with its value; none for an exact index.
        ms_a_query: median wall milliseconds of one search with all stages, one query at a time, one thread.
        cpu_ms_a_query: mean CPU milliseconds of the same.
        structure_bytes: what the structure holds.
        vectors_bytes: the vectors, which lie on disk and are mapped.
    """

    recall: float
    wished: float
    queries: int
    held_out: str
    effort: dict[str, int]
    ms_a_query: float
    cpu_ms_a_query: float
    structure_bytes: int
    vectors_bytes: int

    @property
    def reached(self) -> bool:
        """Whether the recall is the wished one."""
        return self.recall >= self.wished


def choose(count: int, dim: int, memory: int | None = None) -> Choice:
    """A kind for N vectors of D numbers.

    Args:
        count: N.
        dim: D, after the stages.
        memory: bytes that are free; asked of the system when None.
    """
    memory = free_memory() if memory is None else memory
    size = f"{count:,} vectors of {dim} numbers"
    if count * dim <= NUMBERS:
        return Choice("exact", f"{size} are compared one by one in some milliseconds")
    if importlib.util.find_spec("faiss") is None:
        return Choice(
            "exact", f"{size} deserve an approximate index, but faiss is not installed: pip install faiss-cpu"
        )
    # The vectors twice, and the links of a graph with the default options.
    needed = count * (8 * dim + 8 * 32 + 32)
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


def check_replaced(folder: Path) -> None:
    """Raise StorageError where a new index would take the place of one with changes, which are nowhere else."""
    if Index.has_changes(folder):
        raise StorageError(
            f"the index in {folder} holds items that were put or deleted since it was built, and building it again "
            f"from the store would lose that; keep them with: pertinent index {folder} --compact, choose another "
            "folder, or delete this one"
        )


def tune(index: Index, wished: float, seed: int = 0) -> Measured:
    """Set the effort of an index's search to the least that reaches a recall, and measure.

    Args:
        index: just built; its options and `measured` are set.
        wished: recall of the first 10, above 0 and up to 1. Where no effort reaches it the index keeps the best.
        seed: of the sample of items that are asked for.

    Raises:
        InputError: a recall out of range, fewer than two items, or a kind without such an option.
    """
    if not 0 < wished <= 1:
        raise InputError(f"recall must be above 0 and at most 1, got {wished:g}")
    effort = getattr(index.structure, "effort", None)
    if effort is None and not isinstance(index.structure, ExactIndex | BinaryIndex):
        raise InputError(f"the kind {index.kind} has no option to tune for a recall; leave --recall out")
    trial = _Trial.of(index, seed)
    found: dict[str, int] = {}
    if effort is not None:
        option, attribute = effort
        value = _least(index.structure, attribute, trial, wished)
        index.options[option] = found[option] = value
    wall, cpu = _cost(index, trial.raw[:TIMED])
    measured = Measured(
        round(trial.recall(index.structure), 4),
        wished,
        len(trial.queries),
        "items" if (trial.own >= 0).any() else "queries",
        found,
        round(wall, 4),
        round(cpu, 4),
        structure_bytes(index),
        index.items.nbytes,
    )
    index.measured = asdict(measured)
    return measured


@dataclass(frozen=True)
class _Trial:
    """Queries whose true neighbours are known.

    Attributes:
        raw: `(Q, D)` as they are asked.
        queries: `(Q, K)` as they are compared.
        own: `(Q,)` the item that each is, -1 where it is none.
        worst: `(Q,)` score of the last of its true neighbours.
        k: how many these are.
    """

    raw: NDArray[np.float32]
    queries: NDArray[np.float32]
    own: NDArray[np.int64]
    worst: NDArray[np.float32]
    k: int

    @classmethod
    def of(cls, index: Index, seed: int) -> _Trial:
        """Queries of the store, or else a sample of its items."""
        store, items = index.store, index.items
        if len(items) < 2:
            raise InputError(f"recall is measured among at least 2 items, there are {len(items)}")
        rng, probes = np.random.default_rng(seed), len(store) - len(items)
        start, there = (len(items), probes) if probes else (0, len(items))
        rows = start + np.sort(rng.permutation(there)[:QUERIES])
        raw = np.array(store.vectors[rows])
        if probes:
            pipeline = Pipeline(index.pipeline.whiteners, index.pipeline.learned)
            queries = pipeline.items(raw) if pipeline.stages or not index.by_sign else raw
        else:
            queries = np.array(items[rows])
        own = np.full(len(rows), -1) if probes else rows
        k = min(K, len(items) - 1)
        scores, positions = _reference(index).search(queries, k + 1)
        best, _ = _without_own(scores, positions, own, k)
        return cls(raw, queries, own, best[:, -1], k)

    def recall(self, structure: Any) -> float:
        """Share of the true neighbours that a structure finds."""
        found = structure.search(self.queries, self.k + 1)
        scores, _ = _without_own(found[0], found[1], self.own, self.k)
        return float((scores >= self.worst[:, None] - CLOSE).mean())


def _reference(index: Index) -> Any:
    if not index.by_sign:
        return ExactIndex(index.items)
    options = index.structure.items.state()
    return BinaryIndex(index.items, **options)


def _without_own(
    scores: NDArray[np.float32], positions: NDArray[np.int64], own: NDArray[np.int64], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    first = np.argsort(positions == own[:, None], axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, first, axis=1), np.take_along_axis(positions, first, axis=1)


def _least(structure: Any, attribute: str, trial: _Trial, wished: float) -> int:
    """The least effort, to a tenth, that reaches the recall; the best where none does. It stays set."""

    def reaches(value: int) -> bool:
        setattr(structure, attribute, value)
        tried[value] = trial.recall(structure)
        return tried[value] >= wished

    tried: dict[int, float] = {}
    low, high = 0, 1
    while not reaches(high) and high < MOST:
        low, high = high, 2 * high
    if tried[high] < wished:
        high = max(tried, key=lambda value: (tried[value], -value))
        low = high
    while high - low > max(1, high // 10):
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    setattr(structure, attribute, high)
    return high


def _cost(index: Index, queries: NDArray[np.float32]) -> tuple[float, float]:
    """Median wall and mean CPU milliseconds of a search."""
    walls = []
    with _one_thread():
        index.search(queries[0], K)
        started = time.process_time()
        for query in queries:
            begun = time.perf_counter()
            index.search(query, K)
            walls.append(time.perf_counter() - begun)
        cpu = time.process_time() - started
    return 1000 * float(np.median(walls)), 1000 * cpu / len(queries)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def structure_bytes(index: Index) -> int:
    """Bytes that the structure of an index holds beside the vectors."""
    structure = index.structure
    return int(structure.items.codes.nbytes if index.by_sign else getattr(structure, "nbytes", 0))
