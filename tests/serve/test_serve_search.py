"""Searches through HTTP find what the searcher and the index find."""

from __future__ import annotations

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
from pertinent.pipeline import Pipeline
from pertinent.store import EmbeddingStore, StoreLabels


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [hit["id"] for hit in answer.json()["hits"]]


def test_by_image_finds_what_the_searcher_finds(client: TestClient, searcher: Searcher, pictures: Path):
    path = pictures / "val" / "warm" / "red" / "0.png"
    answer = client.post("/v1/search/image", files={"image": ("x.png", path.read_bytes())}, data={"k": 5})
    wanted = searcher.search([path], 5)[0]
    hits = answer.json()["hits"]
    assert [(hit["id"], hit["labels"]) for hit in hits] == [(hit["id"], hit["labels"]) for hit in wanted]
    np.testing.assert_allclose([hit["score"] for hit in hits], [hit["score"] for hit in wanted], atol=2e-6)
    assert "explain" not in answer.json()


def test_a_region_is_the_picture_cut(client: TestClient, tmp_path: Path):
    data = png(40, 30)
    decode(data).crop((5, 6, 25, 28)).save(tmp_path / "cut.png")
    whole = ids(client.post("/v1/search/image", files={"image": data}))
    cut = client.post("/v1/search/image", files={"image": data}, data={"region": "5,6,25,28"})
    assert cut.json() == client.post("/v1/search/image", files={"image": (tmp_path / "cut.png").read_bytes()}).json()
    beyond = client.post("/v1/search/image", files={"image": data}, data={"region": "-9, -9, 1000, 1000"})
    assert ids(beyond) == whole


def test_a_region_is_of_the_upright_picture(client: TestClient, tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = decode(png(40, 30))
    picture.save(tmp_path / "turned.png", exif=exif)
    # Upright it is 30 wide and 40 high.
    data = {"region": "0,0,30,40"}
    turned = client.post("/v1/search/image", files={"image": (tmp_path / "turned.png").read_bytes()}, data=data)
    assert ids(turned) == ids(client.post("/v1/search/image", files={"image": (tmp_path / "turned.png").read_bytes()}))
    said = client.post(
        "/v1/search/image", files={"image": (tmp_path / "turned.png").read_bytes()}, data={"region": "30,0,40,30"}
    )
    assert "30 x 40 pixels have no part in the region" in problem(said, 422)


@pytest.mark.parametrize(
    "region", ["1,2,3", "a,b,c,d", "5,5,5,9", "9,0,1,5", "nan,0,1,1", "0,0,inf,5", "1,2,3,4,5", "0"]
)
def test_a_region_that_is_none(client: TestClient, region: str):
    said = client.post("/v1/search/image", files={"image": png()}, data={"region": region})
    assert "region: " in problem(said, 422)


def test_by_images_is_by_each_image(client: TestClient):
    files = [png(seed=seed) for seed in range(5)]
    answer = client.post("/v1/search/images", files=[("images", file) for file in files], data={"k": 3})
    assert answer.status_code == 200
    for file, result in zip(files, answer.json()["results"], strict=True):
        assert ids(client.post("/v1/search/image", files={"image": file}, data={"k": 3})) == [
            hit["id"] for hit in result["hits"]
        ]


def test_one_damaged_picture_of_several_is_named(client: TestClient):
    files = [("images", png()), ("images", png()[:150])]
    assert "picture 2: truncated or damaged" in problem(client.post("/v1/search/images", files=files), 422)


def test_by_id_leaves_the_item_out_by_place(client: TestClient, searcher: Searcher):
    store = searcher.index.store
    for position in (0, 13):
        found = ids(client.post("/v1/search/id", json={"id": store.ids[position], "k": 23}))
        whole = searcher.index.search(store.vectors[position], len(store)).ids[0]
        assert found == [name for name in whole if name != store.ids[position]]


def test_by_id_among_twins_loses_only_itself(tmp_path: Path, searcher: Searcher, serving: Serving):
    vectors = np.ones((4, 8), np.float32) / np.sqrt(np.float32(8))
    index = Index.build(EmbeddingStore.write(tmp_path / "s", vectors, list("abcd"), encoder=None))
    with serving(searcher=Searcher(searcher.encoder, index)) as client:
        assert ids(client.post("/v1/search/id", json={"id": "c"})) == ["a", "b", "d"]


def test_by_vector_is_the_index(client: TestClient, searcher: Searcher):
    vectors = np.random.default_rng(1).normal(size=(3, 8))
    wanted = searcher.index.search(vectors.astype(np.float32), 7)
    one = client.post("/v1/search/vector", json={"vector": vectors[0].tolist(), "k": 7})
    assert ids(one) == wanted.ids[0]
    answer = client.post("/v1/search/vector", json={"vectors": vectors.tolist(), "k": 7}).json()
    assert [[hit["id"] for hit in result["hits"]] for result in answer["results"]] == wanted.ids
    scores = [[hit["score"] for hit in result["hits"]] for result in answer["results"]]
    np.testing.assert_allclose(scores, wanted.scores, atol=2e-6)


def test_k_beyond_the_collection_finds_all(client: TestClient):
    assert len(ids(client.post("/v1/search/vector", json={"vector": [1.0] * 8, "k": 1000}))) == 24
    assert "k: at most 1000 results, got 1001" in problem(
        client.post("/v1/search/vector", json={"vector": [1.0] * 8, "k": 1001}), 422
    )
    many = {"vectors": [[1.0] * 8] * 11, "k": 1000}
    said = problem(client.post("/v1/search/vector", json=many), 422)
    assert "no deeper than 10000 results over all its queries; 11 x (offset 0 + k 1000)" in said


@pytest.mark.parametrize("names", [["red"], ["warm"], ["warm", "red"], ["cold"], ["cold", "red"]])
@pytest.mark.parametrize("k", [1, 3, 10, 24])
def test_a_filter_is_the_full_ranking_without_the_rest(
    client: TestClient, searcher: Searcher, names: list[str], k: int
):
    vector = np.random.default_rng(k).normal(size=8).astype(np.float32)
    store = searcher.index.store
    ranked = searcher.index.search(vector, len(store)).positions[0].tolist()
    wanted = [store.ids[place] for place in ranked if set(names) <= set(store.labels.words(place))][:k]
    body = {"vector": vector.tolist(), "k": k, "labels": names, "explain": True}
    answer = client.post("/v1/search/vector", json=body)
    assert ids(answer) == wanted
    form = client.post("/v1/search/image", files={"image": png()}, data={"k": k, "labels": names})
    assert all(set(names) <= set(hit["labels"]) for hit in form.json()["hits"])
    itself = client.post("/v1/search/id", json={"id": store.ids[0], "k": k, "labels": names})
    assert store.ids[0] not in ids(itself)


def test_filters_by_tags(tmp_path: Path, searcher: Searcher, serving: Serving):
    rng = np.random.default_rng(0)
    values = np.zeros((2000, 2), bool)
    values[:, 0] = rng.random(2000) < 0.5
    values[7, 1] = True
    labels = StoreLabels("tags", values, class_names=[["often", "once"]])
    store = EmbeddingStore.write(
        tmp_path / "s", rng.normal(size=(2000, 8)).astype(np.float32), [f"i{n}" for n in range(2000)], labels=labels
    )
    with serving(searcher=Searcher(searcher.encoder, Index.build(store))) as client:
        body = {"vector": [1.0, *[0.0] * 7], "k": 5}
        often = client.post("/v1/search/vector", json={**body, "labels": ["often"]}).json()
        assert (len(often["hits"]), often["total"]) == (5, values[:, 0].sum())
        once = client.post("/v1/search/vector", json={**body, "labels": ["once"]}).json()
        assert [hit["id"] for hit in once["hits"]] == ["i7"]
        neither = client.post("/v1/search/vector", json={**body, "labels": ["once", "often"]}).json()
        assert [hit["id"] for hit in neither["hits"]] == (["i7"] if values[7, 0] else [])


def test_an_unknown_label_suggests_the_near_one(client: TestClient):
    said = problem(client.post("/v1/search/vector", json={"vector": [1.0] * 8, "labels": ["rad"]}), 422)
    assert "unknown label 'rad'; did you mean 'red'?" in said


def test_explain_tells_stages_fingerprints_and_times(searcher: Searcher, serving: Serving, tmp_path: Path):
    store = searcher.index.store
    staged = Index.build(store, pipeline=Pipeline.parse("pca_whiten(dims=4), alpha_qe(k=2)").fit(store.items))
    with serving(searcher=Searcher(searcher.encoder, staged)) as client:
        answer = client.post("/v1/search/image", files={"image": png()}, data={"explain": "true", "k": "2"}).json()
        vector = searcher.encoder.embed([png()]).numpy()
    told = answer["explain"]
    assert told["stages"] == staged.pipeline.words
    assert told["model"] == "small"
    assert told["encoder"] == searcher.encoder.fingerprint() == told["fingerprints"]["encoder"]
    assert told["fingerprints"]["stages"] == staged.pipeline.fingerprint
    assert set(told["timings_ms"]) == {"decode", "embed", "search"}
    assert all(value >= 0 for value in told["timings_ms"].values())
    assert [hit["id"] for hit in answer["hits"]] == staged.search(vector, 2).ids[0], "the stages are those of the index"


def test_probes_search_and_are_never_found(tmp_path: Path, searcher: Searcher, serving: Serving):
    vectors = np.eye(8, dtype=np.float32)[:5]
    labels = StoreLabels("classes", np.array([0, 1, 0, 1, 0]), ["kind"], [["a", "b"]], probes=2)
    store = EmbeddingStore.write(tmp_path / "s", vectors, list("vwxyz"), labels=labels)
    with serving(searcher=Searcher(searcher.encoder, Index.build(store))) as client:
        assert sorted(ids(client.post("/v1/search/id", json={"id": "z"}))) == ["v", "w", "x"]
        assert ids(client.post("/v1/search/id", json={"id": "z", "labels": ["b"]})) == ["w"]
        assert client.get("/v1/items/z").json()["query_only"]
        counted = client.get("/v1/labels").json()["levels"][0]["labels"]
        assert counted == [{"name": "a", "count": 2}, {"name": "b", "count": 1}]


@pytest.mark.parametrize("vector", [[0.0] * 8, [3e38] * 8, [1e-45] * 8, [1] * 8])
def test_odd_vectors_have_finite_scores(client: TestClient, vector: list[float]):
    assert len(ids(client.post("/v1/search/vector", json={"vector": vector}))) == 10


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"vector": [1.0] * 7}, "a vector has 7 numbers, the collection holds vectors of 8"),
        ({"vectors": [[1.0] * 8, []]}, "a vector has 0 numbers"),
        ({"vector": [1e39] * 8}, "not finite in 32 bits"),
        ({"vector": [10**400] * 8}, "vector"),
        ({"vector": ["1"] * 8}, "vector.0: Input should be a valid number"),
        ({}, "give either vector or vectors"),
        ({"vector": [1.0] * 8, "vectors": [[1.0] * 8]}, "give either vector or vectors"),
        ({"vectors": []}, "vectors: List should have at least 1 item"),
        ({"vectors": [[1.0] * 8] * 65}, "vectors: List should have at most 64 items"),
        ({"vector": [1.0] * 8, "k": 0}, "k: Input should be greater than or equal to 1"),
        ({"vector": [1.0] * 8, "k": "5"}, "k: Input should be a valid integer"),
        ({"vector": [1.0] * 8, "kk": 5}, "kk: Extra inputs are not permitted"),
        ([1, 2], "valid dictionary"),
    ],
)
def test_vectors_that_cannot_be(client: TestClient, body: Any, said: str):
    assert said in problem(client.post("/v1/search/vector", json=body), 422)


def test_an_id_that_is_none(client: TestClient):
    assert "no item has the id 'nobody'" in problem(client.post("/v1/search/id", json={"id": "nobody"}), 404)


def test_an_index_with_another_encoder_is_not_ready(tmp_path: Path, searcher: Searcher, serving: Serving):
    store = EmbeddingStore.write(tmp_path / "s", np.eye(8, dtype=np.float32), list("abcdefgh"), encoder="other")
    with serving(searcher=Searcher(searcher.encoder, Index.build(store))) as client:
        assert problem(client.get("/readyz"), 503)
        assert client.get("/healthz").json() == {"status": "alive"}
