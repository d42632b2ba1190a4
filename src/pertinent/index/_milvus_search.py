"""Search in a collection of Milvus: by its own structure, or by comparing here all that fulfil a condition."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pertinent.functional.neighbours import blocks, in_order
from pertinent.index._live import Found, Graph, best
from pertinent.index.exact import ExactIndex

if TYPE_CHECKING:
    from pertinent.index._where import Value, Where

Hits = list[list[tuple[int, float]]]

# So many entities or fewer that fulfil a condition are brought here and compared one by one.
FEW = 2000
# Milvus returns no more of a query at once.
MOST = 16_384
# Of a message, whose most is 64 MB, and numbers in an answer.
BATCH_BYTES, ANSWERS = 8 * 2**20, 2**18
SECONDS = 60


@dataclass(frozen=True)
class Search:
    """How a collection is searched.

    Attributes:
        client: of the server.
        collection: its name.
        graph: how items are found.
        dim: D.
    """

    client: Any
    collection: str
    graph: Graph
    dim: int

    def __call__(self, queries: NDArray[np.float32], k: int, where: Where | None) -> Found:
        """The k nearest entities of each query `(Q, D)`, best first: scores and positions, `(Q, k)` each."""
        condition = _condition(where)
        there = self.count(condition) if condition and self.graph.structure == "hnsw" else None
        if k > MOST or (there is not None and there <= max(FEW, k)):
            return self._compare(queries, k, condition)
        found = self._nearest(queries, k, condition)
        # A walk through the graph may end before it has found k that fulfil the condition.
        short = [row for row, hits in enumerate(found) if len(hits) < k]
        if short:
            there = self.count(condition) if there is None else there
            short = [row for row in short if len(found[row]) < min(k, there)]
        if short:
            scores, positions = self._compare(queries[short], k, condition)
            for row, values, places in zip(short, scores.tolist(), positions.tolist(), strict=True):
                found[row] = list(zip(places, values, strict=True))
        return best(found, k)

    def _nearest(self, queries: NDArray[np.float32], k: int, condition: str) -> Hits:
        numbers = {"ef": max(self.graph.search, k)} if self.graph.structure == "hnsw" else {}
        size = max(1, min(ANSWERS // k, BATCH_BYTES // (4 * self.dim), MOST))
        found: Hits = []
        for rows in blocks(len(queries), size):
            answer = self.client.search(
                self.collection,
                data=list(queries[rows]),
                filter=condition,
                limit=k,
                output_fields=["position"],
                search_params={"metric_type": "IP", "params": numbers},
                anns_field="vector",
                timeout=SECONDS,
            )
            found += [[(hit["position"], hit["distance"]) for hit in hits] for hits in answer]
        return found

    def _compare(self, queries: NDArray[np.float32], k: int, condition: str) -> Found:
        """The k best of all that fulfil a condition, compared here."""
        scores = torch.empty(len(queries), 0)
        positions = torch.empty(len(queries), 0, dtype=torch.int64)
        for batch in self._scan(condition):
            vectors = np.array([hit["vector"] for hit in batch], np.float32)
            numbers = torch.tensor([hit["position"] for hit in batch])
            values, places = ExactIndex(vectors).search(queries, k)
            scores = torch.cat([scores, torch.from_numpy(values)], dim=1)
            positions = torch.cat([positions, numbers[torch.from_numpy(places)]], dim=1)
            scores, positions = in_order(scores, positions, k)
        return scores.numpy(), positions.numpy()

    def _scan(self, condition: str) -> Iterator[list[dict[str, Any]]]:
        """Positions and vectors of all that fulfil a condition, some at a time."""
        fields = ["position", "vector"]
        batches = self.client.query_iterator(
            self.collection, batch_size=batch_size(self.dim), filter=condition, output_fields=fields, timeout=SECONDS
        )
        try:
            while batch := batches.next():
                yield batch
        finally:
            batches.close()

    def count(self, condition: str) -> int:
        """How many entities fulfil a condition."""
        ask = {"filter": condition, "output_fields": ["count(*)"], "timeout": SECONDS}
        return int(self.client.query(self.collection, **ask)[0]["count(*)"])


def batch_size(dim: int) -> int:
    """So many entities go in one message."""
    return max(1, min(MOST, BATCH_BYTES // (4 * dim + 256)))


def pair(key: str, value: Value) -> str:
    """A key and a value as one word; 1 and 1.0 give the same, 1 and true do not."""
    whole = isinstance(value, float) and value.is_integer()
    return json.dumps([key, int(value) if whole else value], ensure_ascii=False)


def _condition(where: Where | None) -> str:
    """What entities must fulfil, as Milvus reads it."""
    if not where:
        return ""
    parts = []
    if where.labels:
        parts.append(f"ARRAY_CONTAINS_ALL(words, {_quoted(where.labels)})")
    for key in where.metadata:
        parts.append(f"ARRAY_CONTAINS_ANY(pairs, {_quoted(pair(key, value) for _, value in where.values(key))})")
    if where.ids_not:
        parts.append(f"id not in {_quoted(where.ids_not)}")
    return " and ".join(parts)


QUOTED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t"})


def _quoted(words: Iterable[str]) -> str:
    """Words in quotes; these are all the characters that end a quotation or cannot stand in one."""
    return "[" + ", ".join(f'"{word.translate(QUOTED)}"' for word in words) + "]"
