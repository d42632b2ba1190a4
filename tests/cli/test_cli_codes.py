"""From pictures to an answer by codes, on the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pertinent import EmbeddingStore, Index
from pertinent.engine.codes_baseline import write_baseline
from pertinent.engine.near_codes import items_within
from pertinent.engine.run import Run
from pertinent.errors import InputError
from pertinent.functional.code_statistics import code_statistics, quantisation_error
from pertinent.store import StoreLabels


@pytest.fixture
def codes(call: Any, finished_run: Run, pictures: Path) -> Any:
    """What `embed --codes` said of the test pictures, whose store is `s`."""
    return call("embed", finished_run.folder, pictures / "test", "-o", "s", "--codes")


def test_embed_index_and_search_by_codes(call: Any, codes: Any, finished_run: Run, pictures: Path):
    assert "12 codes of 8 bits, 1 byte each, in s" in codes.stdout
    store = EmbeddingStore.open("s")
    np.testing.assert_array_equal(store.codes, np.packbits(store.vectors > 0, axis=1))
    assert "binary index of 12 items in s-index" in call("index", "s", "--kind", "binary").stdout
    picture = pictures / "test" / "warm" / "red" / "0.png"
    said = call("search", "s-index", picture, "--model", finished_run.encoder("best"), "-k", 3, "--json").stdout
    hits = json.loads(said)["hits"]
    assert hits[0]["score"] == 1.0
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)


@pytest.mark.parametrize("kind", ["binary", "binary_ivf", "binary_hnsw"])
def test_options_of_a_kind(call: Any, codes: Any, finished_run: Run, pictures: Path, kind: str):
    call("index", "s", "--kind", kind, "--option", "rerank=12", "--option", "rerank_vectors=true")
    opened = Index.open("s-index")
    assert (opened.structure.items.rerank, opened.structure.items.rerank_vectors) == (12, True)
    picture = pictures / "test" / "cold" / "blue" / "1.png"
    said = call("search", "s-index", picture, "--model", finished_run.encoder("best"), "-k", 1).stdout
    assert str(picture) in said
    assert "1.0000" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--kind", "binari"], "unknown index kind 'binari'; did you mean 'binary'"),
        (["--kind", "binary", "--option", "rerunk=5"], "rerunk: unknown option; did you mean 'rerank'"),
        (["--kind", "binary", "--option", "vectors=5"], "vectors: unknown option"),
        (["--kind", "binary", "--option", "rerank=many"], "rerank: Input should be a valid integer, got 'many'"),
        (["--kind", "binary", "--option", "rerank"], "expected key=value"),
        (["--kind", "binary", "--option", "rerank_vectors=true"], "say how many, such as rerank=100"),
        (["--kind", "binary_ivf", "--option", "nlist=13"], "nlist must be at most the number of vectors, 12, got 13"),
    ],
)
def test_what_cannot_be_built(call: Any, codes: Any, words: list[str], said: str):
    assert said in call("index", "s", *words, status=1).stderr
    assert not Path("s-index").exists()


def test_without_faiss(call: Any, codes: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert "pip install faiss-cpu" in call("index", "s", "--kind", "binary_hnsw", status=1).stderr
    call("index", "s", "--kind", "binary")


def test_codes_of_a_store_that_has_none(call: Any, finished_run: Run, pictures: Path):
    call("embed", finished_run.folder, pictures / "test", "-o", "s")
    assert "codes" not in EmbeddingStore.open("s").manifest
    said = call("codes", "s", "--json", "codes.json").stdout
    store = EmbeddingStore.open("s")
    store.verify()
    found = code_statistics(store.vectors)
    assert "12 codes of 8 bits, 1 byte each, in s" in said
    assert f"{found.balance.min():.3f} to {found.balance.max():.3f}" in said
    assert f"{found.entropy:.2f} bits" in said
    assert json.loads(Path("codes.json").read_text()) == {
        **found.to_json(),
        "quantisation_error": quantisation_error(store.vectors),
    }
    assert "is no finished embedding store" in call("codes", "nowhere", status=1).stderr


def write(folder: str, seed: int, count: int = 50, **labels: Any) -> EmbeddingStore:
    vectors = np.random.default_rng(seed).standard_normal((count, 20)).astype(np.float32)
    return EmbeddingStore.write(folder, vectors, [f"{folder}{n}" for n in range(count)], labels=StoreLabels(**labels))


def distances(queries: np.ndarray, items: np.ndarray) -> np.ndarray:
    return ((queries > 0)[:, None] != (items > 0)[None]).sum(2)


@pytest.mark.parametrize("queries", [None, "q"])
def test_everything_within_a_radius(call: Any, queries: str | None):
    items = write("s", 0)
    asked = items if queries is None else write("q", 1, 9)
    words = [] if queries is None else ["--queries", queries]
    said = call("codes", "s", "--radius", 6, *words, "--json", "codes.json").stdout
    near = json.loads(Path("codes.json").read_text())["near"]
    assert near["radius"] == 6
    assert [one["query"] for one in near["queries"]] == asked.ids
    far = distances(asked.vectors, items.vectors)
    if queries is None:
        np.fill_diagonal(far, 99)
    for row, one in enumerate(near["queries"]):
        order = [place for place in np.argsort(far[row], kind="stable") if far[row, place] <= 6]
        assert one["hits"] == [{"id": items.ids[place], "bits": far[row, place]} for place in order]
    alone = int((far > 6).all(1).sum())
    assert f"within 6 bits of a query lie {(far <= 6).sum() / len(far):.4g} items on average" in said
    assert f"{alone} of {len(far)} queries find none" in said


def test_queries_behind_the_items_search_in_the_items(call: Any):
    store = write("s", 0, probes=10)
    call("codes", "s", "--radius", 20, "--json", "codes.json")
    said = json.loads(Path("codes.json").read_text())
    assert said["count"] == 40, "statistics are those of the items"
    assert [one["query"] for one in said["near"]["queries"]] == store.ids[40:]
    assert all(sorted(hit["id"] for hit in one["hits"]) == sorted(store.ids[:40]) for one in said["near"]["queries"])


@pytest.mark.parametrize("name", ["itq", "lsh"])
def test_codes_without_training(call: Any, name: str):
    store, other = write("s", 0), write("other", 1)
    words = ["--baseline", name, "--bits", 12, "--learn-from", "other", "--seed", 3]
    said = call("codes", "s", *words, "-o", "coded", "--radius", 2).stdout
    assert "50 codes of 12 bits, 2 bytes each, in coded" in said
    assert "within 2 bits" in said
    coded = EmbeddingStore.open("coded")
    coded.verify()
    want = write_baseline(store, "want", name, 12, learn_from=other, seed=3)
    np.testing.assert_array_equal(coded.vectors, want.vectors)
    np.testing.assert_array_equal(coded.codes, np.packbits(want.vectors > 0, axis=1))
    assert "codes" not in EmbeddingStore.open("s").manifest


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--baseline", "itq", "--bits", "8"],
            "--baseline needs --bits, such as 48, and a folder for the codes, --out",
        ),
        (["--baseline", "itq", "-o", "x"], "--baseline needs --bits"),
        (["--bits", "8", "-o", "x"], "--bits, --out: of codes made by --baseline itq or lsh"),
        (["--learn-from", "s"], "--learn-from: of codes made by --baseline"),
        (["--seed", "1"], "--seed: of codes made by --baseline"),
        (["--baseline", "ipq", "--bits", "8", "-o", "x"], "unknown baseline 'ipq'; did you mean 'itq'"),
        (["--baseline", "itq", "--bits", "21", "-o", "x"], "the vectors vary in 20 directions only"),
        (["--baseline", "lsh", "--bits", "8", "-o", "s"], "s holds the vectors themselves"),
        (["--queries", "s"], "--queries is about --radius"),
        (["--radius", "2", "--queries", "short"], "the queries in short have 3 bits, the items in s 20"),
        (
            ["--radius", "2", "--queries", "s", "--baseline", "lsh", "--bits", "20", "-o", "x"],
            "--queries need codes of their own",
        ),
    ],
)
def test_words_that_do_not_fit_each_other(call: Any, words: list[str], said: str):
    write("s", 0)
    EmbeddingStore.write("short", np.ones((1, 3), np.float32), ["one"])
    assert said in call("codes", "s", *words, status=1).stderr
    assert not Path("x").exists()
    assert "codes" not in EmbeddingStore.open("s").manifest


def test_a_radius_below_zero(call: Any):
    store = write("s", 0)
    with pytest.raises(InputError, match="radius must be at least 0 bits, got -1"):
        items_within(store, -1)
    assert call("codes", "s", "--radius", -1, status=2).stderr
