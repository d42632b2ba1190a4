"""A PostgreSQL server: connections that any thread may borrow, and its errors in Pertinent's words."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from pertinent.errors import InputError, MissingDependencyError, PertinentError, StorageError
from pertinent.index._url import joined, split_url, take, without_secrets

if TYPE_CHECKING:
    from psycopg import Connection, Error
    from psycopg.sql import Composed

Result = TypeVar("Result")

# A server that does not answer for so long is given up.
CONNECT_SECONDS, STATEMENT_SECONDS, SILENCE_SECONDS = 10, 60, 30
ADVICE = {
    "28": "give the password in PGPASSWORD or ~/.pgpass, or another user in the URL",
    "3D": "create the database, or name another in the URL",
    "42501": "ask the owner of the database for the right",
    "42P01": "the table is gone: build the index again",
    "53": "the server is short of memory, disk or connections: free some, then try again",
    "57014": "it took longer than the server may take; see docs/databases.md on limits",
    "55P03": "another program holds the table: try again when it is done",
}


def load_psycopg() -> Any:
    """The driver, with pgvector's part of it; raises MissingDependencyError unless both are installed."""
    try:
        import pgvector.psycopg  # noqa: F401
        import psycopg
    except ImportError as error:
        raise MissingDependencyError(
            "an index in PostgreSQL needs psycopg and pgvector: pip install 'pertinent[postgresql]'"
        ) from error
    return psycopg


class Server:
    """A database on a PostgreSQL server.

    Args:
        url: as libpq takes it, without a table.

    Raises:
        InputError: a URL that libpq does not take.
        MissingDependencyError: the driver is not installed.
    """

    def __init__(self, url: str) -> None:
        self.driver = load_psycopg()
        self.name = without_secrets(url)
        try:
            given = self.driver.conninfo.conninfo_to_dict(url)
        except self.driver.ProgrammingError as error:
            raise InputError(f"{self.name}: {_reason(error)}") from error
        limits = {"connect_timeout": CONNECT_SECONDS, "tcp_user_timeout": 1000 * SILENCE_SECONDS}
        self.parameters = {**limits, **given}
        self.version: tuple[int, ...] = ()
        self._free: list[Connection[Any]] = []
        self._lock = threading.Lock()
        weakref.finalize(self, _close, self._free)

    def run(self, doing: str, work: Callable[[Connection[Any]], Result]) -> Result:
        """Call `work` with a connection, in a transaction; once more with a new one if the connection was lost.

        Args:
            doing: what it does, for messages.
            work: may be called twice.

        Raises:
            StorageError: the server cannot be reached or does not do it.
            InputError: a value that it cannot hold.
        """
        try:
            return self._attempt(work)
        except self.driver.OperationalError as error:
            if not _is_lost(error):
                raise self._translated(error, doing) from error
        except self.driver.Error as error:
            raise self._translated(error, doing) from error
        self.close()
        try:
            return self._attempt(work)
        except self.driver.Error as error:
            raise self._translated(error, doing) from error

    def close(self) -> None:
        """Close the connections that nobody uses; they open again when they are needed."""
        with self._lock:
            _close(self._free)

    def _attempt(self, work: Callable[[Connection[Any]], Result]) -> Result:
        with self._borrowed() as connection, connection.transaction():
            return work(connection)

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[Connection[Any]]:
        with self._lock:
            connection = self._free.pop() if self._free else None
        connection = connection or self._connect()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._free.append(connection)

    def _connect(self) -> Connection[Any]:
        import pgvector.psycopg

        try:
            connection: Connection[Any] = self.driver.connect(**self.parameters, autocommit=True)
        except self.driver.Error as error:
            raise StorageError(
                f"cannot connect to {self.name}: {_reason(error)}; check the URL, that the server runs, and the "
                "password (PGPASSWORD or ~/.pgpass)"
            ) from error
        try:
            # Compiling a statement takes longer than any of these does.
            ask = "SELECT set_config('statement_timeout', %s, false), set_config('jit', 'off', false)"
            connection.execute(ask, [f"{STATEMENT_SECONDS}s"])
            self.version = _extension(connection)
            pgvector.psycopg.register_vector(connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, self.driver.Error):
                raise self._translated(error, "asking for the extension `vector`") from error
            raise
        return connection

    def _translated(self, error: Error, doing: str) -> PertinentError:
        state = error.sqlstate or ""
        if isinstance(error, self.driver.DataError):
            return InputError(f"{self.name}: {doing}: {_reason(error)}")
        advice = next((text for code, text in ADVICE.items() if state.startswith(code)), "see the server's log")
        return StorageError(f"{self.name}: {doing} failed: {_reason(error)}; {advice}")


def postgresql_url(url: str) -> tuple[str, str]:
    """The URL of a database and the name of a table in it.

    Raises:
        InputError: no such URL, or no name of a table that PostgreSQL can hold.
    """
    parts, own = take(split_url(url, "postgresql"), "table")
    table = own.get("table", "")
    if not table or len(table.encode()) > 63 or set(table) & {"\0", "%"}:
        example = "postgresql://user@host/database?table=x"
        raise InputError(f"say the table in the URL, in at most 63 bytes and without '%': {example}; got {table!r}")
    return joined(parts), table


def statement(text: str, table: str, **parts: str | int) -> Composed:
    """A statement with names and numbers in their places; `%s` stays for the values.

    Args:
        text: holds `{table}`, and other parts by their names.
        table: a name, quoted as one.
        parts: `final` is a name too; the others are quoted as values.
    """
    from psycopg.sql import SQL, Identifier, Literal

    names = {name: Identifier(str(part)) if name == "final" else Literal(part) for name, part in parts.items()}
    return SQL(text).format(table=Identifier(table), **names)


def _extension(connection: Connection[Any]) -> tuple[int, ...]:
    ask = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
    found = connection.execute(ask).fetchone()
    if found is None:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        found = connection.execute(ask).fetchone()
    assert found is not None
    return tuple(int(part) for part in found[0].split("."))


def _is_lost(error: Error) -> bool:
    """Whether the connection went away, by its own fault (no state) or by the server's (class 57P)."""
    return error.sqlstate is None or error.sqlstate.startswith("57P")


def _reason(error: Error) -> str:
    """The first line of what the server or the driver says, which holds no password."""
    text = error.diag.message_primary or str(error)
    return text.strip().partition("\n")[0]


def _close(connections: list[Connection[Any]]) -> None:
    while connections:
        connections.pop().close()
