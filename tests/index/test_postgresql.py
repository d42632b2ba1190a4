"""What is peculiar to PostgreSQL: its connections, its errors, long vectors; what all databases do is elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import database_servers as servers
import numpy as np
import pytest
from numpy.typing import NDArray

from pertinent.errors import InputError, StorageError
from pertinent.index import PostgresqlIndex, _postgresql, _postgresql_search
from pertinent.index._url import without_secrets

QUERIES = np.eye(3, 4, dtype=np.float32)


def unit(count: int, dim: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(0).standard_normal((count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module", params=servers.POSTGRESQL)
def server(request: pytest.FixtureRequest, running: Callable[[str], Any]) -> Any:
    return running(request.param)


def build(server: Any, table: str, vectors: NDArray[np.float32], **options: Any) -> PostgresqlIndex:
    ids = [str(number) for number in range(len(vectors))]
    return PostgresqlIndex(vectors, **{"url": server.url(table), "ids": ids, "replace": True, **options})


def test_a_connection_that_was_cut_comes_back(server: Any):
    index = build(server, "cut", unit(20, 4))
    found = index.search(QUERIES, 3)
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s OR pid <> pg_backend_pid()"
    )
    for call in (
        lambda: np.testing.assert_array_equal(index.search(QUERIES, 3)[1], found[1]),
        lambda: index.put([20], ["20"], unit(1, 4)),
        lambda: index.remove([20]),
        lambda: index.count() == 20,
    ):
        server.ask(cut, "client backend")
        call()
    assert index.count() == 20


def test_a_server_that_does_not_answer(server: Any):
    index = build(server, "silent", unit(20, 4))
    state = {**index.state(), "url": "postgresql://somebody:secret@127.0.0.1:1/nowhere?table=silent"}
    with pytest.raises(StorageError, match=r"cannot connect to .*127.0.0.1.*check the URL") as caught:
        PostgresqlIndex.open(Path("none"), unit(20, 4), **state)
    assert "secret" not in str(caught.value)
    other = server.url("silent").replace("/postgres?", "/nowhere?")
    with pytest.raises(StorageError, match='database "nowhere" does not exist'):
        PostgresqlIndex.open(Path("none"), unit(20, 4), **{**state, "url": other})


def test_a_statement_that_takes_too_long(server: Any, monkeypatch: pytest.MonkeyPatch):
    state = build(server, "slow", unit(20, 4)).state()
    monkeypatch.setattr(_postgresql, "STATEMENT_SECONDS", 2)
    index = PostgresqlIndex.open(Path("none"), unit(20, 4), **state)
    with pytest.raises(StorageError, match="took longer than the server may take"):
        index.server.run("waiting", lambda connection: connection.execute("SELECT pg_sleep(300)"))
    assert index.count() == 20


def test_a_table_that_goes_away(server: Any):
    index = build(server, "gone", unit(20, 4))
    server.ask("DROP TABLE gone")
    for call in (lambda: index.search(QUERIES, 3), index.count, lambda: index.put([1], ["x"], unit(1, 4))):
        with pytest.raises(StorageError, match="the table is gone: build the index again"):
            call()


@pytest.mark.parametrize("comment", [None, "somebody's", '["pertinent"]', '{"pertinent": 1}', '{"pertinent": '])
def test_somebody_elses_table_is_never_replaced(server: Any, comment: str | None):
    server.ask("DROP TABLE IF EXISTS theirs; CREATE TABLE theirs (x int); INSERT INTO theirs VALUES (1)")
    if comment:
        server.ask(f"COMMENT ON TABLE theirs IS '{comment.replace(chr(39), chr(39) * 2)}'")
    for replace in (False, True, "x"):
        with pytest.raises(StorageError, match="not an index of Pertinent"):
            build(server, "theirs", unit(20, 4), replace=replace)
    assert server.ask("SELECT x FROM theirs") == [(1,)]


def test_a_build_that_fails_leaves_nothing_and_the_old_table(server: Any):
    first = build(server, "pg_kept", unit(20, 4))
    tables = server.ask("SELECT count(*) FROM pg_class")
    with pytest.raises(ZeroDivisionError):
        build(server, "pg_kept", unit(20, 4), progress=lambda done, count: done // (count - 20))
    assert server.ask("SELECT count(*) FROM pg_class") == tables
    assert first.count() == 20


def test_a_put_that_fails_changes_nothing(server: Any):
    index = build(server, "whole", unit(20, 4))
    with pytest.raises(InputError, match="out of range"):
        index.put([20, 2**63], ["20", "21"], unit(2, 4))
    assert index.count() == 20


@pytest.mark.parametrize("table", ['a "b"; DROP TABLE x', "größe", "UPPER", "x.y", "this %26 that", "{final}"])
def test_any_name_of_a_table(server: Any, table: str):
    index = build(server, table, unit(20, 4))
    again = PostgresqlIndex.open(Path("none"), unit(20, 4), **index.state())
    np.testing.assert_array_equal(again.search(QUERIES, 3)[1], index.search(QUERIES, 3)[1])
    name = table.replace("%26", "&")
    assert server.ask("SELECT count(*) FROM pg_class WHERE relname = %s", name) == [(1,)]


def test_a_user_without_rights(server: Any):
    server.ask("DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN; REVOKE CREATE ON SCHEMA public FROM public")
    with pytest.raises(StorageError, match=r"permission denied.*ask the owner"):
        build(server, "theirs", unit(20, 4), url=server.url("guests").replace("postgres:secret@", "guest@"))


def test_long_vectors(server: Any):
    vectors = unit(40, 2100)
    exact = np.argsort(-(vectors[:5] @ vectors.T), axis=1)[:, :6]
    found = build(server, "long", vectors, structure="flat").search(vectors[:5], 6)
    np.testing.assert_array_equal(found[1], exact)
    if build(server, "short", unit(20, 4)).server.version < _postgresql_search.HALF:
        with pytest.raises(InputError, match=r"at most 2000 numbers, got 2100; use structure=flat"):
            build(server, "long", vectors)
    else:
        scores, places = build(server, "long", vectors).search(vectors[:5], 6)
        np.testing.assert_array_equal(places, exact)
        np.testing.assert_allclose(scores, np.take_along_axis(vectors[:5] @ vectors.T, places, 1), atol=1e-6)
        with pytest.raises(InputError, match="at most 4000 numbers"):
            build(server, "long", unit(20, 4001))
    with pytest.raises(InputError, match="at most 16000 numbers"):
        build(server, "long", unit(2, 16001))


def test_the_graph_is_walked(server: Any):
    """Not every row is compared, unless k asks for more than a walk finds."""
    index = build(server, "walked", unit(500, 4), search=5)
    ask = "EXPLAIN SELECT 1 FROM walked ORDER BY vector <#> '[1,0,0,0]' LIMIT 3"
    plan = index.server.run("asking", lambda connection: connection.execute(ask).fetchall())
    assert "Index Scan" in str(plan)
    assert index.search(QUERIES, 500)[1].shape == (3, 500)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgres://host/db?table=x", "starts with postgresql://"),
        ("postgresql:host", "starts with postgresql://"),
        ("postgresql://host/db", "say the table"),
        ("postgresql://host/db?table=", "say the table"),
        (f"postgresql://host/db?table={'x' * 64}", "at most 63 bytes"),
        ("postgresql://host/db?table=a%25s", "without '%'"),
        ("postgresql://host/db?table=a&table=b", "says 'table' twice"),
        ("postgresql://host/db?table=a#b", "after '#'"),
        ("postgresql://u:secret@[host/db?table=a", "is no URL"),
        ("postgresql://u:secret@host/db?table=a&tabel=b", 'parameter: "tabel"'),
        ("postgresql://u:secret@host:port/db?table=a", "port"),
    ],
)
def test_urls_that_are_wrong(url: str, message: str):
    pytest.importorskip("psycopg")
    with pytest.raises((InputError, StorageError), match=message) as caught:
        PostgresqlIndex(unit(2, 4), url=url, ids=["a", "b"])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:se@cret@host/db?table=x", "postgresql://u@host/db?table=x"),
        ("postgresql:///db?host=/tmp/s&password=p%20q&table=x", "postgresql:///db?host=/tmp/s&table=x"),
        ("postgresql://h1:1,h2:2/db?table=a+b", "postgresql://h1:1,h2:2/db?table=a+b"),
        ("milvus:///tmp/x.db?collection=x", "milvus:///tmp/x.db?collection=x"),
        ("milvus://u:p@host:19530/db?collection=x", "milvus://u@host:19530/db?collection=x"),
        ("postgresql://u:p@[host", "postgresql://..."),
    ],
)
def test_urls_without_secrets(url: str, shown: str):
    assert without_secrets(url) == shown
