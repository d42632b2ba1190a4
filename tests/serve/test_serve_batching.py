"""Batches: gathered, bounded, cancelled, and failing alone."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest
from serve_parts import Serving, png, until

from pertinent.engine.search import Searcher
from pertinent.serve.batching import Batcher


class Work:
    """Doubles numbers, when it may; a negative one is an error."""

    def __init__(self) -> None:
        self.may, self.batches = threading.Event(), list[list[int]]()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        assert self.may.wait(60)
        if min(items) < 0:
            raise ValueError(min(items))
        return [2 * item for item in items]


def test_what_comes_meanwhile_goes_together():
    work, sizes = Work(), list[int]()
    batcher = Batcher(work, "test", size=4, observe=sizes.append)
    first = batcher.submit(0)
    until(lambda: bool(work.batches))
    rest = [batcher.submit(number) for number in range(1, 7)]
    work.may.set()
    assert [future.result(60) for future in (first, *rest)] == [2 * number for number in range(7)]
    assert work.batches == [[0], [1, 2, 3, 4], [5, 6]]
    assert sizes == [1, 4, 2]
    batcher.close()


def test_a_first_one_waits_for_others():
    work = Work()
    work.may.set()
    batcher = Batcher(work, "test", size=2, wait=300.0, observe=list[int]().append)
    futures = [batcher.submit(1), batcher.submit(2)]
    assert [future.result(60) for future in futures] == [2, 4], "a full batch waits no longer"
    last = batcher.submit(3)
    batcher.close()
    assert last.result(0) == 6, "at the end neither"
    assert work.batches == [[1, 2], [3]]


def test_a_cancelled_one_is_left_out():
    work = Work()
    batcher = Batcher(work, "test", size=4, observe=list[int]().append)
    first = batcher.submit(0)
    until(lambda: bool(work.batches))
    second, third = batcher.submit(1), batcher.submit(2)
    assert second.cancel()
    work.may.set()
    assert (first.result(60), third.result(60)) == (0, 4)
    with pytest.raises(CancelledError):
        second.result(0)
    batcher.close()
    assert work.batches == [[0], [2]]


def test_an_error_hits_only_the_one_at_fault():
    work = Work()
    batcher = Batcher(work, "test", size=4, observe=list[int]().append)
    first = batcher.submit(0)
    until(lambda: bool(work.batches))
    futures = [batcher.submit(number) for number in (1, -1, 3)]
    work.may.set()
    assert (first.result(60), futures[0].result(60), futures[2].result(60)) == (0, 2, 6)
    with pytest.raises(ValueError, match="-1"):
        futures[1].result(60)
    assert batcher.alive
    batcher.close()
    assert not batcher.alive
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit(1)


def test_pictures_of_a_batch_get_the_vectors_they_get_alone(searcher: Searcher, serving: Serving, tmp_path: Path):
    files = [png(20 + 3 * seed, 30, seed) for seed in range(8)]
    alone = searcher.encoder.embed(files, batch_size=1).numpy()
    # Both batches are full, so none waits that long.
    with serving(batch_size=4, batch_wait=1000) as client:
        answer = client.post("/v1/search/images", files=[("images", file) for file in files], data={"k": 24})
        metrics = client.get("/metrics").text
    scores = searcher.index.search(alone, 24)
    for place, result in enumerate(answer.json()["results"]):
        assert [hit["id"] for hit in result["hits"]] == scores.ids[place]
        np.testing.assert_allclose([hit["score"] for hit in result["hits"]], scores.scores[place], atol=2e-6)
    assert 'pertinent_batch_size_sum{work="embed"} 8' in metrics
    assert 'pertinent_batch_size_count{work="embed"} 2' in metrics
