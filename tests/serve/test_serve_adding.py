"""Items come and go through HTTP, and what was answered stays, in every model and after a restart."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serve_parts import Serving, limit_time, png, problem, until
from starlette.testclient import TestClient

from pertinent.engine.search import Searcher, open_searcher
from pertinent.errors import StorageError
from pertinent.index import Index
from pertinent.index._journal import lock
from pertinent.store import EmbeddingStore, StoreLabels

RED = {"labels": ["red", "warm"]}
Opener = Callable[[], Searcher]


@pytest.fixture
def own(tmp_path: Path, index_folder: Path, encoder_folder: Path) -> Opener:
    """Opens a copy of the collection that a test may change; call it again after a restart."""
    shutil.copytree(index_folder.parent, tmp_path / "own")
    opened: list[Searcher] = []

    def open_again() -> Searcher:
        for searcher in opened:
            searcher.index.close()
        opened.append(open_searcher(tmp_path / "own" / "index", encoder_folder))
        return opened[-1]

    return open_again


def add(client: TestClient, data: bytes, status: int = 201, **fields: Any) -> dict[str, Any]:
    answer = client.post("/v1/items", files={"image": ("a.png", data, "image/png")}, data=fields)
    assert answer.status_code == status, answer.text
    item: dict[str, Any] = answer.json()
    return item


def first(client: TestClient, data: bytes, **fields: Any) -> dict[str, Any]:
    answer = client.post("/v1/search/image", files={"image": data}, data={"k": 1, **fields})
    assert answer.status_code == 200, answer.text
    hit: dict[str, Any] = answer.json()["hits"][0]
    return hit


def test_an_added_picture_is_found_shown_and_listed(own: Opener, serving: Serving):
    data, noted = png(seed=5), json.dumps({"year": 2020, "by": "Ann"})
    with serving(searcher=own()) as client:
        item = add(client, data, id="new/one.png", metadata=noted, **RED)
        assert (item["id"], item["labels"], item["metadata"]) == (
            "new/one.png",
            ["red", "warm"],
            {"year": 2020, "by": "Ann"},
        )
        assert item["levels"] == {"class": "red", "parent": "warm"}
        assert client.get(item["image"].removesuffix("/image")).json() == item
        found = first(client, data)
        assert (found["id"], found["score"], found["metadata"]) == ("new/one.png", pytest.approx(1), item["metadata"])
        assert first(client, data, labels="red", metadata='{"year": 2020}')["id"] == "new/one.png"
        picture = client.get(item["image"])
        assert (picture.content, picture.headers["content-type"]) == (data, "image/png")
        assert client.get(item["image"] + "?w=9").status_code == 200
        assert client.get("/v1/items?prefix=new/").json() == {"items": [item], "total": 1}
        same = client.post("/v1/search/id", json={"id": "new/one.png", "k": 24}).json()
        assert same["total"] == len(same["hits"]) == 24
        assert client.get("/v1/info").json()["models"][0]["index"]["items"] == 25
        counts = client.get("/v1/labels").json()["levels"][0]["labels"]
        assert counts[0] == {"name": "red", "count": 5}


def test_what_was_answered_is_there_after_a_restart(own: Opener, serving: Serving, tmp_path: Path):
    kept, gone, base = png(seed=1), png(seed=2), "train/warm/red/0.png"
    with serving(searcher=own()) as client:
        add(client, kept, id="kept")
        add(client, gone, id="gone")
        assert client.delete("/v1/items/gone").status_code == 204
        assert client.delete(f"/v1/items/{base}").status_code == 204
        before = client.get("/v1/labels").json()
    with serving(searcher=own()) as client:
        assert first(client, kept)["id"] == "kept"
        assert client.get("/v1/items/kept/image").content == kept
        for name in ("gone", base):
            assert problem(client.get(f"/v1/items/{name}"), 404)
            assert problem(client.delete(f"/v1/items/{name}"), 404)
            assert problem(client.post("/v1/search/id", json={"id": name}), 404)
        counted = client.get("/v1/labels").json()
        assert counted["kind"] == before["kind"]
        for one, other in zip(counted["levels"], before["levels"], strict=True):
            as_counts = [{label["name"]: label["count"] for label in level["labels"]} for level in (one, other)]
            assert as_counts[0] == as_counts[1]
    uploads = list((tmp_path / "own" / "index-uploads").iterdir())
    assert [file.read_bytes() for file in uploads] == [kept], "the file of a deleted item goes too"
    assert (Path(own().index.item(3).place)).is_file(), "a file that was there before is never touched"


def test_a_collection_may_move(own: Opener, serving: Serving, tmp_path: Path, encoder_folder: Path):
    data = png(seed=3)
    with serving(searcher=own()) as client:
        add(client, data, id="x")
    own().index.close()
    (tmp_path / "own").rename(tmp_path / "moved")
    with serving(searcher=open_searcher(tmp_path / "moved" / "index", encoder_folder)) as client:
        assert client.get("/v1/items/x/image").content == data


def test_compacting_keeps_pictures(own: Opener, serving: Serving):
    data = png(seed=3)
    searcher = own()
    with serving(searcher=searcher) as client:
        add(client, data, id="x", **RED)
        client.delete("/v1/items/train/warm/red/0.png")
        before = client.get("/v1/labels").json()["levels"]
    searcher.index.compact()
    with serving(searcher=own()) as client:
        assert client.get("/v1/items/x/image").content == data
        assert first(client, data)["id"] == "x"
        after = client.get("/v1/labels").json()["levels"]
        assert [sum(label["count"] for label in level["labels"]) for level in (*before, *after)] == [24] * 4
        assert client.get("/v1/items?prefix=train/warm/red").json()["total"] == 3
        assert client.get("/v1/items?prefix=x").json()["total"] == 1


def test_an_item_is_replaced(own: Opener, serving: Serving, tmp_path: Path):
    with serving(searcher=own()) as client:
        item = add(client, png(seed=1), id="x", **RED)
        known = {"If-None-Match": client.get(item["image"]).headers["etag"]}
        item = add(client, png(seed=2), 200, id="x", labels=["blue", "cold"])
        assert client.get(item["image"], headers=known).content == png(seed=2)
        assert item["labels"] == ["blue", "cold"]
        assert client.get(item["image"]).content == png(seed=2)
        assert first(client, png(seed=2))["id"] == "x"
        assert first(client, png(seed=1))["id"] != "x" or first(client, png(seed=1))["score"] < 0.9999
        assert client.get("/v1/items?random=500").json()["total"] == 25
        base = add(client, png(seed=4), 200, id="train/warm/red/0.png", **RED)
        assert client.get(base["image"]).content == png(seed=4)
        assert client.get("/v1/items?random=500").json()["total"] == 25
    assert len(list((tmp_path / "own" / "index-uploads").iterdir())) == 2


def test_without_an_id_to_send_again_changes_nothing(own: Opener, serving: Serving):
    with serving(searcher=own()) as client:
        once = add(client, png())
        again = add(client, png(), 200)
        assert once["id"] == again["id"]
        assert add(client, png(seed=1))["id"] != once["id"]
        assert client.get("/v1/items").json()["total"] == 26


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"id": "a/image"}, "cannot stand in an address"),
        ({"id": "../a"}, "cannot stand in an address"),
        ({"id": "a//b"}, "cannot stand in an address"),
        ({"id": "/a"}, "cannot stand in an address"),
        ({"id": "a\nb"}, "cannot stand in an address"),
        ({"id": "a\0"}, "cannot stand in an address"),
        ({"id": "x" * 1001}, "id: "),
        ({"labels": ["red"]}, "labels: expected 2, fine first (class, parent), or none; got 1"),
        ({"labels": ["a", "b", "c"]}, "labels: expected 2"),
        ({"metadata": "[1]"}, "metadata: "),
        ({"metadata": '{"a": [1]}'}, "metadata: a: "),
        ({"metadata": '{"": 1}'}, "metadata: "),
        ({"metadata": '{"a": NaN}'}, "metadata: "),
        ({"metadata": '{"a": 1e999}'}, "metadata: "),
        ({"metadata": "{"}, "metadata: expected a JSON object"),
        ({"k": "5"}, "k: Extra inputs are not permitted"),
    ],
)
def test_items_that_cannot_be(own: Opener, serving: Serving, tmp_path: Path, fields: Any, said: str):
    with serving(searcher=own()) as client:
        assert said in problem(client.post("/v1/items", files={"image": png()}, data=fields), 422)
        assert client.get("/v1/items").json()["total"] == 24
    assert not (tmp_path / "own" / "index-uploads").exists()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", 415),
        (b"<!DOCTYPE html><script>alert(1)</script>", 415),
        (png()[:200], 422),
        (b"", 422),
        (png(101, 1), 422),
        (png(70, 70), 413),
    ],
)
def test_what_is_no_picture_is_not_kept(own: Opener, serving: Serving, tmp_path: Path, data: bytes, status: int):
    with serving(searcher=own(), pixels=4000) as client:
        assert problem(client.post("/v1/items", files={"image": ("a.svg", data, "image/svg+xml")}), status)
    assert not (tmp_path / "own" / "index-uploads").exists()


def test_a_name_that_a_client_gives_a_file_means_nothing(own: Opener, serving: Serving, tmp_path: Path):
    with serving(searcher=own()) as client:
        answer = client.post("/v1/items", files={"image": ("../../evil.html", png(), "text/html")}, data={"id": "x"})
        assert answer.status_code == 201
        picture = client.get("/v1/items/x/image")
        assert picture.headers["content-type"] == "image/png"
    (file,) = (tmp_path / "own" / "index-uploads").iterdir()
    assert file.suffix == ".png"


def test_where_it_cannot_be_written_nothing_is_added(own: Opener, serving: Serving, tmp_path: Path):
    (tmp_path / "own" / "index-uploads").write_text("in the way")
    with serving(searcher=own()) as client:
        assert "cannot be written" in problem(client.post("/v1/items", files={"image": png()}), 503)
        assert client.get("/v1/items").json()["total"] == 24


def test_where_the_index_cannot_be_written_no_file_stays(
    own: Opener, serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*words: Any) -> None:
        raise StorageError("the disk is full")

    with serving(searcher=own()) as client:
        monkeypatch.setattr(Index, "put", full)
        assert problem(client.post("/v1/items", files={"image": png()}), 503)
    assert not list((tmp_path / "own" / "index-uploads").iterdir())


def test_a_change_that_takes_too_long_is_finished_all_the_same(
    own: Opener, serving: Serving, monkeypatch: pytest.MonkeyPatch
):
    begun, go, put = threading.Event(), threading.Event(), Index.put

    def slow(index: Index, *words: Any) -> None:
        begun.set()
        assert go.wait(120)
        put(index, *words)

    monkeypatch.setattr(Index, "put", slow)
    with serving(searcher=own()) as client:
        form = {"files": {"image": png()}, "data": {"id": "x"}}
        for seconds in (0.3, 3.0, 30.0):  # on a busy machine the time may be over before the change has begun
            limit_time(client, monkeypatch, seconds)
            assert problem(client.post("/v1/items", **form), 504)
            if begun.is_set():
                break
        assert begun.is_set()
        go.set()
    with serving(searcher=own()) as client:
        assert client.get("/v1/items/x/image").content == png()


def test_a_query_of_the_store_is_no_item(searcher: Searcher, serving: Serving, tmp_path: Path):
    labels = StoreLabels("classes", np.array([0, 1, 0]), ["kind"], [["a", "b"]], probes=1)
    store = EmbeddingStore.write(tmp_path / "s", np.eye(8, dtype=np.float32)[:3], list("xyz"), labels=labels)
    index = Index.build(store)
    index.save(tmp_path / "i")
    with serving(searcher=Searcher(searcher.encoder, index)) as client:
        assert problem(client.delete("/v1/items/z"), 422)
        assert problem(client.post("/v1/items", files={"image": png()}, data={"id": "z"}), 422)
        assert client.post("/v1/search/id", json={"id": "z"}).json()["total"] == 2
        add(client, png(), id="new", labels=["b"])
        counted = client.get("/v1/labels").json()["levels"][0]["labels"]
        assert counted == [{"name": "b", "count": 2}, {"name": "a", "count": 1}]


def test_a_collection_may_become_empty(own: Opener, serving: Serving):
    searcher = own()
    with serving(searcher=searcher) as client:
        for name in searcher.index.store.ids:
            assert client.delete(f"/v1/items/{name}").status_code == 204
        nothing = {"hits": [], "total": 0}
        assert client.post("/v1/search/vector", json={"vector": [1.0] * 8}).json() == nothing
        assert client.post("/v1/search/image", files={"image": png()}, data={"labels": "red"}).json() == nothing
        assert client.get("/v1/items?random=5").json() == client.get("/v1/items").json() == {"items": [], "total": 0}
        assert client.get("/readyz").status_code == 200
        until(lambda: client.get("/v1/map").status_code == 200)
        assert client.get("/v1/map").json() == {"points": [], "state": "ready", "of": 0}
        add(client, png(), id="x")
        assert first(client, png())["id"] == "x"


def test_tags_and_no_labels_take_any_words(searcher: Searcher, serving: Serving, tmp_path: Path):
    tags = StoreLabels("tags", np.array([[True, False], [True, True]]), class_names=[["sea", "sky"]])
    for name, labels in (("tags", tags), ("none", StoreLabels())):
        store = EmbeddingStore.write(tmp_path / name, np.eye(8, dtype=np.float32)[:2], list("ab"), labels=labels)
        index = Index.build(store)
        index.save(tmp_path / f"{name}-index")
        with serving(searcher=Searcher(searcher.encoder, index)) as client:
            assert client.get("/v1/labels").status_code == 200
            assert add(client, png(), id="new", labels=["sky", "sun", "sea"])["labels"] == ["sky", "sun", "sea"]
            assert first(client, png(), labels="sun")["id"] == "new"
            (level,) = client.get("/v1/labels").json()["levels"]
            assert {label["name"]: label["count"] for label in level["labels"]}["sun"] == 1
            hits = client.post("/v1/search/id", json={"id": "new"}).json()["hits"]
            severities = {hit["id"]: hit["severity"] for hit in hits}
            far = {"a": pytest.approx(2 / 3, abs=1e-6), "b": pytest.approx(1 / 3, abs=1e-6)}
            assert severities == (far if name == "tags" else {"a": None, "b": None})


@pytest.mark.parametrize("kind", ["hnsw", "ivf_flat", "binary"])
def test_other_kinds_of_index_change_too(searcher: Searcher, serving: Serving, tmp_path: Path, kind: str):
    pytest.importorskip("faiss")
    index = Index.build(searcher.index.store, kind, **({"cells": 2, "probes": 2} if kind == "ivf_flat" else {}))
    index.save(tmp_path / kind)
    with serving(searcher=Searcher(searcher.encoder, index)) as client:
        add(client, png(seed=6), id="x", metadata='{"year": 2020}', **RED)
        assert first(client, png(seed=6), labels="red", metadata='{"year": 2020}')["id"] == "x"
        page = client.post("/v1/search/vector", json={"vector": [1.0] * 8, "k": 5, "offset": 22}).json()
        assert (page["total"], len(page["hits"])) == (25, 3)
        assert client.delete("/v1/items/x").status_code == 204
        assert client.post("/v1/search/vector", json={"vector": [1.0] * 8, "k": 25}).json()["total"] == 24


def test_one_service_at_a_time_changes_an_index(own: Opener, serving: Serving, tmp_path: Path, encoder_folder: Path):
    with serving(searcher=own()) as client:
        add(client, png(), id="x")
        second = open_searcher(tmp_path / "own" / "index", encoder_folder)
        with serving(searcher=second) as other:
            assert "cannot be written" in problem(other.post("/v1/items", files={"image": png()}), 503)
            assert other.get("/v1/items/x").status_code == 200


def test_many_add_search_and_delete_at_once(own: Opener, serving: Serving):
    failed: list[str] = []

    def work(client: TestClient, worker: int) -> None:
        for number in range(4):
            name, data = f"{worker}-{number}", png(seed=100 * worker + number)
            answer = client.post("/v1/items", files={"image": data}, data={"id": name})
            if answer.status_code != 201 or first(client, data)["score"] < 0.9999:
                failed.append(answer.text)
            if number % 2 and client.delete(f"/v1/items/{name}").status_code != 204:
                failed.append(name)

    searcher = own()
    with serving(searcher=searcher) as client:
        threads = [threading.Thread(target=work, args=(client, worker)) for worker in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        assert client.get("/v1/items").json()["total"] == 24 + 12
    assert len(own().index) == 36


def test_every_model_gets_the_item(own: Opener, serving: Serving, tmp_path: Path, encoder_folder: Path):
    shutil.copytree(tmp_path / "own", tmp_path / "other")
    other = open_searcher(tmp_path / "other" / "index", encoder_folder)
    with serving(searcher=own(), also={"other": other}) as client:
        add(client, png(), id="x", **RED)
        for name in ("small", "other"):
            found = client.post("/v1/search/id", json={"id": "x", "model": name}).json()
            assert found["total"] == 24
            assert first(client, png(), model=name)["id"] == "x"
        assert client.delete("/v1/items/x").status_code == 204
        for name in ("small", "other"):
            assert problem(client.post("/v1/search/id", json={"id": "x", "model": name}), 404)
    assert len(open_searcher(tmp_path / "other" / "index", encoder_folder).index) == 24


@pytest.mark.parametrize("closed", ["index", "other"])
def test_where_one_model_cannot_be_changed_none_is(
    own: Opener, serving: Serving, tmp_path: Path, encoder_folder: Path, closed: str
):
    shutil.copytree(tmp_path / "own" / "index", tmp_path / "own" / "other")
    base, added = "train/warm/red/0.png", "x"
    folders = [tmp_path / "own" / name for name in ("index", "other")]

    def state(client: TestClient) -> list[Any]:
        """What clients can see, without the order of items that were brought back."""
        told = []
        for model in ("small", "other"):
            items = client.get(f"/v1/items?limit=500&model={model}").json()["items"]
            labels = client.get(f"/v1/labels?model={model}").json()
            hits = client.post("/v1/search/vector", json={"vector": [1.0] * 8, "k": 5, "model": model}).json()
            told.append([sorted(items, key=lambda item: str(item["id"])), labels, hits])
        return [*told, client.get(f"/v1/items/{added}/image").content]

    with serving(searcher=own(), also={"other": open_searcher(folders[1], encoder_folder)}) as client:
        add(client, png(seed=1), id=added, metadata='{"year": 2020}', **RED)
    with serving(searcher=own(), also={"other": open_searcher(folders[1], encoder_folder)}) as client:
        before = state(client)
        held = lock(tmp_path / "own" / closed / "changes")
        for name in ("new", base, added):
            form = {"id": name, "labels": ["blue", "cold"]}
            assert "cannot be written" in problem(client.post("/v1/items", files={"image": png()}, data=form), 503)
            assert state(client) == before
        for name in (base, added):
            assert problem(client.delete(f"/v1/items/{name}"), 503)
            assert state(client) == before
        os.close(held)
        assert len(list((tmp_path / "own" / "index-uploads").iterdir())) == 1
        assert client.delete(f"/v1/items/{added}").status_code == 204
        assert client.delete(f"/v1/items/{base}").status_code == 204
        add(client, png(), id="new")
    assert [len(Index.open(folder)) for folder in folders] == [24, 24], "so they are on the disk too"


def test_what_is_a_query_in_one_model_stays_an_item_in_the_others(
    own: Opener, searcher: Searcher, serving: Serving, tmp_path: Path
):
    name = searcher.index.store.ids[0]
    labels = StoreLabels("classes", np.array([0, 1, 0]), ["kind"], [["a", "b"]], probes=1)
    store = EmbeddingStore.write(tmp_path / "s", np.eye(8, dtype=np.float32)[:3], ["a", "b", name], labels=labels)
    index = Index.build(store)
    index.save(tmp_path / "i")
    with serving(searcher=own(), also={"other": Searcher(searcher.encoder, index)}) as client:
        before = client.get(f"/v1/items/{name}").json()
        assert problem(client.delete(f"/v1/items/{name}"), 422)
        assert problem(client.post("/v1/items", files={"image": png()}, data={"id": name}), 422)
        assert client.get(f"/v1/items/{name}").json() == before
        assert client.get("/v1/items").json()["total"] == 24


def test_where_a_change_cannot_be_taken_back_the_log_says_so(
    own: Opener, serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def full(*words: Any) -> None:
        raise StorageError("the disk is full")

    other, searcher = tmp_path / "own" / "other", own()
    shutil.copytree(tmp_path / "own" / "index", other)
    with serving(searcher=searcher, also={"other": Searcher(searcher.encoder, Index.open(other))}) as client:
        put, calls = Index.put, []

        def once(index: Index, *given: Any) -> None:
            calls.append(index)
            if len(calls) > 1:
                full()
            put(index, *given)

        monkeypatch.setattr(Index, "put", once)
        monkeypatch.setattr(Index, "delete", full)
        assert problem(client.post("/v1/items", files={"image": png()}, data={"id": "x"}), 503)
        assert "'x' is changed in one model and could not be brought back" in caplog.text
        assert client.get("/v1/items/x/image").content == png(), "the file of what is left stays"


def test_the_vector_of_an_added_picture_is_the_encoders(own: Opener, serving: Serving):
    searcher = own()
    with serving(searcher=searcher) as client:
        add(client, png(seed=8), id="x")
        position = searcher.index.position("x")
    assert position is not None
    np.testing.assert_allclose(searcher.index.vector(position), searcher.encoder.embed([png(seed=8)])[0], atol=2e-6)
