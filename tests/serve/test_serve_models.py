"""Several models side by side, the map of each, lists of items, and the command that serves them."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from serve_parts import TOKEN, Serving, png, problem
from starlette.testclient import TestClient
from typer.testing import CliRunner

from builders import SIDE
from pertinent.cli.__main__ import app
from pertinent.cli.serving import open_searchers
from pertinent.data.datasets.folder import Folder
from pertinent.data.transforms import Preprocess
from pertinent.engine.embed import embed_table
from pertinent.engine.search import Searcher, open_searcher
from pertinent.errors import ConfigError, StorageError
from pertinent.index import Index
from pertinent.models.encoder import Encoder, EncoderConfig
from pertinent.serve.projection import lay_out


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """Another encoder, of 12 numbers, and its index over the same pictures and those of val."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("wide")
    parts = EncoderConfig(backbone="test_resnet", dim=12, layer_norm="before")
    encoder = Encoder(parts, Preprocess(resize=SIDE, crop=SIDE, mean=(0.5,) * 3, std=(0.25,) * 3)).eval()
    encoder.save(folder / "encoder")
    for split in ("train", "val"):
        store = embed_table(encoder, Folder(pictures).split(split), folder / f"store-{split}")
        Index.build(store).save(folder / split)
    return folder


def test_each_model_searches_its_own_vectors(searcher: Searcher, wide: Path, serving: Serving):
    other = open_searcher(wide / "train", wide / "encoder")
    name = searcher.index.store.ids[7]
    with serving(also={"wide": other}) as client:
        told = client.get("/v1/info").json()["models"]
        assert [(model["name"], model["dim"]) for model in told] == [("small", 8), ("wide", 12)]
        for model, one in (("small", searcher), ("wide", other)):
            vector = one.index.store.vectors[7]
            wanted = [found for found in one.index.search(vector, 24).ids[0] if found != name]
            answer = client.post("/v1/search/id", json={"id": name, "k": 24, "model": model, "explain": True}).json()
            assert [hit["id"] for hit in answer["hits"]] == wanted
            assert (answer["explain"]["model"], answer["explain"]["encoder"]) == (model, one.encoder.fingerprint())
            by_vector = client.post("/v1/search/vector", json={"vector": vector.tolist(), "model": model, "k": 1})
            assert by_vector.json()["hits"][0]["id"] == name
            form = {"model": model, "k": "3", "with_vector": "true"}
            seen = client.post("/v1/search/image", files={"image": png()}, data=form).json()
            np.testing.assert_allclose(seen["vector"], one.encoder.embed([png()])[0], atol=2e-6)
        assert "the collection holds vectors of 12" in problem(
            client.post("/v1/search/vector", json={"vector": [1.0] * 8, "model": "wide"}), 422
        )


def test_an_id_of_one_model_only(wide: Path, serving: Serving):
    other = open_searcher(wide / "val", wide / "encoder")
    name = other.index.store.ids[0]
    with serving(also={"wide": other}) as client:
        assert client.get(f"/v1/items/{name}").json()["id"] == name
        assert client.get(f"/v1/items/{name}/image").status_code == 200
        assert client.post("/v1/search/id", json={"id": name, "model": "wide"}).status_code == 200
        assert problem(client.post("/v1/search/id", json={"id": name}), 404)
        assert client.get("/v1/items?model=wide").json()["total"] == 12


def test_a_model_that_is_not_served(client: TestClient):
    answers = [
        client.post("/v1/search/vector", json={"vector": [1.0] * 8, "model": "big"}),
        client.post("/v1/search/image", files={"image": png()}, data={"model": "big"}),
        *(client.get(f"/v1/{path}?model=big") for path in ("items", "labels", "map")),
    ]
    for answer in answers:
        assert "no model 'big' is served | served are: small" in problem(answer, 404)


# --- lists


def test_items_are_listed_page_by_page(client: TestClient, searcher: Searcher):
    names = searcher.index.store.ids
    pages = [client.get("/v1/items", params={"offset": first, "limit": 7}).json() for first in range(0, 28, 7)]
    assert [item["id"] for page in pages for item in page["items"]] == names
    assert {page["total"] for page in pages} == {24}
    assert client.get("/v1/items?offset=99").json() == {"items": [], "total": 24}
    red = client.get("/v1/items", params={"label": ["warm", "red"], "prefix": "train/warm"}).json()
    assert [item["id"] for item in red["items"]] == [name for name in names if "/red/" in name]
    assert client.get("/v1/items?prefix=nothing").json()["total"] == 0


def test_items_by_chance(client: TestClient):
    draws = [client.get("/v1/items?random=5").json() for _ in range(20)]
    assert all(len({item["id"] for item in draw["items"]}) == 5 and draw["total"] == 24 for draw in draws)
    assert len({item["id"] for draw in draws for item in draw["items"]}) > 12
    some = client.get("/v1/items?random=500&label=red").json()
    assert [item["labels"][0] for item in some["items"]] == ["red"] * 4


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("random=0", "random: "),
        ("random=501", "random: "),
        ("random=5&offset=2", "random goes with label and metadata alone"),
        ("limit=0", "limit: "),
        ("limit=501", "limit: "),
        ("offset=-1", "offset: "),
        ("label=rad", "unknown label 'rad'; did you mean 'red'?"),
        ("metadata=[]", "metadata: "),
        ("metadata=%7B%22year%22:1%7D", "unknown key of metadata 'year'"),
        ("nothing=1", "nothing: Extra inputs"),
    ],
)
def test_lists_that_cannot_be(client: TestClient, query: str, said: str):
    assert said in problem(client.get(f"/v1/items?{query}"), 422)


# --- the map


def ready_map(client: TestClient) -> dict[str, Any]:
    for _ in range(1200):
        answer = client.get("/v1/map")
        told: dict[str, Any] = answer.json()
        assert (answer.status_code, told["state"]) in ((200, "ready"), (202, "computing"))
        if told["state"] == "ready":
            return told
        assert told["points"] == []
        time.sleep(0.05)
    raise AssertionError("it never came")


def test_the_map_is_computed_once_and_kept(
    index_folder: Path, encoder_folder: Path, serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(index_folder.parent, tmp_path / "own")
    searcher = open_searcher(tmp_path / "own" / "index", encoder_folder)
    with serving(searcher=searcher) as client:
        first = ready_map(client)
    assert first["of"] == len(first["points"]) == 24
    assert {point["id"] for point in first["points"]} == set(searcher.index.store.ids)
    assert all(-1 <= point[axis] <= 1 for point in first["points"] for axis in "xy")
    assert {point["label"] for point in first["points"]} == {"red", "orange", "yellow", "blue", "violet", "cyan"}

    def broken(vectors: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("pertinent.serve.projection.lay_out", broken)
    with serving(searcher=searcher) as client:
        assert ready_map(client) == first, "read from its file"
        name = first["points"][0]["id"]
        assert client.delete(f"/v1/items/{name}").status_code == 204
        assert name not in {point["id"] for point in ready_map(client)["points"]}
    file = tmp_path / "own" / "index-map.json"
    for spoilt in ("{", '{"of": "another", "places": []}', json.dumps({**json.loads(file.read_text()), "places": 3})):
        file.write_text(spoilt)
        with serving(searcher=searcher) as client:
            assert ready_map(client)["points"] == [], "computed anew, which here fails"


def test_a_map_without_a_folder(searcher: Searcher, serving: Serving):
    in_memory = Searcher(searcher.encoder, Index.build(searcher.index.store))
    with serving(searcher=in_memory) as client:
        assert len(ready_map(client)["points"]) == 24


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 70])
def test_few_points_have_places_too(count: int):
    vectors = np.random.default_rng(count).normal(size=(count, 60)).astype(np.float32)
    laid = lay_out(vectors)
    assert laid.shape == (count, 2)
    assert np.isfinite(laid).all()
    assert (np.abs(laid) <= 1).all()


def test_those_alike_lie_near():
    rng = np.random.default_rng(0)
    kinds = np.arange(60) % 2
    vectors = rng.normal(size=(2, 16))[kinds] + rng.normal(size=(60, 16)) / 10
    laid = lay_out(vectors.astype(np.float32))
    centres = np.stack([laid[kinds == kind].mean(axis=0) for kind in (0, 1)])
    nearest = np.linalg.norm(laid[:, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == kinds).mean() > 0.95


# --- the command


def test_models_are_named_by_their_folders(index_folder: Path, encoder_folder: Path, wide: Path):
    found = open_searchers(index_folder, encoder_folder, [f"{wide / 'train'}={wide / 'encoder'}"])
    assert list(found) == ["index", "train"]
    assert found["train"].index.store.dim == 12


def test_models_of_one_name_are_told_apart(index_folder: Path, encoder_folder: Path, tmp_path: Path):
    shutil.copytree(index_folder.parent, tmp_path / "own")
    found = open_searchers(index_folder, encoder_folder, [f"{tmp_path / 'own' / 'index'}={encoder_folder}"])
    assert list(found) == [str(index_folder), str(tmp_path / "own" / "index")]


def test_models_that_cannot_be_served(index_folder: Path, encoder_folder: Path, wide: Path):
    again = f"{index_folder}={encoder_folder}"
    with pytest.raises(ConfigError, match="is given twice"):
        open_searchers(index_folder, encoder_folder, [again])
    with pytest.raises(StorageError, match="did not make the vectors"):
        open_searchers(index_folder, encoder_folder, [f"{wide / 'train'}={encoder_folder}"])
    with pytest.raises(StorageError, match="there is no folder"):
        open_searchers(index_folder, encoder_folder, ["nowhere"])
    with pytest.raises(StorageError, match="did not make the vectors"):
        open_searchers(index_folder, wide / "encoder", [])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0"], "can be reached by others and needs a token"),
        (["--host", "0.0.0.0", "--token", "short"], "the token must have 16 to 256 characters"),
        (["--port", "70000"], "port: "),
        (["--origin", "example.org"], "is no origin"),
    ],
)
def test_the_command_refuses(index_folder: Path, encoder_folder: Path, words: list[str], said: str):
    result = CliRunner().invoke(app, ["serve", str(index_folder), "--model", str(encoder_folder), *words])
    assert result.exit_code == 1
    assert said in " ".join(result.output.split())


def test_the_command_serves_what_it_says(
    index_folder: Path, encoder_folder: Path, wide: Path, monkeypatch: pytest.MonkeyPatch
):
    served: list[Any] = []

    def keep(application: Any, listening: Any) -> None:
        served.append(application)

    monkeypatch.setattr("pertinent.serve.app.serve", keep)
    monkeypatch.setenv("PERTINENT_SERVE_TOKEN", TOKEN)
    other = f"{wide / 'train'}={wide / 'encoder'}"
    words = ["serve", str(index_folder), "--model", str(encoder_folder), "--compare", other, "--port", "0"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "serving 24 items by 2 models (index, train) on http://127.0.0.1:" in result.output
    assert TOKEN not in result.output
    with TestClient(served[0], "http://127.0.0.1") as client:
        assert client.get("/v1/info").status_code == 401
        told = client.get("/v1/info", headers={"Authorization": f"Bearer {TOKEN}"}).json()
        assert [model["name"] for model in told["models"]] == ["index", "train"]
