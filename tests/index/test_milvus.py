"""What is peculiar to Milvus: its addresses, its limits, its one process; what all databases do is elsewhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import database_servers as servers
import numpy as np
import pytest
from numpy.typing import NDArray

from pertinent.errors import InputError, StorageError
from pertinent.index import MilvusIndex
from pertinent.index._milvus import Address

VECTORS = np.eye(4, dtype=np.float32)[np.arange(20) % 4]
IDS = [str(number) for number in range(20)]


@pytest.fixture(scope="module")
def server(running: Callable[[str], Any]) -> Any:
    return running("milvus")


def build(server: Any, collection: str, vectors: NDArray[np.float32] = VECTORS, **options: Any) -> MilvusIndex:
    return MilvusIndex(vectors, **{"url": server.url(collection), "ids": IDS, **options})


def test_somebody_elses_collection_is_never_replaced(server: Any):
    client = build(server, "ours").server.client
    client.create_collection("theirs", dimension=3)
    for replace in (False, True, "x"):
        with pytest.raises(StorageError, match="not an index of Pertinent"):
            build(server, "theirs", replace=replace)
    assert client.has_collection("theirs")


def test_a_build_that_fails_leaves_nothing_and_the_old_collection(server: Any):
    first = build(server, "ours_kept")
    before = first.server.client.list_collections()
    with pytest.raises(ZeroDivisionError):
        build(server, "ours_kept", replace=True, progress=lambda done, count: done // (count - 20))
    assert first.server.client.list_collections() == before
    assert first.count() == 20


@pytest.mark.parametrize(
    "wrong",
    [
        {"ids": ["x" * 70_000]},
        {"words": [["é" * 40_000]]},
        {"words": [["x"] * 5000]},
        {"metadata": [{str(number): 1 for number in range(5000)}]},
        {"metadata": [{"key": "x" * 65_530}]},
    ],
    ids=["id", "word", "words", "values", "value"],
)
def test_texts_that_are_too_long(server: Any, wrong: dict[str, Any]):
    index = build(server, "texts", replace=True)
    given: dict[str, Any] = {"ids": ["a"], "vectors": VECTORS[:1], **wrong}
    with pytest.raises(InputError, match=r"has (a text of )?more than (65535|4096)"):
        index.put([20], **given)
    assert index.count() == 20


def test_a_collection_that_goes_away(server: Any):
    index = build(server, "gone")
    index.server.client.drop_collection("gone")
    for call in (lambda: index.search(VECTORS[:1], 3), index.count, lambda: index.put([1], ["x"], VECTORS[:1])):
        with pytest.raises(StorageError, match=r"collection=gone: .* failed"):
            call()


def test_a_collection_that_another_released(server: Any):
    index = build(server, "released")
    index.server.client.release_collection("released")
    assert index.search(VECTORS[:1], 5)[1].tolist() == [[0, 4, 8, 12, 16]]


OTHER = """
import sys
import numpy as np
from pertinent.index import MilvusIndex
vectors = np.eye(4, dtype=np.float32)[np.arange(20) % 4]
index = MilvusIndex(vectors, url=sys.argv[1], ids=[str(number) for number in range(20)])
index.put([20], ["20"], -vectors[:1], [["word"]])
index.remove([0])
print(index.identity, flush=True)
sys.stdin.read()
"""


def test_a_file_belongs_to_one_process_and_survives_its_death():
    with servers.milvus() as own:
        other = subprocess.Popen(
            [sys.executable, "-c", OTHER, own.url("x")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        identity = other.stdout.readline().strip()
        state = {"url": own.url("x"), "identity": identity, "structure": "hnsw", "links": 16, "build": 64, "search": 64}
        try:
            with pytest.raises(StorageError, match="close the other process that has the file open"):
                MilvusIndex.open(Path("none"), VECTORS, **state)
        finally:
            other.kill()
            other.communicate()
        index = MilvusIndex.open(Path("none"), VECTORS, **state)
        assert index.count() == 20
        assert index.search(-VECTORS[:1], 1)[1].tolist() == [[20]]
        assert set(index.search(VECTORS[:1], 4)[1][0].tolist()) == {4, 8, 12, 16}
        servers.release(own.file)
        assert MilvusIndex.open(Path("none"), VECTORS, **state).count() == 20


def test_a_server_that_ends_and_comes_back(monkeypatch: pytest.MonkeyPatch):
    with servers.milvus_process() as server:
        index = build(server, "x")
        index.put([20], ["20"], -VECTORS[:1])
        found = index.search(-VECTORS[:1], 3)[1]
        assert found[0, 0] == 20
        server.kill()
        for module in ("_milvus_search", "milvus"):
            monkeypatch.setattr(f"pertinent.index.{module}.SECONDS", 3)
        with pytest.raises(StorageError, match="searching failed"):
            index.search(-VECTORS[:1], 3)
        with pytest.raises(StorageError, match="connect"):
            MilvusIndex.open(Path("none"), VECTORS, **index.state())
        server.start()
        monkeypatch.undo()
        np.testing.assert_array_equal(index.search(-VECTORS[:1], 3)[1], found)


def test_a_folder_that_is_missing(tmp_path: Path):
    pytest.importorskip("pymilvus")
    with pytest.raises(StorageError, match="does not exist; make it first"):
        MilvusIndex(VECTORS, url=f"milvus://{tmp_path}/none/x.db?collection=x", ids=IDS)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("milvus:/tmp/x.db?collection=x", "starts with milvus://"),
        ("milvus:///tmp/x.db", "say the collection"),
        ("milvus:///tmp/x.db?collection=a-b", "letters, digits and _"),
        ("milvus:///tmp/x?collection=a", r"ends in .db|ending in .db"),
        ("milvus:///tmp/x.db?collection=a&secure=yes", "true or false"),
        ("milvus:///tmp/x.db?collection=a&colection=b", "did you mean 'collection'"),
        ("milvus://u:secret@host:port?collection=a", "Port could not"),
        ("milvus://u:secret@/x?collection=a", "names no server"),
        ("milvus://u:secret@host/a/b?collection=a", "no database"),
    ],
)
def test_urls_that_are_wrong(url: str, message: str):
    with pytest.raises(InputError, match=message) as caught:
        Address.of(url)
    assert "secret" not in str(caught.value)


def test_addresses(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PERTINENT_MILVUS_TOKEN", "from the environment")
    at = Address.of("milvus://host/images?collection=x&secure=true")
    assert (at.uri, at.database, at.token, at.embedded) == (
        "https://host:19530",
        "images",
        "from the environment",
        False,
    )
    assert Address.of("milvus://me:secret@host:7?collection=x").token == "me:secret"
    at = Address.of("milvus:///tmp/x.db?collection=x")
    assert (at.uri, at.token, at.embedded, at.shown) == ("/tmp/x.db", "", True, "milvus:///tmp/x.db?collection=x")
