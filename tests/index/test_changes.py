"""Items that are put, deleted and compacted: against a plain dictionary, on disk, and under threads."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pertinent import EmbeddingStore, Index
from pertinent.data.table import Judgement
from pertinent.engine.fitting import fitted_pipeline
from pertinent.errors import InputError, StorageError, UnknownNameError
from pertinent.functional.neighbours import unit_rows
from pertinent.index import Item, Where
from pertinent.store import StoreLabels

RNG = np.random.default_rng(0)
VECTORS = RNG.standard_normal((60, 5)).astype(np.float32)
IDS = [f"i{number}" for number in range(60)]
LABELS = StoreLabels(
    "tree", np.stack([np.arange(60) % 6, np.arange(60) % 2], 1), ["fine", "coarse"], [list("uvwxyz"), ["even", "odd"]]
)
STAGES = "pca_whiten(dims=4), alpha_qe(k=3), k_reciprocal(top=15, k1=5)"


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    places = [f"pictures/{name}.jpg" for name in IDS]
    return EmbeddingStore.write(tmp_path / "store", VECTORS, IDS, places=places, labels=LABELS, encoder="f00d")


@pytest.fixture
def saved(store: EmbeddingStore, tmp_path: Path) -> Index:
    Index.build(store, metadata={"i3": {"year": 2020}}).save(tmp_path / "index")
    return Index.open(tmp_path / "index")


def again(index: Index) -> Index:
    """The index as another process would open it."""
    index.close()
    assert index.folder is not None
    return Index.open(index.folder)


@pytest.mark.parametrize(
    ("kind", "options"), [("exact", {}), ("hnsw", {"search": 500}), ("binary", {"rerank": 500, "rerank_vectors": True})]
)
def test_it_is_what_a_dictionary_would_be(store: EmbeddingStore, tmp_path: Path, kind: str, options: dict[str, Any]):
    if kind == "hnsw":
        pytest.importorskip("faiss")
    Index.build(store, kind, **options).save(tmp_path / "index")
    index = Index.open(tmp_path / "index")
    rng, model = np.random.default_rng(1), dict(zip(IDS, VECTORS, strict=True))
    positions = {name: place for place, name in enumerate(IDS)}
    newest = 60
    for step in range(40):
        if rng.random() < 0.6:
            names = rng.permutation([f"i{number}" for number in range(80)])[: rng.integers(1, 6)].tolist()
            vectors = rng.standard_normal((len(names), 5)).astype(np.float32)
            index.put(names, vectors)
            model.update(zip(names, vectors, strict=True))
            positions.update(zip(names, range(newest, newest + len(names)), strict=True))
            newest += len(names)
        else:
            names = rng.permutation(sorted(model))[: rng.integers(1, 6)].tolist()
            index.delete(names)
            for name in names:
                del model[name], positions[name]
        if step % 13 == 12:
            index.compact()
        if step % 7 == 6:
            index = again(index)
        queries = rng.standard_normal((3, 5)).astype(np.float32)
        for k in (4, 200):
            hits = index.search(queries, k)
            scores = {name: unit_rows(queries) @ unit_rows(vector[None])[0] for name, vector in model.items()}
            for row, names in enumerate(hits.ids):
                want = sorted(model, key=lambda name, row=row, scores=scores: -scores[name][row])[:k]
                assert names == want
                np.testing.assert_allclose(hits.scores[row], [scores[name][row] for name in want], atol=1e-5)
            assert hits.positions.tolist() == [[positions[name] for name in row] for row in hits.ids]
        assert len(index) == len(model)
        assert {name: index.position(name) for name in [*IDS, "i79"]} == {
            name: positions.get(name) for name in [*IDS, "i79"]
        }
        np.testing.assert_array_equal(np.flatnonzero(index.allowed()), sorted(positions.values()))
        for name in sorted(model)[::9]:
            np.testing.assert_array_equal(index.vector(positions[name]), model[name])
            assert index.item(positions[name]).id == name
    Index.verify(tmp_path / "index")


def test_what_is_known_of_an_item(saved: Index, tmp_path: Path):
    given = torch.from_numpy(RNG.standard_normal((2, 5)))
    saved.put(
        ["a", "i3"],
        given,
        [["v", "even"], ["new"]],
        ["there/a.jpg", "b.jpg"],
        [{"year": 2021, "sharp": 0.5}, {"ok": True}],
    )
    for index in (saved, again(saved)):
        assert index.item(60) == Item("a", "there/a.jpg", ["v", "even"], {"year": 2021, "sharp": 0.5})
        assert index.item(61) == Item("i3", "b.jpg", ["new", ""], {"ok": True})
        assert index.item(3) == Item("i3", "pictures/i3.jpg", ["x", "odd"], {"year": 2020})
        assert (index.position("a"), index.position("i3"), index.position("i4")) == (60, 61, 4)
        np.testing.assert_array_equal(index.vector(60), given[0].float())
        assert index.changed
    index.compact()
    for one in (index, again(index)):
        assert not one.changed
        assert one.store.folder == (tmp_path / "index" / "store").resolve()
        assert one.item(60) == Item("a", "there/a.jpg", ["v", "even"], {"year": 2021, "sharp": 0.5})
        assert one.item(61) == Item("i3", "b.jpg", ["new", ""], {"ok": True})
        assert one.item(2) == Item("i2", "pictures/i2.jpg", ["w", "even"], {})
        with pytest.raises(InputError, match="no item is at position 3"):
            one.item(3)
        assert one.store.encoder == "f00d"


@pytest.mark.parametrize("position", [-1, 60, 10**9])
def test_nothing_is_at_a_position(saved: Index, position: int):
    with pytest.raises(InputError, match=f"no item is at position {position}"):
        saved.item(position)
    with pytest.raises(InputError, match=f"no item is at position {position}"):
        saved.vector(position)


def test_changes_before_it_is_saved_are_saved_with_it(store: EmbeddingStore, tmp_path: Path):
    index = Index.build(store)
    for number in range(3):  # the same id again and again
        index.put(["a", f"b{number}"], np.eye(5)[[number, 4]])
    index.delete(["i0", "b1"])
    with pytest.raises(InputError, match="save it first"):
        index.compact()
    index.save(tmp_path / "index")
    index.put(["c"], np.eye(5)[:1])
    for one in (index, again(index)):
        assert (one.position("a"), one.position("i0"), one.position("b1"), one.position("c")) == (64, None, None, 66)
        assert len(one) == 59 + 3 + 1
    index.save(tmp_path / "copy")
    assert Index.open(tmp_path / "copy").position("c") == 66


def test_who_claims_it_is_the_one_who_may_change_it(store: EmbeddingStore, tmp_path: Path):
    Index.build(store).claim()  # in memory alone
    Index.build(store).save(tmp_path / "index")
    one, other = Index.open(tmp_path / "index"), Index.open(tmp_path / "index")
    one.claim()
    with pytest.raises(StorageError, match="is being changed by another process"):
        other.claim()
    one.put(["a"], np.ones((1, 5)))
    one.close()
    with pytest.raises(StorageError, match="was changed since it was opened here"):
        other.claim()


def test_nothing_takes_the_place_of_changes(store: EmbeddingStore, tmp_path: Path):
    folder = tmp_path / "index"
    first = Index.build(store)
    first.save(folder)
    Index.build(store, "binary").save(folder)  # nothing was changed
    with pytest.raises(StorageError, match="was changed since it was opened here"):
        first.save(folder)
    index, other = Index.open(folder), Index.open(folder)
    index.put(["a"], np.ones((1, 5)))
    index.close()
    for one in (Index.build(store), other):
        with pytest.raises(
            StorageError, match=r"was changed since it was opened|put or deleted since it was first built"
        ):
            one.save(folder)
    index.compact()
    with pytest.raises(StorageError, match=r"another in its place would lose that; choose .*index/store --out NEW"):
        Index.build(store).save(folder)
    index.save(folder)
    assert Index.open(folder).position("a") == 60


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"ids": [""]}, "an id must be a word, got ''"),
        ({"ids": [7]}, "an id must be a word, got 7"),
        ({"ids": ["a", "a"]}, "'a' is put twice in one call"),
        ({"ids": ["a", "b"]}, "expected vectors for each of the 2 ids, got 1"),
        ({"vectors": np.ones((1, 4))}, r"vectors have shape \(1, 4\), the index holds vectors of 5 numbers"),
        ({"vectors": np.full((1, 5), np.nan)}, "a vector is not finite"),
        ({"words": [[], []]}, "expected words for each of the 1 ids, got 2"),
        ({"words": ["cat"]}, "the words of an item must be a list of words, got 'cat'"),
        ({"words": [["a", "b", "c"]]}, r"'a' has 3 label words, the labels of .* \(tree\) hold at most 2"),
        ({"places": []}, "expected places for each of the 1 ids, got 0"),
        ({"ids": ["\ud800"]}, "a text has characters that UTF-8 cannot hold"),
        ({"metadata": [{"": 1}]}, "a key of metadata must be a word, got ''"),
        ({"metadata": [{"a": None}]}, "metadata 'a' must be text, a finite number, true or false; got None"),
        ({"metadata": [{"a": float("nan")}]}, "metadata 'a' must be text, a finite number"),
        ({"metadata": [{"a": ["x"]}]}, "metadata 'a' must be text"),
    ],
)
def test_what_cannot_be_put(saved: Index, words: dict[str, Any], said: str):
    with pytest.raises(InputError, match=said):
        saved.put(**{"ids": ["a"], "vectors": np.ones((1, 5)), **words})
    assert not again(saved).changed


def test_what_cannot_be_deleted(saved: Index):
    with pytest.raises(UnknownNameError, match="unknown id 'i9x'; did you mean 'i9'"):
        saved.delete(["i1", "i9x"])
    saved.delete(["i1", "i1"])
    with pytest.raises(UnknownNameError, match="unknown id 'i1'"):
        saved.delete(["i1"])
    saved.put([], np.zeros((0, 5)))
    saved.delete([])
    assert len(again(saved)) == 59


def test_queries_of_the_store_stay_queries(tmp_path: Path):
    labels = replace(LABELS, probes=3)
    store = EmbeddingStore.write(tmp_path / "store", VECTORS, IDS, labels=labels)
    Index.build(store).save(tmp_path / "index")
    index = Index.open(tmp_path / "index")
    assert (len(index), index.position("i58")) == (57, 58)
    with pytest.raises(InputError, match="'i58' is a query of the store and cannot be an item"):
        index.put(["i58"], np.ones((1, 5)))
    with pytest.raises(InputError, match="'i58' is a query of the store and no item; nothing was deleted"):
        index.delete(["i0", "i58"])
    index.put(["a"], VECTORS[58:59])
    index.delete(["i0"])
    for _ in range(2):
        assert (index.position("a"), index.position("i58"), index.position("i1")) == (60, 58, 1)
        assert index.item(58).id == "i58"
        np.testing.assert_array_equal(index.vector(58), VECTORS[58])
        assert index.search(VECTORS[58], 99).positions[0, 0] == 60
        assert sorted(index.search(VECTORS[58], 99).positions[0].tolist()) == [*range(1, 57), 60]
        index.compact()
        index = again(index)
    assert index.store.labels.probes == 3


def test_all_may_go_and_others_come(saved: Index):
    saved.delete(IDS)
    assert len(saved) == 0
    assert saved.search(VECTORS[:2], 3).scores.shape == (2, 0)
    with pytest.raises(InputError, match="no items are left"):
        saved.compact()
    saved.put(["a"], np.ones((1, 5)))
    saved.compact()
    assert again(saved).search(VECTORS[:2], 3).ids == [["a"], ["a"]]


# --- labels in a compacted store


@pytest.mark.parametrize(
    ("labels", "words", "kind", "known"),
    [
        (StoreLabels(), [["cat", "dog"], []], "tags", [[], ["cat", "dog"], []]),
        (StoreLabels(), [[], []], "none", [[], [], []]),
        (
            StoreLabels("classes", np.arange(60) % 2, ["kind"], [["a", "b"]]),
            [["b"], ["new"]],
            "classes",
            [["b"], ["b"], ["new"]],
        ),
        (
            StoreLabels("classes", np.arange(60) % 2, ["kind"], [["a", "b"]]),
            [[], ["a"]],
            "classes",
            [["b"], [""], ["a"]],
        ),
        (LABELS, [["new", "odd"], ["u"]], "tree", [["v", "odd"], ["new", "odd"], ["u", ""]]),
        (
            StoreLabels("tags", np.eye(60, 3, dtype=bool), (), [["x", "y", "z"]]),
            [["z", "new", "x"], []],
            "tags",
            [["y"], ["x", "z", "new"], []],
        ),
    ],
)
def test_labels_are_kept(tmp_path: Path, labels: StoreLabels, words: Any, kind: str, known: Any):
    store = EmbeddingStore.write(tmp_path / "store", VECTORS, IDS, labels=labels)
    Index.build(store).save(tmp_path / "index")
    index = Index.open(tmp_path / "index")
    index.put(["a", "b"], np.eye(5)[:2], words)
    index.delete(["i0"])
    before = {word: index.allowed(Where(labels=(word,))) for word in {name for row in known for name in row if name}}
    index.compact()
    opened = again(index)
    opened.store.verify()
    assert opened.store.labels.kind == kind
    assert [opened.item(place).words for place in (1, 60, 61)] == known
    for word, mask in before.items():
        np.testing.assert_array_equal(opened.allowed(Where(labels=(word,))), mask)


def test_judgements_follow_their_pictures(tmp_path: Path):
    judged = [Judgement(58, easy=(0, 1), hard=(2,), junk=(3,)), Judgement(5, ok=(6, 58)), Judgement(7)]
    store = EmbeddingStore.write(
        tmp_path / "s", VECTORS, IDS, labels=StoreLabels("judged", judgements=judged, probes=2)
    )
    Index.build(store).save(tmp_path / "index")
    index = Index.open(tmp_path / "index")
    with pytest.raises(InputError, match="note the others as metadata"):
        index.put(["a"], np.ones((1, 5)), [["word"]])
    index.put(["i2", "a"], np.eye(5)[:2])
    index.delete(["i0", "i7"])
    index.compact()
    names = again(index).store.ids
    found = [
        [names[one.query], *([names[row] for row in rows] for rows in (one.easy, one.hard, one.junk, one.ok))]
        for one in again(index).store.labels.judgements
    ]
    assert found == [["i58", ["i1"], ["i2"], ["i3"], []], ["i5", [], [], [], ["i6", "i58"]]]


# --- stages


def test_added_items_go_through_the_stages(store: EmbeddingStore, tmp_path: Path):
    """Whitened one by one they stand where they would if they had been there from the start."""
    first = EmbeddingStore.write(tmp_path / "first", VECTORS[:50], IDS[:50])
    pipeline = fitted_pipeline(STAGES, first)
    whole = Index.build(store, pipeline=pipeline)
    Index.build(first, pipeline=pipeline).save(tmp_path / "index")
    index = Index.open(tmp_path / "index")
    index.put(IDS[50:], VECTORS[50:])
    queries = RNG.standard_normal((6, 5)).astype(np.float32)
    want = whole.search(queries, 60)
    for one in (index, again(index)):
        found = one.search(queries, 60)
        assert found.ids == want.ids
        np.testing.assert_allclose(found.scores, want.scores, atol=1e-5)
    one.compact()
    assert again(one).search(queries, 60).ids == want.ids
    assert again(one).pipeline.fingerprint == pipeline.fingerprint


def test_augmentation_reaches_added_items_when_compacted(store: EmbeddingStore, tmp_path: Path):
    first = EmbeddingStore.write(tmp_path / "first", VECTORS[:50], IDS[:50])
    pipeline = fitted_pipeline("dba(k=4), alpha_qe(k=3)", first)
    Index.build(first, pipeline=pipeline).save(tmp_path / "index")
    index, whole = Index.open(tmp_path / "index"), Index.build(store, pipeline=pipeline)
    index.put(IDS[50:], VECTORS[50:])
    # Until then an added item stands where its own vector is.
    assert index.search(VECTORS[55], 1, Where(ids_not=tuple(IDS[:50]))).ids == [["i55"]]
    assert index.search(VECTORS, 60).ids != whole.search(VECTORS, 60).ids
    index.compact()
    assert again(index).search(VECTORS, 60).ids == whole.search(VECTORS, 60).ids


# --- one writer, many readers


def test_one_writer_at_a_time(saved: Index, tmp_path: Path):
    other = again(saved)
    saved.put(["a"], np.ones((1, 5)))
    with pytest.raises(StorageError, match="is being changed by another process, or by another Index of this one"):
        other.put(["b"], np.ones((1, 5)))
    with pytest.raises(StorageError, match="is being changed by another"):
        other.save(tmp_path / "index")
    saved.close()
    with pytest.raises(StorageError, match="was changed since it was opened here; open it again"):
        other.delete(["i1"])
    assert len(other) == 60
    other = again(other)
    other.put(["b"], np.ones((1, 5)))
    other.compact()
    other.close()
    with pytest.raises(StorageError, match="was changed since it was opened here; open it again"):
        saved.put(["c"], np.ones((1, 5)))
    assert sorted(set(again(saved).search(np.ones(5), 99).ids[0]) - set(IDS)) == ["a", "b"]


def test_a_folder_is_the_same_by_any_path(saved: Index, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    saved.put(["a"], np.ones((1, 5)))
    monkeypatch.chdir(tmp_path)
    saved.save("index")
    saved.put(["b"], np.ones((1, 5)))
    assert len(again(saved)) == 62


def test_searches_go_on_while_items_come_and_go(saved: Index):
    """What was put and not touched again is found by every search that begins later, exactly once."""
    stop, failures = threading.Event(), []
    fixed = RNG.standard_normal((1, 5)).astype(np.float32)
    saved.put(["fixed"], fixed)

    def look() -> None:
        while not stop.is_set():
            hits = saved.search(fixed, 300)
            names = [name for name in hits.ids[0] if name]
            known = names[0] == "fixed" and len(set(names)) == len(names) and len(names) >= 61
            if not known or "gone" in names[1:] or not (np.diff(hits.scores[0]) <= 0).all():
                failures.append(names)

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for number in range(60):
            saved.put([f"n{number % 20}", "same"], RNG.standard_normal((2, 5)))
            if number % 20 == 19:
                saved.compact()
            if number % 9 == 8:
                saved.delete(["n3"])
                saved.put(["n3"], np.ones((1, 5)))
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert not failures
    assert len(again(saved)) == 60 + 1 + 20 + 1


def test_a_change_that_fails_leaves_no_trace(saved: Index, monkeypatch: pytest.MonkeyPatch):
    def full(file: int, data: bytes, place: int) -> int:
        raise OSError(28, "No space left on device")

    saved.put(["a"], np.ones((1, 5)))
    with monkeypatch.context() as patch:
        patch.setattr("os.pwrite", full)
        with pytest.raises(StorageError, match="No space left on device; free space"):
            saved.put(["b", "a"], np.ones((2, 5)))
        with pytest.raises(StorageError, match="No space left on device"):
            saved.delete(["a"])
    assert (saved.position("a"), saved.position("b")) == (60, None)
    saved.put(["c"], np.ones((1, 5)))
    for index in (saved, again(saved)):
        assert (index.position("a"), index.position("b"), index.position("c"), len(index)) == (60, None, 61, 62)
