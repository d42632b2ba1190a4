"""Every kind of index behind `Index` gives the same answers, with filters and after changes, here or in a database."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import database_servers as servers
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from pertinent.cli.__main__ import app
from pertinent.errors import StorageError, UnknownNameError
from pertinent.index import INDEXES, Hits, Index, Where
from pertinent.store import EmbeddingStore, StoreLabels

N, PROBES, D = 120, 5, 8
DATABASES = [*servers.POSTGRESQL, "milvus"]
LOCAL = {"hnsw": {"search": N}} if "hnsw" in INDEXES.names() else {}
NUMBERS = itertools.count()


def vectors(count: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, D)).astype(np.float32)


QUERIES = vectors(6, 1)
WHERES = [
    None,
    Where(labels=("fine 3",)),
    Where(labels=("fine 3", "coarse 3")),
    Where(labels=("coarse 1",), metadata={"price": [1, 2.0, True]}),
    Where(metadata={"sold": True}, ids_not=("id 0", "id 2", "nobody")),
    Where(ids_not=tuple(f"id {number}" for number in range(N))),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingStore:
    """Vectors of any length in a tree of labels; the last ones are queries only."""
    numbers = np.arange(N + PROBES)
    labels = StoreLabels(
        "tree",
        np.stack([numbers % 8, numbers % 4], axis=1),
        ("fine", "coarse"),
        ([f"fine {number}" for number in range(8)], [f"coarse {number}" for number in range(4)]),
        probes=PROBES,
    )
    ids = [f"id {number}" for number in numbers]
    return EmbeddingStore.write(tmp_path_factory.mktemp("store"), vectors(N + PROBES, 0), ids, labels=labels)


METADATA = {f"id {number}": {"price": number % 5, "sold": number % 3 == 0} for number in range(0, N, 2)}


@pytest.fixture(params=[*LOCAL, *DATABASES])
def index(
    request: pytest.FixtureRequest, store: EmbeddingStore, running: Callable[[str], Any], tmp_path: Path
) -> Index:
    """Saved in a folder."""
    if request.param in LOCAL:
        kind, options = request.param, LOCAL[request.param]
    else:
        kind, options = running(request.param).url(f"alike_{next(NUMBERS)}"), {"search": N}
    index = Index.build(store, kind, metadata=METADATA, **options)
    index.save(tmp_path / "index")
    return index


@pytest.fixture
def exact(store: EmbeddingStore) -> Index:
    """What it is compared with."""
    return Index.build(store, "exact", metadata=METADATA)


def agree(found: Hits, want: Hits) -> None:
    for row, wanted in zip(found.ids, want.ids, strict=True):
        assert [name for name in row if name] == wanted
    filled = found.positions >= 0
    np.testing.assert_array_equal(found.positions[filled], want.positions.ravel())
    np.testing.assert_allclose(found.scores[filled], want.scores.ravel(), atol=1e-5)


def agree_on_everything(index: Index, exact: Index) -> None:
    assert len(index) == len(exact)
    for where, k in itertools.product(WHERES, (1, 10, 2 * N)):
        agree(index.search(QUERIES, k, where), exact.search(QUERIES, k, where))


def change(index: Index) -> None:
    index.put(
        ["new 0", "id 7", "new 'quoted\""],
        vectors(3, 2),
        words=[["fine 3", "coarse 3"], ["fine 3"], []],
        metadata=[{"price": 2}, {}, {"sold": True}],
    )
    index.delete(["id 3", "id 11"])
    index.put(["id 3"], vectors(1, 3), words=[["fine 1", "coarse 1"]])
    index.delete(["new 0"])


def test_the_same_answers(index: Index, exact: Index):
    agree_on_everything(index, exact)


def test_the_same_answers_after_changes_and_when_opened_again(index: Index, exact: Index, tmp_path: Path):
    change(index)
    change(exact)
    agree_on_everything(index, exact)
    index.close()
    opened = Index.open(tmp_path / "index")
    agree_on_everything(opened, exact)
    for position in (0, 3, N + PROBES + 1, N + PROBES + 3):
        assert opened.item(position) == exact.item(position)
        np.testing.assert_array_equal(opened.vector(position), exact.vector(position))
    assert opened.position("id 3") == exact.position("id 3") == N + PROBES + 3
    opened.put(["last"], vectors(1, 9))
    exact.put(["last"], vectors(1, 9))
    agree_on_everything(opened, exact)


def test_unknown_names(index: Index):
    for where in (Where(labels=("fine 33",)), Where(metadata={"prize": 1})):
        with pytest.raises(UnknownNameError, match="did you mean"):
            index.search(QUERIES, 3, where)
    with pytest.raises(UnknownNameError):
        index.delete(["nobody"])
    assert len(index) == N


def test_searches_beside_changes(index: Index):
    known = {f"id {number}" for number in range(N)} | {f"more {number}" for number in range(4)}
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(index.search, QUERIES, 3) for _ in range(12)]
        for number in range(4):
            index.put([f"more {number}"], vectors(1, number))
        for each in found:
            hits = each.result()
            assert hits.scores.shape == (len(QUERIES), 3)
            assert {name for row in hits.ids for name in row} <= known
    assert len(index) == N + 4
    assert np.isfinite(index.search(QUERIES, 3).scores).all()


@pytest.mark.parametrize("name", DATABASES)
def test_the_command_builds_its_own_again_and_no_other(
    store: EmbeddingStore, running: Callable[[str], Any], tmp_path: Path, name: str
):
    url, folder = running(name).url(f"alike_{next(NUMBERS)}"), tmp_path / "index"

    def call(out: Path) -> Result:
        words = ["index", str(store.folder), "--kind", url, "--option", "search=100", "--out", str(out)]
        return CliRunner().invoke(app, words)

    for _ in range(2):
        result = call(folder)
        assert result.exit_code == 0, result.output
        assert f"index of {N} items" in result.stdout
        assert len(Index.open(folder)) == N
    other = call(tmp_path / "other")
    assert other.exit_code == 1
    assert "holds an index already" in other.stderr


@pytest.mark.parametrize("name", DATABASES)
def test_the_folder_of_a_database_index(
    store: EmbeddingStore, running: Callable[[str], Any], tmp_path: Path, name: str
):
    url = running(name).url(f"alike_{next(NUMBERS)}")
    first = Index.build(store, url)
    first.save(tmp_path / "index")
    written = (tmp_path / "index" / "index.json").read_text()
    assert "secret" not in written
    assert json.loads(written)["kind"] == url.partition(":")[0]
    with pytest.raises(StorageError, match="holds an index already"):
        Index.build(store, url)
    Index.build(store, url, replace=json.loads(written)["state"]["identity"])
    with pytest.raises(StorageError, match="build the index again"):
        Index.open(tmp_path / "index")
