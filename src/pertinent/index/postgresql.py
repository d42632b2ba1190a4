"""Search in a PostgreSQL database: a table with one row an item, searched by the extension pgvector."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError
from pertinent.index._live import (
    MARK,
    Found,
    Graph,
    Progress,
    Rows,
    check_mark,
    check_vectors,
    check_where,
    is_replaced,
)
from pertinent.index._postgresql import Server, postgresql_url, statement
from pertinent.index._postgresql_search import GRAPH_DIM, HALF, HALF_DIM, Search, compared
from pertinent.index._url import without_secrets
from pertinent.index._where import Value, Where

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composed

__all__ = ["PostgresqlIndex"]

BATCH = 1000
MOST_DIM = 16_000


class PostgresqlIndex:
    """Items in a table of a PostgreSQL database with pgvector; takes changes and filters, and others may read it too.

    A row is `position` bigint (primary key), `id` text, `words` text[], `metadata` jsonb and `vector`. Scores are dot
    products. Any number of threads may search and change it. See `docs/databases.md`.

    Args:
        vectors: `(N, D)` float32, D at most 16,000.
        url: `postgresql://user@host:port/database?table=x`, and whatever else libpq takes.
        ids: N unique names.
        words: words of each item's labels.
        metadata: of each item.
        structure: `hnsw`, a graph, approximate; up to 2,000 numbers a vector, or 4,000 with pgvector 0.7. `flat`: every
            row is compared, exact.
        links: of a vector in the graph.
        build: candidates that are kept while a vector is linked.
        search: candidates that are kept in a search; at least k are.
        replace: true to replace any index that the table holds, or the identity of the one to replace. A table that
            holds anything else is never replaced.
        progress: called with the number of rows that are loaded and N.

    Raises:
        InputError: a wrong URL or option, or vectors that are too long for the structure.
        StorageError: the server cannot be reached or refuses; a table of that name is there and not to be replaced.
        MissingDependencyError: the driver is not installed.
    """

    live = True
    needs_items = True

    def __init__(
        self,
        vectors: NDArray[np.float32],
        *,
        url: str,
        ids: Sequence[str],
        words: Sequence[Sequence[str]] | None = None,
        metadata: Sequence[Mapping[str, Value]] | None = None,
        structure: str = "hnsw",
        links: int = 16,
        build: int = 64,
        search: int = 64,
        replace: bool | str = False,
        progress: Progress | None = None,
    ) -> None:
        self._hold(url, Graph(structure, links, build, search), uuid4().hex, vectors.shape[1])
        rows = Rows.of(range(len(vectors)), ids, vectors, words=words, metadata=metadata, dim=self.dim)
        self.server.run("looking for the table", lambda connection: self._check_free(connection, replace))
        self._check_dim()
        self.server.run("building the table", lambda connection: self._build(connection, rows, replace, progress))

    @classmethod
    def open(
        cls,
        folder: Path,  # noqa: ARG003
        vectors: NDArray[np.float32],
        *,
        url: str,
        identity: str,
        **graph: Any,
    ) -> PostgresqlIndex:
        """Connect to the table that was built over these vectors, by what `state` told; a password from PGPASSWORD.

        Raises:
            StorageError: the server cannot be reached, or the table is missing or holds another index.
        """
        index = cls.__new__(cls)
        index._hold(url, Graph(**graph), identity, vectors.shape[1])
        mark = index.server.run("looking for the table", index._mark)
        check_mark(mark, identity, index.dim, index.url, "table")
        return index

    def _hold(self, url: str, graph: Graph, identity: str, dim: int) -> None:
        address, self.table = postgresql_url(url)
        self.server, self.url = Server(address), without_secrets(url)
        self.graph, self.identity, self.dim = graph, identity, dim
        if dim > MOST_DIM:
            raise InputError(f"pgvector holds vectors of at most {MOST_DIM} numbers, got {dim}; reduce them by a stage")

    def search(self, queries: NDArray[np.float32], k: int, where: Where | None = None) -> Found:
        """The k items of the largest dot product with each query, best first, equal scores by position.

        Args:
            queries: `(Q, D)` float32.
            k: how many; where fewer items are found the row ends with position -1 and score -inf.
            where: only among these. Where few rows fulfil it, it is exact whatever the structure.

        Returns:
            scores and positions, `(Q, k)` each, with no more columns than the longest row has.

        Raises:
            InputError: another D, or a text in the filter that cannot be stored.
            StorageError: the server cannot be reached.
        """
        check_vectors(queries, self.dim)
        check_where(where)
        return self.server.run("searching", lambda connection: self._search(connection, queries, k, where))

    def put(
        self,
        positions: Sequence[int] | NDArray[np.int64],
        ids: Sequence[str],
        vectors: NDArray[np.float32],
        words: Sequence[Sequence[str]] | None = None,
        metadata: Sequence[Mapping[str, Value]] | None = None,
    ) -> None:
        """Add rows, or replace those at the same positions; all of them or none; stored when it returns.

        Raises:
            InputError: counts that differ, another D, or a value that the table cannot hold.
            StorageError: the server cannot be reached.
        """
        rows = Rows.of(positions, ids, vectors, words=words, metadata=metadata, dim=self.dim)
        self.server.run("adding rows", lambda connection: self._put(connection, rows))

    def remove(self, positions: Sequence[int] | NDArray[np.int64]) -> None:
        """Delete the rows at some positions; those that are not there are left out."""
        places = [int(place) for place in positions]
        ask = statement("DELETE FROM {table} WHERE position = ANY(%s::bigint[])", self.table)
        self.server.run("deleting rows", lambda connection: connection.execute(ask, [places]))

    def count(self) -> int:
        """How many rows there are."""
        ask = statement("SELECT count(*) FROM {table}", self.table)
        found = self.server.run("counting", lambda connection: connection.execute(ask).fetchone())
        return int(found[0]) if found else 0

    def state(self) -> dict[str, Any]:
        """What `open` needs; no password."""
        return {"url": self.url, "identity": self.identity, **vars(self.graph)}

    def _check_free(self, connection: Connection[Any], replace: bool | str) -> bool:
        """Whether there is a table that is to be replaced; raises StorageError for one that is not."""
        return is_replaced(self._mark(connection), replace, self.url, "table")

    def _check_dim(self) -> None:
        most = HALF_DIM if self.server.version >= HALF else GRAPH_DIM
        if self.graph.structure == "hnsw" and self.dim > most:
            version = ".".join(map(str, self.server.version))
            raise InputError(
                f"pgvector {version} builds graphs of vectors of at most {most} numbers, got {self.dim}; use "
                "structure=flat, or reduce them by a stage"
            )

    def _build(self, connection: Connection[Any], rows: Rows, replace: bool | str, progress: Progress | None) -> None:
        """Beside an older table, which others can read until the new one takes its name."""
        table = f"pertinent-{self.identity}"
        connection.execute("SELECT set_config('statement_timeout', '0', true)")
        for ask in (
            "CREATE TABLE {table} (position bigint PRIMARY KEY, id text NOT NULL, words text[] NOT NULL, "
            "metadata jsonb NOT NULL, vector vector({dim}) NOT NULL)",
            # A vector has nothing to compress.
            "ALTER TABLE {table} ALTER COLUMN vector SET STORAGE EXTERNAL",
        ):
            connection.execute(statement(ask, table, dim=self.dim))
        self._load(connection, statement("COPY {table} FROM STDIN (FORMAT BINARY)", table), rows, progress)
        for ask in (
            *self._graph_sql(),
            "CREATE INDEX ON {table} USING gin (words)",
            "CREATE INDEX ON {table} USING gin (metadata jsonb_path_ops)",
            "ANALYZE {table} (position, id, words, metadata)",
        ):
            connection.execute(statement(ask, table, links=self.graph.links, build=self.graph.build))
        older = self._check_free(connection, replace)
        mark = {MARK: {"identity": self.identity, "dim": self.dim, "structure": self.graph.structure}}
        for ask in (
            *(["DROP TABLE {final}"] if older else []),
            "COMMENT ON TABLE {table} IS {mark}",
            "ALTER TABLE {table} RENAME TO {final}",
        ):
            connection.execute(statement(ask, table, mark=json.dumps(mark), final=self.table))

    def _load(self, connection: Connection[Any], ask: Composed, rows: Rows, progress: Progress | None) -> None:
        done = 0
        with connection.cursor() as cursor, cursor.copy(ask) as copy:
            copy.set_types(["int8", "text", "text[]", "jsonb", "vector"])
            for batch in rows.batches(BATCH):
                for row in _values(batch):
                    copy.write_row(row)
                done += len(batch)
                if progress is not None:
                    progress(done, len(rows))

    def _graph_sql(self) -> list[str]:
        if self.graph.structure == "flat":
            return []
        how = "vector_ip_ops" if self.dim <= GRAPH_DIM else "halfvec_ip_ops"
        what = f"CREATE INDEX ON {{table}} USING hnsw ({compared(self.dim)} {how})"
        return [f"{what} WITH (m = {{links}}, ef_construction = {{build}})"]

    def _search(self, connection: Connection[Any], queries: NDArray[np.float32], k: int, where: Where | None) -> Found:
        search = Search(self.table, self.graph, self.dim, self.server.version)
        return search(connection, queries, k, where)

    def _put(self, connection: Connection[Any], rows: Rows) -> None:
        ask = statement(
            "INSERT INTO {table} (position, id, words, metadata, vector) VALUES (%s, %s, %s, %s, %s) "
            "ON CONFLICT (position) DO UPDATE SET id = excluded.id, words = excluded.words, "
            "metadata = excluded.metadata, vector = excluded.vector",
            self.table,
        )
        with connection.cursor() as cursor:
            for batch in rows.batches(BATCH):
                cursor.executemany(ask, _values(batch))

    def _mark(self, connection: Connection[Any]) -> Any:
        """What the table says of itself; None where there is no table, an empty mark where it says nothing."""
        ask = "SELECT obj_description(oid, 'pg_class') FROM pg_class WHERE oid = to_regclass(%s)"
        name = statement("{table}", self.table).as_string(connection)
        found = connection.execute(ask, [name]).fetchone()
        if found is None:
            return None
        try:
            return json.loads(found[0] or "{}")
        except ValueError:
            return {}


def _values(rows: Rows) -> list[list[Any]]:
    from psycopg.types.json import Jsonb

    return [
        [place, name, list(words), Jsonb(dict(metadata)), vector]
        for place, name, words, metadata, vector in zip(
            rows.positions, rows.ids, rows.words, rows.metadata, np.asarray(rows.vectors), strict=True
        )
    ]
