"""Tuning the search of an index for a wished recall, measured on queries that the index does not hold.

Letters: N items, Q queries, D dim, K numbers of a vector as it is compared.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pertinent.engine.indexing import SHARE, free_memory
from pertinent.errors import InputError
from pertinent.functional.neighbours import blocks
from pertinent.index import INDEXES, Index
from pertinent.index.binary import BinaryIndex
from pertinent.index.exact import ExactIndex
from pertinent.pipeline import Pipeline

K, QUERIES, TIMED = 10, 1000, 50
# Of the items, so many are held out at most: without them an index is nearly what it is with them.
TENTH = 10
# Equal vectors may be scored unequally in the last digit.
CLOSE = 1e-6
MOST = 4096
ROWS = 65536
CHOOSING, MEASURING = slice(0, None, 2), slice(1, None, 2)


@dataclass(frozen=True)
class Measured:
    """What was measured of an index, as `index.json` holds it.

    Attributes:
        recall: share of the true 10 nearest that a search finds; where several are equally near any of them counts.
        chosen_by: the same of other queries, by which the effort was chosen; by these it is a little too good.
        wished: the recall that was asked for.
        queries: how many were asked, in both halves together.
        held_out: where they came from: `queries` of the store, or `items`, which an index was built without.
        effort: the option that decides between speed and recall, with its value; none for an exact index.
        ms_a_query: median wall milliseconds of one search with all stages, one query at a time, one thread.
        cpu_ms_a_query: mean CPU milliseconds of the same.
        structure_bytes: what the structure holds.
        vectors_bytes: the vectors, which lie on disk and are mapped.
    """

    recall: float
    chosen_by: float
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
        """Whether an effort was found that has the wished recall."""
        return self.chosen_by >= self.wished


def tune(index: Index, wished: float, seed: int = 0) -> Measured:
    """Set the effort of an index's search to the least that reaches a recall, and measure.

    The queries are those of the store. Where it has none they are a sample of its items, and the recall is that of an
    index which is built without them: one that holds a query knows the way to its neighbours far too well. Half of the
    queries choose the effort, the other half measure.

    Args:
        index: just built; its options and `measured` are set.
        wished: recall of the first 10, above 0 and up to 1. Where no effort reaches it the index keeps the best.
        seed: of the sample of items.

    Raises:
        InputError: a recall out of range, fewer than two items, too few of them for such an index without the sample,
            or a kind without such an option.
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
        value = _least(trial, attribute, wished)
        setattr(index.structure, attribute, value)
        index.options[option] = found[option] = value
    wall, cpu = _cost(index, trial.raw[:TIMED])
    measured = Measured(
        round(trial.recall(MEASURING), 4),
        round(trial.recall(CHOOSING), 4),
        wished,
        len(trial.queries),
        trial.held_out,
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
    """A structure, and queries that it does not hold, whose true neighbours in it are known.

    Attributes:
        raw: `(Q, D)` as they are asked.
        queries: `(Q, K)` as they are compared.
        worst: `(Q,)` score of the last of its true neighbours.
        k: how many these are.
        structure: that of the index, or one like it without the queries.
        held_out: where the queries came from.
    """

    raw: NDArray[np.float32]
    queries: NDArray[np.float32]
    worst: NDArray[np.float32]
    k: int
    structure: Any
    held_out: str

    @classmethod
    def of(cls, index: Index, seed: int) -> _Trial:
        """With the queries of the store, or else a sample of its items."""
        store, items, structure = index.store, index.items, index.structure
        if len(items) < 2:
            raise InputError(f"recall is measured among at least 2 items, there are {len(items)}")
        rng, probes = np.random.default_rng(seed), len(store) - len(items)
        if probes:
            raw = np.array(store.vectors[len(items) + np.sort(rng.permutation(probes)[:QUERIES])])
            pipeline = Pipeline(index.pipeline.whiteners, index.pipeline.learned)
            queries = pipeline.items(raw) if pipeline.stages or not index.by_sign else raw
        else:
            rows = np.sort(rng.permutation(len(items))[: min(QUERIES, -(-len(items) // TENTH))])
            raw, queries, items = np.array(store.vectors[rows]), np.array(items[rows]), _without(items, rows)
            structure = _like(index, items)
        k = min(K, len(items))
        best, _ = _exact(index, items).search(queries, k)
        return cls(raw, queries, best[:, -1], k, structure, "queries" if probes else "items")

    def recall(self, half: slice) -> float:
        """Share of the true neighbours of half of the queries that the structure finds; of a single query, of that."""
        half = half if len(self.queries) > 1 else slice(None)
        scores, _ = self.structure.search(self.queries[half], self.k)
        return float((scores >= self.worst[half, None] - CLOSE).mean())


def _without(items: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """The other items; on disk, where they would fill too much of the memory."""
    kept = np.delete(np.arange(len(items)), rows)
    if items.nbytes < SHARE * free_memory():
        return items[kept]
    with tempfile.TemporaryFile() as file:
        others = np.memmap(file, np.float32, "w+", shape=(len(kept), items.shape[1]))
    for some in blocks(len(kept), ROWS):
        others[some] = items[kept[some]]
    return others


def _like(index: Index, items: NDArray[np.float32]) -> Any:
    try:
        return INDEXES.build(index.kind, vectors=items, **index.options)
    except InputError as error:
        raise InputError(
            f"recall is measured by an index without some of the items, and there are too few: {error}; "
            "leave --recall out"
        ) from error


def _exact(index: Index, items: NDArray[np.float32]) -> Any:
    """What finds the true neighbours."""
    return BinaryIndex(items, **index.structure.items.state()) if index.by_sign else ExactIndex(items)


def _least(trial: _Trial, attribute: str, wished: float) -> int:
    """The least effort, to a tenth, that reaches the recall; the best where none does. It stays set."""

    def reaches(value: int) -> bool:
        setattr(trial.structure, attribute, value)
        tried[value] = trial.recall(CHOOSING)
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
    setattr(trial.structure, attribute, high)
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
