"""Pages of hits, metadata, severity and refined queries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serve_parts import Serving, png, problem
from starlette.testclient import TestClient

from pertinent.engine.search import Searcher
from pertinent.index import Index
from pertinent.serve.refining import rocchio
from pertinent.serve.severity import severity
from pertinent.store import EmbeddingStore

VECTOR = [1.0, 0.5, *[0.0] * 6]


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [hit["id"] for hit in answer.json()["hits"]]


@pytest.fixture
def noted(tmp_path: Path, searcher: Searcher) -> Searcher:
    """Thirty items a..., every third of 2020, every second by Ann; the last has nothing noted of it."""
    rng = np.random.default_rng(0)
    names = [f"i{number:02}" for number in range(30)]
    store = EmbeddingStore.write(tmp_path / "noted", rng.normal(size=(30, 8)).astype(np.float32), names)
    metadata = {
        name: {"year": 2020 + number % 3, "by": "Ann" if number % 2 else "Bob", "sharp": number % 5 == 0}
        for number, name in enumerate(names[:-1])
    }
    return Searcher(searcher.encoder, Index.build(store, metadata=metadata))


@pytest.mark.parametrize("labels", [[], ["warm"]])
def test_pages_are_the_ranking_cut(client: TestClient, labels: list[str]):
    body = {"vector": VECTOR, "labels": labels}
    whole = client.post("/v1/search/vector", json={**body, "k": 24}).json()
    pages = [client.post("/v1/search/vector", json={**body, "k": 5, "offset": 5 * page}).json() for page in range(6)]
    assert [hit for page in pages for hit in page["hits"]] == whole["hits"]
    assert {page["total"] for page in pages} == {len(whole["hits"])} == {12 if labels else 24}
    form = {"k": "3", "offset": "2", "labels": labels}
    first = ids(client.post("/v1/search/image", files={"image": png()}, data={**form, "offset": "0", "k": "5"}))
    assert ids(client.post("/v1/search/image", files={"image": png()}, data=form)) == first[2:]


def test_many_pages_at_once_keep_apart(client: TestClient):
    vectors = np.random.default_rng(0).normal(size=(4, 8)).tolist()
    answer = client.post("/v1/search/vector", json={"vectors": vectors, "k": 2, "offset": 3}).json()
    assert answer["total"] == 24
    for vector, result in zip(vectors, answer["results"], strict=True):
        assert [hit["id"] for hit in result["hits"]] == ids(
            client.post("/v1/search/vector", json={"vector": vector, "k": 5})
        )[3:]


@pytest.mark.parametrize(("offset", "said"), [(-1, "offset: "), (9_999, "no deeper than 10000"), (10_001, "offset: ")])
def test_pages_that_cannot_be(client: TestClient, offset: int, said: str):
    assert said in problem(client.post("/v1/search/vector", json={"vector": VECTOR, "offset": offset}), 422)


@pytest.mark.parametrize(
    ("wanted", "allowed"),
    [
        ({"year": 2021}, lambda n: n % 3 == 1),
        ({"year": [2021, 2022.0]}, lambda n: n % 3 != 0),
        ({"year": 2020, "by": "Ann"}, lambda n: n % 3 == 0 and n % 2),
        ({"sharp": True}, lambda n: n % 5 == 0),
        ({"by": ["Eve"]}, lambda n: n < 0),
    ],
)
def test_metadata_filters_every_search(noted: Searcher, serving: Serving, wanted: Any, allowed: Any):
    there = {f"i{number:02}" for number in range(29) if allowed(number)}
    with serving(searcher=noted) as client:
        answer = client.post("/v1/search/vector", json={"vector": VECTOR, "k": 30, "metadata": wanted})
        assert set(ids(answer)) == there
        assert answer.json()["total"] == len(there)
        form = {"k": 30, "metadata": json.dumps(wanted)}
        assert set(ids(client.post("/v1/search/image", files={"image": png()}, data=form))) == there
        assert set(ids(client.post("/v1/search/id", json={"id": "i01", "k": 30, "metadata": wanted}))) == there - {
            "i01"
        }
        listed = client.get("/v1/items", params={"metadata": json.dumps(wanted)}).json()
        assert {item["id"] for item in listed["items"]} == there


def test_metadata_is_told(noted: Searcher, serving: Serving):
    with serving(searcher=noted) as client:
        told = {"year": 2022, "by": "Ann", "sharp": True}
        assert client.get("/v1/items/i05").json()["metadata"] == told
        hits = client.post("/v1/search/vector", json={"vector": VECTOR, "k": 30}).json()["hits"]
        assert next(hit["metadata"] for hit in hits if hit["id"] == "i05") == told
        assert client.get("/v1/items/i29").json()["metadata"] == {}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"yaer": 2020}, "did you mean 'year'"),
        ({"year": None}, "metadata.year"),
        ({"year": []}, "metadata.year"),
        ({"year": {"a": 1}}, "metadata.year"),
        ({"year": 2**60}, "metadata.year"),
        ([1], "metadata: "),
        ({str(number): 1 for number in range(17)}, "metadata: "),
    ],
)
def test_metadata_that_cannot_be(noted: Searcher, serving: Serving, wanted: Any, said: str):
    with serving(searcher=noted) as client:
        assert said in problem(client.post("/v1/search/vector", json={"vector": VECTOR, "metadata": wanted}), 422)
        form = client.post("/v1/search/image", files={"image": png()}, data={"metadata": json.dumps(wanted)})
        assert said.partition(".")[0] in problem(form, 422)
        assert problem(client.get("/v1/items", params={"metadata": json.dumps(wanted)}), 422)


@pytest.mark.parametrize("text", ["{", "[]", "1", '{"a": NaN}', "[" * 5000, '{"a": 1' + "0" * 5000 + "}"])
def test_metadata_text_that_is_no_object(client: TestClient, text: str):
    said = problem(client.post("/v1/search/image", files={"image": png()}, data={"metadata": text}), 422)
    assert "metadata: " in said


def test_severity_by_levels_and_tags():
    assert severity("tree", ["tom", "cat"], ["tom", "cat"]) == 0
    assert severity("tree", ["tom", "cat"], ["kit", "cat"]) == 0.5
    assert severity("tree", ["tom", "cat"], ["rex", "dog"]) == 1
    assert severity("tree", ["a", "b", "c"], ["x", "y", "c"]) == pytest.approx(2 / 3, abs=1e-6)
    assert severity("tree", ["tom", ""], ["rex", ""]) == 1, "unknown labels are not shared"
    assert severity("classes", ["a"], ["a"]) == 0
    assert severity("classes", ["a"], ["b"]) == 1
    assert severity("tags", ["sea", "sky"], ["sky", "sun"]) == pytest.approx(2 / 3, abs=1e-6)
    assert severity("tags", ["sea"], ["sea"]) == 0
    assert severity("tree", ["tom", "cat"], []) is None
    assert severity("none", ["tom"], ["tom"]) is None


def test_hits_say_how_far_off_they_are(client: TestClient, searcher: Searcher):
    store = searcher.index.store
    answer = client.post("/v1/search/id", json={"id": store.ids[0], "k": 24}).json()
    words = store.labels.words(0)
    for hit in answer["hits"]:
        shared = sum(mine == found for mine, found in zip(words, hit["labels"], strict=True))
        assert hit["severity"] == 1 - shared / 2
    assert all(
        "severity" not in hit for hit in client.post("/v1/search/vector", json={"vector": VECTOR}).json()["hits"]
    )
    body = {"vector": VECTOR, "labels_of_query": ["red", "warm"], "labels": ["red"]}
    assert {hit["severity"] for hit in client.post("/v1/search/vector", json=body).json()["hits"]} == {0}
    form = {"labels_of_query": ["red", "warm"], "labels": "cold"}
    found = client.post("/v1/search/image", files={"image": png()}, data=form).json()
    assert {hit["severity"] for hit in found["hits"]} == {1}


def test_a_refined_query_is_rocchio(client: TestClient, searcher: Searcher):
    store = searcher.index.store
    body = {"id": store.ids[0], "relevant": store.ids[3:5], "irrelevant": store.ids[7:8], "k": 24}
    answer = client.post("/v1/search/refine", json=body).json()
    unit = store.vectors / np.linalg.norm(store.vectors, axis=1, keepdims=True)
    wanted = unit[0] + 0.75 * unit[3:5].mean(axis=0) - 0.15 * unit[7]
    np.testing.assert_allclose(answer["vector"], wanted / np.linalg.norm(wanted), atol=1e-6)
    again = client.post("/v1/search/vector", json={"vector": answer["vector"], "k": 24})
    assert [hit["id"] for hit in answer["hits"]] == [name for name in ids(again) if name != store.ids[0]]
    assert set(store.ids[3:5]) < {hit["id"] for hit in answer["hits"]}
    assert answer["total"] == 23


def test_a_refined_query_may_begin_with_a_vector_or_nothing(client: TestClient, searcher: Searcher):
    store = searcher.index.store
    seen = client.post("/v1/search/image", files={"image": png()}, data={"with_vector": "true"}).json()
    same = client.post("/v1/search/refine", json={"vector": seen["vector"]}).json()
    assert [hit["id"] for hit in same["hits"]] == [hit["id"] for hit in seen["hits"]]
    only = client.post("/v1/search/refine", json={"relevant": [store.ids[5]], "k": 1}).json()
    assert [hit["id"] for hit in only["hits"]] == [store.ids[5]]
    weights = {"alpha": 0.0, "beta": 1.0, "relevant": [store.ids[5]], "k": 1}
    moved = client.post("/v1/search/refine", json={"vector": VECTOR, **weights}).json()
    assert moved["hits"] == only["hits"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 422, "give id, vector or relevant items"),
        ({"irrelevant": ["x"]}, 422, "give id, vector or relevant items"),
        ({"id": "x", "vector": VECTOR}, 422, "give either id or vector"),
        ({"id": "x"}, 404, "no item has the id 'x'"),
        ({"vector": VECTOR, "relevant": ["x"]}, 404, "no item has the id 'x'"),
        ({"vector": [1.0]}, 422, "a vector has 1 numbers"),
        ({"vector": [0.0] * 8}, 422, "cancel each other out"),
        ({"vector": VECTOR, "alpha": 0.0}, 422, "cancel each other out"),
        ({"vector": VECTOR, "beta": -1.0}, 422, "beta: "),
        ({"vector": VECTOR, "relevant": ["x"] * 1001}, 422, "relevant: "),
    ],
)
def test_queries_that_cannot_be_refined(client: TestClient, body: Any, status: int, said: str):
    assert said in problem(client.post("/v1/search/refine", json=body), status)


def test_rocchio_of_opposites():
    one = np.array([[1.0, 0.0]], np.float32)
    np.testing.assert_allclose(rocchio(None, one, one[:0], (1, 1, 1)), one)
    np.testing.assert_allclose(rocchio(one[0], one[:0], 5 * one, (1, 1, 0.5)), one)
    with pytest.raises(ValueError, match="cancel"):
        rocchio(one[0], one[:0], one, (1, 1, 1))
