"""What every database does alike: PostgreSQL and Milvus as kinds of index, against a literal search."""

from __future__ import annotations

import itertools
import json
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import database_servers as servers
import numpy as np
import pytest
from numpy.typing import NDArray

from pertinent.errors import InputError, MissingDependencyError, StorageError
from pertinent.index import INDEXES, Where, _milvus, _milvus_search, _postgresql_search

N, D = 300, 16
NASTY = [
    "x'); DROP TABLE items; --",
    'say "so"',
    "back\\slash\\",
    "new\nline\ttab",
    "größe 猫 \U0001f408",
    "%s {table}",
    "",
]
NUMBERS = itertools.count()
KINDS = [*servers.POSTGRESQL, "milvus"]


def unit(count: int, dim: int = D, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Collection:
    """Items as a database is to hold them, searched literally."""

    def __init__(self, count: int = N, dim: int = D) -> None:
        self.vectors = unit(count, dim)
        self.vectors[1::10] = self.vectors[::10][: len(self.vectors[1::10])]  # ties
        self.ids = [f"item {number}" for number in range(count)]
        self.words = [[f"fine {number % 30}", NASTY[number % 7]] for number in range(count)]
        self.metadata: list[dict[str, Any]] = [
            {"n": number % 50, "even": number % 2 == 0, "a \"key'": NASTY[number % 7], "half": number / 2}
            for number in range(count)
        ]
        self.rows = {number: number for number in range(count)}  # by position

    def __getitem__(self, positions: list[int]) -> dict[str, Any]:
        parts = {name: [getattr(self, name)[place] for place in positions] for name in ("ids", "words", "metadata")}
        return {**parts, "vectors": self.vectors[positions]}

    def all(self) -> dict[str, Any]:
        return self[list(range(len(self.ids)))]

    def allowed(self, where: Where | None) -> list[int]:
        return [place for place, row in self.rows.items() if where is None or self._fulfils(row, where)]

    def _fulfils(self, row: int, where: Where) -> bool:
        for key in where.metadata:
            value = self.metadata[row].get(key)
            if (isinstance(value, bool), value) not in where.values(key):
                return False
        return set(where.labels) <= set(self.words[row]) and self.ids[row] not in where.ids_not

    def search(self, queries: NDArray[Any], k: int, where: Where | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
        places = sorted(self.allowed(where))
        vectors = self.vectors[[self.rows[place] for place in places]].reshape(-1, self.vectors.shape[1])
        scores = queries @ vectors.T
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, axis=1), np.array(places, np.int64)[order]


def agree(found: tuple[NDArray[Any], NDArray[Any]], want: tuple[NDArray[Any], NDArray[Any]]) -> None:
    """The same items with the same scores; those whose scores differ by less than a rounding may change places."""
    np.testing.assert_allclose(found[0], want[0], atol=1e-5)
    for row, wanted in zip(found[1].tolist(), want[1].tolist(), strict=True):
        assert len(set(row)) == len(row)
        assert len(set(row) & set(wanted)) >= len(wanted) - 1
    assert (found[1] == want[1]).mean() > 0.95


@pytest.fixture(scope="session", params=KINDS)
def server(request: pytest.FixtureRequest, running: Callable[[str], Any]) -> Any:
    return running(request.param)


@pytest.fixture(scope="session")
def build(server: Any) -> Callable[..., Any]:
    """Build an index over a collection in a table of its own, or of a given name."""

    def build(collection: Collection, name: str | None = None, **options: Any) -> Any:
        url = server.url(name or f"items_{next(NUMBERS)}")
        return INDEXES.build(url.partition(":")[0], url=url, **{**collection.all(), **options})

    return build


@pytest.fixture(scope="session")
def items() -> Collection:
    return Collection()


@pytest.fixture(scope="session", params=["flat", "hnsw"])
def index(request: pytest.FixtureRequest, build: Callable[..., Any], items: Collection) -> Any:
    """Not to be changed."""
    return build(items, structure=request.param, search=N)


def again(index: Any, vectors: NDArray[np.float32], **changed: Any) -> Any:
    """Opened by what it says of itself, as a file holds it."""
    return type(index).open(Path("none"), vectors, **{**json.loads(json.dumps(index.state())), **changed})


QUERIES = unit(9, seed=1)
SELECTIVE = [
    Where(labels=("fine 3",)),
    Where(labels=("fine 3", NASTY[3])),
    *(Where(labels=(word,)) for word in NASTY),
    *(Where(metadata={"a \"key'": word}) for word in NASTY),
    Where(metadata={"n": 7}),
    Where(metadata={"n": [7, 8.0, "9", True]}),
    Where(metadata={"n": 1}),
    Where(metadata={"half": [1, 2.5, -3e-07]}),
    Where(labels=("fine 4",), metadata={"even": True}, ids_not=("item 4", "item 34")),
]
WIDE = [
    Where(metadata={"even": True}),
    Where(metadata={"even": [True, False], "n": list(range(40))}),
    Where(ids_not=tuple(f"item {number}" for number in range(5)) + tuple(NASTY)),
]
NONE = [
    Where(labels=("no such label",)),
    Where(labels=("fine 3", "fine 4")),
    Where(metadata={"n": True}),
    Where(metadata={"no such key": 1}),
    Where(metadata={"n": []}),
    Where(labels=("x') or 1=1 --", 'x"]) or true or id in ["')),
]


def test_the_nearest_come_first(index: Any, items: Collection):
    agree(index.search(QUERIES, 10), items.search(QUERIES, 10))
    scores, places = index.search(items.vectors[:20], 2)
    assert places[::10].tolist() == [[0, 1], [10, 11]]  # equal ones by position
    assert (scores.dtype, places.dtype) == (np.float32, np.int64)


def test_more_than_there_are(index: Any, items: Collection):
    agree(index.search(QUERIES, 17_000), items.search(QUERIES, N))


def test_no_queries(index: Any):
    assert [len(part) for part in index.search(QUERIES[:0], 10)] == [0, 0]


@pytest.mark.parametrize("where", [*SELECTIVE, *WIDE], ids=str)
def test_a_filter_is_exact(index: Any, items: Collection, where: Where):
    assert items.allowed(where)
    agree(index.search(QUERIES, 10, where), items.search(QUERIES, 10, where))


@pytest.mark.parametrize("where", NONE, ids=str)
def test_a_filter_that_nothing_fulfils(index: Any, items: Collection, where: Where):
    assert not items.allowed(where)
    scores, positions = index.search(QUERIES, 10, where)
    assert scores.shape == positions.shape == (len(QUERIES), 0)
    assert index.count() == N


@pytest.fixture(scope="session")
def walker(build: Callable[..., Any], items: Collection) -> Any:
    """A graph that is always walked through; not to be changed."""
    return build(items, search=40)


@pytest.mark.parametrize("where", [*SELECTIVE, *WIDE, None], ids=str)
def test_a_filter_on_a_walk_through_the_graph(
    items: Collection, where: Where | None, monkeypatch: pytest.MonkeyPatch, walker: Any
):
    """As many as there are come back, whatever the walk finds."""
    for module in (_milvus_search, _postgresql_search):
        monkeypatch.setattr(module, "FEW", 0)
    monkeypatch.setattr(_postgresql_search, "DEEPEST", 40)
    scores, positions = walker.search(QUERIES, 10, where)
    want, _ = items.search(QUERIES, 10, where)
    assert scores.shape == want.shape
    assert np.isfinite(scores).all()
    assert set(positions.ravel().tolist()) <= set(items.allowed(where))
    assert np.isclose(scores, want, atol=1e-5).mean() > 0.8


def test_queries_and_answers_in_parts(index: Any, items: Collection, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_milvus_search, "ANSWERS", 20)
    monkeypatch.setattr(_milvus_search, "BATCH_BYTES", 7 * (4 * D + 256))
    agree(index.search(items.vectors, 5, WIDE[0]), items.search(items.vectors, 5, WIDE[0]))


def test_changes(build: Callable[..., Any]):
    items = Collection()
    index = build(items, search=N)
    assert index.count() == N
    new = Collection(40)
    new.vectors, new.ids = unit(40, seed=2), [f"new {number}" for number in range(40)]
    new.words, new.metadata = [["added", word] for _ in range(8) for word in NASTY[:5]], [{"new": 1.5}] * 40
    changed = Collection()
    for name in ("ids", "words", "metadata"):
        setattr(changed, name, getattr(items, name) + getattr(new, name))
    changed.vectors = np.concatenate([items.vectors, new.vectors])

    index.put([N + 7 + number for number in range(40)], new.ids, new.vectors, new.words, new.metadata)
    changed.rows |= {N + 7 + number: N + number for number in range(40)}
    assert index.count() == N + 40
    agree(index.search(QUERIES, 10), changed.search(QUERIES, 10))
    for where in (Where(labels=("added",)), Where(metadata={"new": 1.5}), Where(labels=("added", NASTY[2]))):
        agree(index.search(QUERIES, 10, where), changed.search(QUERIES, 10, where))

    index.put([5], ["item 5"], new.vectors[:1])  # no words, no metadata
    changed.rows[5] = N
    assert index.count() == N + 40
    agree(index.search(new.vectors[:1], 3), changed.search(new.vectors[:1], 3))
    assert 5 not in index.search(QUERIES, N, Where(labels=("fine 5",)))[1]

    gone = [0, 1, 2, 5, N + 7, N + 8, 10**9]
    index.remove(gone)
    index.remove(gone)
    for place in gone[:-1]:
        del changed.rows[place]
    assert index.count() == len(changed.rows)
    agree(index.search(QUERIES, 10), changed.search(QUERIES, 10))
    agree(again(index, items.vectors).search(QUERIES, 10), changed.search(QUERIES, 10))


def test_opened_again(server: Any, index: Any, items: Collection):
    state = json.dumps(index.state())
    assert "secret" not in state
    opened = again(index, items.vectors)
    np.testing.assert_array_equal(opened.search(QUERIES, 10)[1], index.search(QUERIES, 10)[1])
    assert opened.state() == index.state()


def test_many_threads(build: Callable[..., Any], items: Collection):
    index, want = build(items, search=N), items.search(QUERIES, 5)
    far, stop = -np.ones((1, D), np.float32) / 4, threading.Event()

    def change() -> None:
        while not stop.is_set():
            index.put([N], ["far"], far * 1e-3)
            index.remove([N])

    with ThreadPoolExecutor(7) as pool:
        writer = pool.submit(change)
        found = [pool.submit(index.search, QUERIES, 5) for _ in range(15)]
        try:
            for each in found:
                agree(each.result(), want)
        finally:
            stop.set()
        writer.result()
    assert index.count() == N


def test_an_empty_collection_grows(build: Callable[..., Any]):
    nothing, items = Collection(0), Collection(20)
    index = build(nothing)
    assert index.count() == 0
    assert index.search(QUERIES, 5)[1].shape == (len(QUERIES), 0)
    assert index.search(QUERIES, 5, SELECTIVE[0])[1].shape == (len(QUERIES), 0)
    index.put(range(20), **items.all())
    agree(index.search(QUERIES, 5), items.search(QUERIES, 5))
    index.put([], **items[[]])
    index.remove([])
    assert index.count() == 20


def test_thousands_are_loaded(build: Callable[..., Any]):
    items, told = Collection(5000), []
    index = build(items, structure="flat", progress=lambda done, count: told.append((done, count)))
    assert (told[-1], told) == ((5000, 5000), sorted(told))
    agree(index.search(QUERIES, 100), items.search(QUERIES, 100))
    index.remove(range(1, 20_000))
    assert index.search(QUERIES, 5)[1].tolist() == [[0]] * len(QUERIES)


def test_a_table_is_replaced_only_when_asked(build: Callable[..., Any], items: Collection):
    first = build(items, "kept")
    for replace in (False, "another identity"):
        with pytest.raises(StorageError, match="holds an index already"):
            build(items, "kept", replace=replace)
    assert first.count() == N
    second = build(Collection(20), "kept", replace=first.identity)
    third = build(Collection(30), "kept", replace=True)
    assert third.count() == 30
    for older, vectors in ((first, items.vectors), (second, items.vectors[:20])):
        with pytest.raises(StorageError, match=r"holds something else.*build the index again"):
            again(older, vectors)


def test_a_missing_table(index: Any, items: Collection):
    url = index.state()["url"]
    with pytest.raises(StorageError, match=r"is missing; build the index again"):
        again(index, items.vectors, url=url.replace("items_", "nobodys_"))


def test_other_dimensions(build: Callable[..., Any], index: Any, items: Collection):
    with pytest.raises(StorageError, match="holds something else"):
        again(index, unit(N, D + 1))
    for call in (
        lambda: index.search(unit(2, D + 1), 5),
        lambda: index.put([N], ["x"], unit(1, D - 1)),
    ):
        with pytest.raises(InputError, match="expected vectors of 16 numbers"):
            call()
    for wrong in ({"ids": ["x"]}, {"words": [["x"]]}, {"metadata": [{}, {}]}):
        with pytest.raises(InputError, match="one of each for 300 items"):
            build(items, **wrong)
    assert index.count() == N


@pytest.mark.parametrize(
    "wrong",
    [
        {"structure": "ivf"},
        {"links": 1},
        {"links": True},
        {"build": 8},
        {"build": 10**4},
        {"search": 0},
        {"search": 0.5},
    ],
    ids=str,
)
def test_options_out_of_range(build: Callable[..., Any], items: Collection, wrong: dict[str, Any]):
    with pytest.raises(InputError, match=next(iter(wrong))):
        build(items, **wrong)


def test_a_library_that_is_missing(build: Callable[..., Any], items: Collection, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_milvus, "find_spec", lambda name: None)  # noqa: ARG005
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'pertinent\[(postgresql|milvus)\]'"):
        build(items)
