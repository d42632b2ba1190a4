"""Filters by label, metadata and id: against a literal look at every item."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertinent import EmbeddingStore, Index
from pertinent.errors import InputError, StorageError, UnknownNameError
from pertinent.functional.neighbours import unit_rows
from pertinent.index import Where, _search
from pertinent.index._metadata import Columns
from pertinent.index._names import Names, near
from pertinent.store import StoreLabels

RNG = np.random.default_rng(0)
N = 90
VECTORS = unit_rows(RNG.standard_normal((N, 6)).astype(np.float32))
IDS = [f"i{number}" for number in range(N)]
TREE = StoreLabels("tree", np.stack([np.arange(N) % 6, np.arange(N) % 2], 1), ["f", "c"], [list("uvwxye"), ["e", "o"]])
TAGS = StoreLabels("tags", RNG.random((N, 3)) < 0.5, (), [["red", "small", "old"]])
METADATA: dict[str, dict[str, Any]] = {
    name: {"year": 2000 + number % 5, "who": "ab"[number % 2], **({"ok": number % 3 == 0} if number % 4 else {})}
    for number, name in enumerate(IDS[:80])
}
FILTERS = [
    Where(labels=("u",)),
    Where(labels=("u", "e")),
    Where(labels=("e",)),  # a name of both levels
    Where(labels=("u", "v")),
    Where(metadata={"year": 2001}),
    Where(metadata={"year": [2001, 2003.0, "2002"]}),
    Where(metadata={"ok": True}),
    Where(metadata={"ok": 1}),  # no truth value
    Where(metadata={"ok": [True, False], "who": "a"}),
    Where(metadata={"who": []}),
    Where(ids_not=("i3", "nobody", "new1")),
    Where(labels=("o",), metadata={"who": ("b", "c")}, ids_not=("i1",)),
    Where(),
]


def fits(words: list[str], metadata: dict[str, Any], name: str, where: Where) -> bool:
    def equal(value: Any, wanted: Any) -> bool:
        return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)

    for key, wanted in where.metadata.items():
        listed = wanted if isinstance(wanted, list | tuple) else [wanted]
        if key not in metadata or not any(equal(metadata[key], one) for one in listed):
            return False
    return set(where.labels) <= set(words) and name not in where.ids_not


@pytest.fixture(params=["exact", "binary", "hnsw", "ivf_flat", "ivf_pq"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Index:
    """Some of it deleted, some added, and reopened; thorough enough to be exact."""
    kind = request.param
    if kind in ("hnsw", "ivf_flat", "ivf_pq"):
        pytest.importorskip("faiss")
    rows = np.arange(300) % N if kind == "ivf_pq" else np.arange(N)
    names = [IDS[row] if place < N else f"{IDS[row]}-{place}" for place, row in enumerate(rows)]
    labels = StoreLabels("tree", np.asarray(TREE.values)[rows], TREE.level_names, TREE.class_names)
    store = EmbeddingStore.write(tmp_path / "store", VECTORS[rows], names, labels=labels)
    options: dict[str, Any] = {
        "binary": {"rerank": 300, "rerank_vectors": True},
        "hnsw": {"search": 300},
        "ivf_flat": {"probes": 99},
        "ivf_pq": {"probes": 99, "rerank": 600},
    }.get(kind, {})
    Index.build(store, kind, metadata=METADATA, **options).save(tmp_path / "index")
    made = Index.open(tmp_path / "index")
    made.delete(["i0", "i12", "i25"])
    facts = [{"year": 2001, "late": True}, {"who": "a", "ok": True}, {"year": 2003}]
    made.put(["new1", "new2", "i30"], VECTORS[3:6] + 0.01, [["u", "o"], ["v"], ["new", "e"]], metadata=facts)
    made.close()
    return Index.open(tmp_path / "index")


@pytest.mark.parametrize("where", [*FILTERS, Where(labels=("new",)), Where(metadata={"late": True})], ids=str)
@pytest.mark.parametrize("few", [0, 10_000])
def test_what_is_found_is_what_fits(index: Index, where: Where, few: int, monkeypatch: pytest.MonkeyPatch):
    """Through the structure, or compared one by one."""
    monkeypatch.setattr(_search, "FEW", few)
    monkeypatch.setattr(_search, "SHARE", 0.0)
    live = np.flatnonzero(index.allowed()).tolist()
    items = [(place, index.item(place)) for place in live]
    fitting = [place for place, item in items if fits(item.words, item.metadata, item.id, where)]
    assert np.flatnonzero(index.allowed(where)).tolist() == fitting
    queries = VECTORS[:4] + 0.02
    scores = unit_rows(queries) @ unit_rows(np.stack([index.vector(place) for place in fitting] or [np.ones(6)])).T
    for k in (3, 500):
        hits = index.search(queries, k, where)
        width = min(k, len(fitting))
        assert hits.scores.shape == (4, width)
        for row in range(4 if fitting else 0):
            assert set(hits.positions[row].tolist()) <= set(fitting)
            assert len(set(hits.positions[row].tolist())) == width
            np.testing.assert_allclose(hits.scores[row], -np.sort(-scores[row])[:width], atol=1e-5)
            assert hits.ids[row] == [index.item(place).id for place in hits.positions[row].tolist()]


def test_tags(tmp_path: Path):
    store = EmbeddingStore.write(tmp_path / "store", VECTORS, IDS, labels=TAGS)
    index = Index.build(store)
    index.put(["new"], VECTORS[:1], [["old", "odd"]])
    assert TAGS.values is not None
    for words in (["red"], ["red", "old"], ["odd"], ["odd", "old"]):
        want = [place for place in range(N) if set(words) <= set(TAGS.words(place))]
        want += [N] if set(words) <= {"old", "odd"} else []
        assert np.flatnonzero(index.allowed(Where(labels=tuple(words)))).tolist() == want


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (Where(labels=("evn",)), "unknown label 'evn'; did you mean 'even'"),
        (Where(labels=("",)), "unknown label ''"),
        (Where(metadata={"yeer": 3}), "unknown key of metadata 'yeer'; did you mean 'year'"),
    ],
)
def test_names_that_nothing_has(tmp_path: Path, where: Where, said: str):
    labels = StoreLabels("classes", np.arange(N) % 2, ["parity"], [["even", "odd"]])
    store = EmbeddingStore.write(tmp_path / "store", VECTORS, IDS, labels=labels)
    index = Index.build(store, metadata={"i3": {"year": 2020}})
    for ask in (index.allowed, lambda where: index.search(VECTORS, 3, where)):
        with pytest.raises(UnknownNameError, match=said):
            ask(where)
    assert index.search(VECTORS, 3, Where(metadata={"year": 1999})).ids == [[]] * N


LEVELS = StoreLabels(
    "tree",
    np.array([[0, 0], [0, 0], [1, 0], [2, 1]]),
    ["fine", "coarse"],
    [["pear", "plum", "peas", "peach"], ["fruit", "veg"]],
)
SIGNS = StoreLabels(
    "tags", np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]], bool), (), [["pear", "plum", "peach"]]
)


@pytest.mark.parametrize("labels", [LEVELS, SIGNS], ids=lambda labels: labels.kind)
def test_labels_that_no_item_has(tmp_path: Path, labels: StoreLabels):
    """A data set's classes may be more than those of the items, and a query may have one that no item has."""
    store = EmbeddingStore.write(tmp_path / "s", VECTORS[:4], IDS[:4], labels=replace(labels, probes=1))
    Index.build(store).save(tmp_path / "index")
    index = Index.open(tmp_path / "index")

    def unknown(word: str) -> list[str]:
        with pytest.raises(UnknownNameError, match=f"unknown label '{word}'; ") as caught:
            index.search(VECTORS, 3, Where(labels=(word,)))
        return caught.value.known

    coarse = ["fruit"] if labels is LEVELS else []
    assert unknown("peach") == sorted(["pear", "plum", *coarse]), "the query's words are no item's"
    index.put(["new", "newer"], VECTORS[4:6], [["peach"], ["plump"]])
    assert unknown("peachy") == sorted(["pear", "plum", "peach", "plump", *coarse])
    assert index.search(VECTORS[:1], 3, Where(labels=("peach",))).ids == [["new"]]
    index.delete(["new", "i0", "i1"])
    for _ in range(2):
        for word in ("peach", "pear"):
            assert index.search(VECTORS[:1], 3, Where(labels=(word,))).ids == [[]], "the last one was deleted"
        assert unknown("peachy") == sorted(["plum", "plump", *coarse])
        index.close()
        index = Index.open(tmp_path / "index")
    index.compact()
    assert unknown("pear") == sorted(["plum", "plump", *coarse])
    index.close()


def test_nothing_to_filter_by(tmp_path: Path):
    index = Index.build(EmbeddingStore.write(tmp_path / "s", VECTORS, IDS))
    with pytest.raises(InputError, match="unknown label 'cat'; no item of this index has a label"):
        index.allowed(Where(labels=("cat",)))
    with pytest.raises(InputError, match="unknown key of metadata 'year'; this index has no metadata, build"):
        index.allowed(Where(metadata={"year": 3}))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"labels": "cat"}, "labels must be a tuple of words, got 'cat'"),
        ({"ids_not": (3,)}, "ids_not must be a tuple of words"),
        ({"metadata": {"a": None}}, "metadata 'a' must be text, a finite number, true or false; got None"),
        ({"metadata": {"a": [1, [2]]}}, "metadata 'a' must be text"),
        ({"metadata": {3: "a"}}, "a key of metadata must be a word, got 3"),
    ],
)
def test_what_is_no_filter(words: dict[str, Any], said: str):
    with pytest.raises(InputError, match=said):
        Where(**words)


def test_stages_see_only_what_is_allowed(tmp_path: Path):
    """A filtered search is that of a collection without the others."""
    from pertinent.engine.fitting import fitted_pipeline

    whole = EmbeddingStore.write(tmp_path / "whole", VECTORS, IDS, labels=TREE)
    pipeline = fitted_pipeline("pca_whiten(dims=4), alpha_qe(k=4), k_reciprocal(top=20, k1=5)", whole)
    rows = np.flatnonzero(np.arange(N) % 6 == 2)
    part = EmbeddingStore.write(tmp_path / "part", VECTORS[rows], [IDS[row] for row in rows])
    found = Index.build(whole, pipeline=pipeline).search(VECTORS[:9], 12, Where(labels=("w",)))
    alone = Index.build(part, pipeline=pipeline).search(VECTORS[:9], 12)
    assert found.ids == alone.ids
    np.testing.assert_allclose(found.scores, alone.scores, atol=1e-5)


# --- metadata as columns


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["a", "b", "ü"]),
            st.one_of(
                st.text(max_size=3),
                st.integers(-(2**70), 2**70),
                st.booleans(),
                st.floats(allow_nan=False, allow_infinity=False),
            ),
        ),
        min_size=1,
    )
)
def test_columns_hold_what_was_noted(items: list[dict[str, Any]]):
    columns = Columns.of(items)
    for row, item in enumerate(items):
        found = columns.item(row)
        assert found == item
        assert {key: isinstance(value, bool) for key, value in found.items()} == {
            key: isinstance(value, bool) for key, value in item.items()
        }


def test_metadata_of_ids_that_are_not_there(tmp_path: Path):
    store = EmbeddingStore.write(tmp_path / "store", VECTORS, IDS)
    with pytest.raises(UnknownNameError, match="unknown id 'i7x'; did you mean 'i7'"):
        Index.build(store, metadata={"i7x": {"a": 1}})
    with pytest.raises(InputError, match="metadata 'a' must be text"):
        Index.build(store, metadata={"i7": {"a": None}})  # type: ignore[dict-item]


def test_damaged_metadata_and_names_are_found(tmp_path: Path):
    store = EmbeddingStore.write(tmp_path / "store", VECTORS, IDS)
    folder = tmp_path / "index"
    for name in ("metadata/metadata.npy", "metadata/metadata.json", "names/ids.text.npy", "names/places.ends.npy"):
        Index.build(store, metadata=METADATA).save(folder)
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(StorageError, match=r"is damaged: its checksum is not the one written|not JSON"):
            Index.open(folder)
        (folder / name).unlink()
        with pytest.raises(StorageError, match=r"is damaged: \d+ bytes were written, 0 are there|does not exist"):
            Index.open(folder)


# --- names


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), unique=True))
def test_names_are_found_by_number_and_numbers_by_name(words: list[str]):
    names = Names.of(words)
    assert [names[number] for number in range(len(names))] == words
    assert [names.find(word) for word in words] == list(range(len(words)))
    assert names.find("nobody") is None
    assert names.find("\ud800") is None
    assert set(names.near("m", 100)) == set(words)


def test_names_on_disk(tmp_path: Path):
    words = [f"päth/{number}" for number in range(1000)]
    Names.of(words).save(tmp_path, "x")
    opened = Names.open(tmp_path, "x", 1000)
    assert isinstance(opened.text, np.memmap)
    assert (opened[999], opened.find("päth/7"), opened.find("päth/1000")) == ("päth/999", 7, None)
    with pytest.raises(StorageError, match="are damaged; build the index again"):
        Names.open(tmp_path, "x", 999)
    assert near("päth/5", words, 4) == sorted(words)[443:447]
