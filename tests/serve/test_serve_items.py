"""Items, their pictures, labels, facts, and the description of the service itself."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from serve_parts import Serving, png, problem
from starlette.testclient import TestClient

from pertinent.data.images import decode
from pertinent.engine.search import Searcher
from pertinent.index import Index
from pertinent.store import EmbeddingStore


def with_places(searcher: Searcher, folder: Path, places: dict[str, str]) -> Searcher:
    """A collection whose pictures lie where we say."""
    vectors = np.eye(8, dtype=np.float32)[: len(places)]
    store = EmbeddingStore.write(folder, vectors, list(places), places=list(places.values()))
    return Searcher(searcher.encoder, Index.build(store))


def test_an_item_with_slashes_in_its_id(client: TestClient, searcher: Searcher):
    store = searcher.index.store
    found = client.post("/v1/search/id", json={"id": store.ids[0], "k": 1}).json()["hits"][0]
    assert "%2F" in found["image"]
    item = client.get(found["image"].removesuffix("/image")).json()
    position = store.ids.index(found["id"])
    assert item == {
        "id": found["id"],
        "labels": store.labels.words(position),
        "levels": dict(zip(store.labels.level_names, store.labels.words(position), strict=True)),
        "metadata": {},
        "image": found["image"],
        "file": Path(store.places[position]).name,
        "query_only": False,
    }
    assert client.get(f"/v1/items/{found['id']}").json() == item, "plain slashes do as well"


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("/data/glyphs/x-1.npy[3] (test/Latin/U+0045/00)", "x-1.npy[3]"),
        ("/data/x.npy[12]", "x.npy[12]"),
        ("C:\\pictures\\a (1).png", "a (1).png"),
        ("/data/all.zip/cats/tom.jpg", "tom.jpg"),
    ],
)
def test_only_the_last_part_of_where_a_picture_lies_is_told(
    searcher: Searcher, serving: Serving, tmp_path: Path, place: str, told: str
):
    with serving(searcher=with_places(searcher, tmp_path / "store", {"a": place})) as client:
        assert client.get("/v1/items/a").json()["file"] == told


def test_the_picture_of_an_item_is_its_file(client: TestClient, searcher: Searcher):
    store = searcher.index.store
    answer = client.get(f"/v1/items/{store.ids[3]}/image", headers={"Range": "bytes=junk"})
    assert answer.status_code == 200
    assert answer.content == Path(store.places[3]).read_bytes()
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    known = {"If-None-Match": answer.headers["etag"]}
    again = client.get(f"/v1/items/{store.ids[3]}/image", headers=known)
    assert (again.status_code, again.content) == (304, b"")
    for other in (f"/v1/items/{store.ids[3]}/image?w=5", f"/v1/items/{store.ids[4]}/image"):
        assert client.get(other, headers=known).status_code == 200


def test_a_thumbnail_fits_and_keeps_its_shape(searcher: Searcher, serving: Serving, tmp_path: Path):
    (tmp_path / "wide.png").write_bytes(png(400, 100))
    (tmp_path / "line.png").write_bytes(png(300, 1))
    (tmp_path / "odd").write_bytes(png(50, 50))
    places = {name: str(tmp_path / name) for name in ("wide.png", "line.png", "odd")}
    with serving(searcher=with_places(searcher, tmp_path / "s", places)) as client:
        for name, w, size in [
            ("wide.png", 100, (100, 25)),
            ("wide.png", 1024, (400, 100)),
            ("line.png", 10, (10, 1)),
            ("odd", 20, (20, 20)),
        ]:
            answer = client.get(f"/v1/items/{name}/image", params={"w": w})
            assert answer.headers["content-type"] == "image/jpeg"
            assert decode(answer.content).size == size
        assert "ask for it with w" in problem(client.get("/v1/items/odd/image"), 415)
        for w in ("0", "1025", "-5", "1e9", "x", ""):
            assert "w: " in problem(client.get("/v1/items/wide.png/image", params={"w": w}), 422)


def test_pictures_inside_a_zip_file(searcher: Searcher, serving: Serving, tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("deep/a.png", png())
        archive.writestr("deep/bomb.png", png())
    places = {"a": f"{tmp_path}/all.zip/deep/a.png", "none": f"{tmp_path}/all.zip/deep/../../x.png"}
    with serving(searcher=with_places(searcher, tmp_path / "s", places)) as client:
        assert client.get("/v1/items/a/image").content == png()
        assert client.get("/v1/items/a/image?w=8").headers["content-type"] == "image/jpeg"
        assert "is not where it was" in problem(client.get("/v1/items/none/image"), 404)


def test_places_that_hold_no_picture_are_not_sent(
    searcher: Searcher, serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "page.svg").write_text("<svg><script>1</script></svg>")
    (tmp_path / "big.png").write_bytes(bytes(2000))
    (tmp_path / "folder.png").mkdir()
    names = ["secret.txt", "page.svg", "gone.png", "folder.png", "big.png"]
    places = {name: str(tmp_path / name) for name in names} | {"array": "picture 3 of an array", "nul": "a\0b.png"}
    monkeypatch.setattr("pertinent.serve.pictures.FILE_BYTES", 1000)
    with serving(searcher=with_places(searcher, tmp_path / "s", places)) as client:
        for name, plain, small in [
            ("secret.txt", 415, 415),
            ("page.svg", 415, 415),
            ("gone.png", 404, 404),
            ("folder.png", 404, 404),
            ("big.png", 413, 413),
            ("array", 404, 404),
            ("nul", 404, 404),
        ]:
            assert "secret\n" not in problem(client.get(f"/v1/items/{name}/image"), plain)
            assert problem(client.get(f"/v1/items/{name}/image?w=9"), small)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/items/nobody",
        "/v1/items/nobody/image",
        "/v1/items/../../etc/passwd/image",
        "/v1/items/%2e%2e%2f%2e%2e%2fetc%2fpasswd/image",
        "/v1/items/%00/image",
        "/v1/items/%ff%fe",
        "/v1/items//image",
        "/v1/items/C:%5Cboot.ini/image",
        "/v1/nothing",
        "/",
        "/index.html",
        "/static/../settings.py",
    ],
)
def test_addresses_of_nothing(client: TestClient, path: str):
    assert problem(client.get(path), 404)


def test_labels_are_counted(client: TestClient, searcher: Searcher):
    answer = client.get("/v1/labels").json()
    store = searcher.index.store
    assert answer["kind"] == "tree"
    for level, found in enumerate(answer["levels"]):
        assert found["level"] == store.labels.level_names[level]
        words = [store.labels.words(place)[level] for place in range(len(store))]
        assert {one["name"]: one["count"] for one in found["labels"]} == {word: words.count(word) for word in words}


def test_a_collection_without_labels(searcher: Searcher, serving: Serving, tmp_path: Path):
    with serving(searcher=with_places(searcher, tmp_path / "s", {"a": "a", "b": "b"})) as client:
        assert client.get("/v1/labels").json() == {"kind": "none", "levels": []}
        assert client.get("/v1/items/a").json()["labels"] == []
        body = {"vector": [1.0] * 8, "labels": ["x"]}
        assert "unknown label 'x'" in problem(client.post("/v1/search/vector", json=body), 422)


def test_info(client: TestClient, searcher: Searcher):
    told = client.get("/v1/info").json()
    (model,) = told["models"]
    assert (model["name"], model["backbone"], model["dim"], model["origin"]) == ("small", "test_resnet", 8, None)
    index = model["index"]
    assert model["fingerprint"] == searcher.encoder.fingerprint() == index["fingerprints"]["encoder"]
    assert (index["kind"], index["items"], index["dim"]) == ("exact", 24, 8)
    assert index["levels"] == list(searcher.index.store.labels.level_names)
    assert (told["limits"]["k"], told["labels"], told["changeable"]) == (1000, "tree", True)


def test_an_index_without_a_folder_stays_as_it_is(searcher: Searcher, serving: Serving, tmp_path: Path):
    with serving(searcher=with_places(searcher, tmp_path / "s", {"a": "a", "b": "b"})) as client:
        said = problem(client.delete("/v1/items/a"), 409)
        assert "this index is in memory alone and cannot be changed; 'a' was not deleted" in said
        assert "cannot be changed" in problem(client.post("/v1/items", files={"image": png()}), 409)
        assert problem(client.delete("/v1/items/nobody"), 404)
        assert client.get("/v1/items/a").status_code == 200
        assert client.get("/v1/info").json()["changeable"] is False


def test_alive_and_ready(client: TestClient):
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}


def test_openapi_has_every_route_with_examples(client: TestClient):
    told = client.get("/openapi.json").json()
    assert set(told["paths"]) == {
        "/v1/search/image",
        "/v1/search/images",
        "/v1/search/id",
        "/v1/search/vector",
        "/v1/search/refine",
        "/v1/items",
        "/v1/items/{item}",
        "/v1/items/{item}/image",
        "/v1/labels",
        "/v1/info",
        "/v1/map",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    asked, told_of = ("ImageForm", "ImagesForm", "IdBody", "VectorBody", "RefineBody", "AddForm"), ("Hit", "Item")
    for name in (*asked, *told_of, "ErrorAnswer"):
        assert told["components"]["schemas"][name]["examples"]


def test_examples_of_openapi_work(client: TestClient):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for example in schemas["VectorBody"]["examples"]:
        said = problem(client.post("/v1/search/vector", json=example), 422)
        assert "a vector has 2 numbers" in said, "all but the length is right"
    for name, path in (("IdBody", "id"), ("RefineBody", "refine")):
        example = {**schemas[name]["examples"][0], "metadata": {}}
        assert "no item has the id" in problem(client.post(f"/v1/search/{path}", json=example), 404)


def test_the_page_is_served_where_there_is_one(serving: Serving, tmp_path: Path):
    static = tmp_path / "static"
    static.mkdir()
    (static / "index.html").write_text("<p>hello")
    (static / "app.js").write_text("1")
    (tmp_path / "outside.txt").write_text("no")
    with serving(static=static, token="a-token-of-many-characters") as client:
        assert client.get("/").text == "<p>hello"
        assert "default-src 'self'" in client.get("/").headers["content-security-policy"]
        assert client.get("/app.js").headers["cache-control"] == "no-cache"
        assert client.get("/app.js", headers={"Range": "bytes=9-1"}).status_code == 200
        for path in ("/none.js", "/../outside.txt", "/%2e%2e/outside.txt", "/..%2foutside.txt", "/%00"):
            assert problem(client.get(path), 404)
        assert problem(client.post("/"), 405)
        assert problem(client.get("/v1/info"), 401)


def series(client: TestClient) -> dict[str, float]:
    lines = [line for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r'[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+', line) for line in lines)
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_metrics_count_requests_batches_and_memory(serving: Serving):
    with serving() as client:
        for _ in range(3):
            client.post("/v1/search/image", files={"image": png()})
        client.post("/v1/search/vector", json={"vector": []})
        client.get("/v1/items/a/b/c")
        client.get("/nowhere/at/all")
        client.request("BREW", "/v1/info")
        found = series(client)
    image = 'route="/v1/search/image"'
    assert found[f'pertinent_requests_total{{{image},method="POST",status="200"}}'] == 3
    assert found['pertinent_requests_total{route="/v1/search/vector",method="POST",status="422"}'] == 1
    assert found['pertinent_requests_total{route="/v1/items/{item:path}",method="GET",status="404"}'] == 1
    assert found['pertinent_requests_total{route="none",method="GET",status="404"}'] == 1
    assert [value for name, value in found.items() if 'method="other",status="405"' in name] == [1]
    assert found[f'pertinent_request_seconds_bucket{{{image},le="+Inf"}}'] == 3
    assert found[f"pertinent_request_seconds_count{{{image}}}"] == 3
    assert found[f"pertinent_request_seconds_sum{{{image}}}"] > 0
    assert found['pertinent_batch_size_sum{work="embed"}'] == 3
    assert found['pertinent_batch_size_sum{work="search"}'] == 3
    assert found["pertinent_in_flight"] == 1, "the question itself"
    assert found["process_resident_memory_bytes"] > 1e7


def test_buckets_of_a_histogram_add_up():
    from pertinent.serve.metrics import Histogram

    histogram = Histogram((1, 2.5))
    for value in (0.5, 1, 2, 99):
        histogram.add(value)
    assert list(histogram.lines("x", 'a="b"')) == [
        'x_bucket{a="b",le="1"} 2',
        'x_bucket{a="b",le="2.5"} 3',
        'x_bucket{a="b",le="+Inf"} 4',
        'x_sum{a="b"} 102.500000',
        'x_count{a="b"} 4',
    ]


def test_a_fault_of_ours_is_json_too(
    client: TestClient, searcher: Searcher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def broken(*words: Any) -> None:
        raise ZeroDivisionError("secret words")

    monkeypatch.setattr("pertinent.serve.collection.Collection.item", broken)
    name = searcher.index.store.ids[0]
    assert "secret words" not in problem(client.get(f"/v1/items/{name}"), 500)
    assert "secret words" in caplog.text


@pytest.mark.parametrize("form", ["GIF", "BMP", "TIFF", "WEBP", "JPEG", "PPM"])
def test_pictures_of_common_formats_are_taken(client: TestClient, form: str):
    file = io.BytesIO()
    Image.open(io.BytesIO(png())).save(file, form)
    assert client.post("/v1/search/image", files={"image": file.getvalue()}).status_code == 200
