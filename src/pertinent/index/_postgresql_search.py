"""Search in a table of PostgreSQL: by a graph of pgvector, or by comparing all rows that fulfil a condition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pertinent.index._live import Found, Graph, best
from pertinent.index._postgresql import statement

if TYPE_CHECKING:
    from psycopg import Connection

    from pertinent.index._where import Where

# What rows must fulfil, and the values in it.
Condition = tuple[str, list[Any]]

# So many rows or fewer that fulfil a condition are compared one by one, in some dozens of milliseconds.
FEW = 10_000
# A graph holds vectors of so many numbers, or of twice as many in half precision; a walk keeps so many candidates.
GRAPH_DIM, HALF_DIM, DEEPEST = 2000, 4000, 1000
# Versions of pgvector that know half precision, and that go on walking until enough is found.
HALF, ITERATES = (0, 7), (0, 8)


@dataclass(frozen=True)
class Search:
    """How a table is searched.

    Attributes:
        table: its name.
        graph: how items are found.
        dim: D.
        version: of pgvector.
    """

    table: str
    graph: Graph
    dim: int
    version: tuple[int, ...]

    def __call__(self, connection: Connection[Any], queries: NDArray[np.float32], k: int, where: Where | None) -> Found:
        """The k nearest rows of each query `(Q, D)`, best first: scores and positions, `(Q, k)` each."""
        condition = _condition(where)
        deep = k > DEEPEST and not self.iterates
        exact = self.graph.structure == "flat" or deep or self._are_few(connection, condition, k)
        found = self._nearest(connection, queries, k, condition, exact)
        # A walk through the graph may end before it has found k that fulfil the condition.
        short = [row for row, hits in enumerate(found) if len(hits) < k and not exact]
        if short:
            again = self._nearest(connection, queries[short], k, condition, True)
            for row, hits in zip(short, again, strict=True):
                found[row] = hits
        return best(found, k)

    @property
    def iterates(self) -> bool:
        """Whether a walk goes on until it has found enough."""
        return self.version >= ITERATES

    def _are_few(self, connection: Connection[Any], condition: Condition, k: int) -> bool:
        text, values = condition
        if not text:
            return False
        most = max(FEW, k)
        text = f"SELECT count(*) FROM (SELECT 1 FROM {{table}} {text} LIMIT {{most}}) few"
        ask = statement(text, self.table, most=most + 1)
        found = connection.execute(ask, values).fetchone()
        return found is not None and found[0] <= most

    def _nearest(
        self, connection: Connection[Any], queries: NDArray[np.float32], k: int, condition: Condition, exact: bool
    ) -> list[list[tuple[int, float]]]:
        text, values = condition
        self._tune(connection, k, bool(text), exact)
        half = self.dim > GRAPH_DIM and not exact
        order = "vector <#> %s, position" if exact else f"{compared(self.dim)} <#> {'%s::halfvec' if half else '%s'}"
        # Half precision is for finding more than enough; the scores are of the numbers themselves.
        text = f"SELECT position, -(vector <#> %s) FROM {{table}} {text} ORDER BY {order} LIMIT {{limit}}"
        ask = statement(text, self.table, limit=2 * k if half else k)
        with connection.cursor(binary=True) as cursor:
            cursor.executemany(ask, [[query, *values, query] for query in queries], returning=True)
            return [result.fetchall() for result in cursor.results()]

    def _tune(self, connection: Connection[Any], k: int, filtered: bool, exact: bool) -> None:
        """Settings until the transaction ends."""
        kept = DEEPEST if filtered and not self.iterates else min(DEEPEST, max(self.graph.search, k))
        settings = {
            "enable_indexscan": "off" if exact else "on",
            "hnsw.ef_search": str(kept),
            **({"hnsw.iterative_scan": "strict_order"} if self.iterates else {}),
        }
        ask = ", ".join(["set_config(%s, %s, true)"] * len(settings))
        pairs = [text for pair in settings.items() for text in pair]
        connection.execute(f"SELECT {ask}", pairs)


def compared(dim: int) -> str:
    """What a graph is made of."""
    return "vector" if dim <= GRAPH_DIM else f"(vector::halfvec({dim}))"


def _condition(where: Where | None) -> Condition:
    """What rows must fulfil, and the values in it."""
    from psycopg.types.json import Jsonb

    if not where:
        return "", []
    parts: list[str] = []
    values: list[Any] = []
    if where.labels:
        parts.append("words @> %s::text[]")
        values.append(list(where.labels))
    for key in where.metadata:
        parts.append("metadata @> ANY(%s::jsonb[])")
        values.append([Jsonb({key: value}) for _, value in where.values(key)])
    if where.ids_not:
        parts.append("id <> ALL(%s::text[])")
        values.append(list(where.ids_not))
    return f"WHERE {' AND '.join(parts)}", values
