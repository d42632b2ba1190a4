from __future__ import annotations

import threading
import time

import pytest

from pertinent.engine.ahead import ahead

BATCHES = [[1, 2, 3], [4], [], [5, 6]]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("depth", [0, 1, 9])
def test_the_same_in_the_same_order(threads: int, depth: int):
    made = list(ahead(lambda item: (time.sleep(0.01 / item), item * item)[1], BATCHES, threads, depth))
    assert made == [[1, 4, 9], [16], [], [25, 36]]


def test_nothing():
    assert list(ahead(str, [], 2)) == []


def test_a_batch_is_made_while_the_caller_works():
    second = threading.Event()

    def make(item: int) -> int:
        if item == 4:
            second.set()
        return item

    got = ahead(make, BATCHES, 1)
    assert next(got) == [1, 2, 3]
    assert second.wait(60), "the second batch is begun before it is asked for"


def test_items_of_a_batch_are_made_at_once():
    met = threading.Barrier(2)
    assert list(ahead(lambda item: (met.wait(60), item)[1], [[1, 2]], 2)) == [[1, 2]]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_comes_where_its_batch_would_have(error: type[BaseException]):
    def make(item: int) -> int:
        if item == 4:
            raise error("here")
        return item

    got = ahead(make, BATCHES, 2)
    assert next(got) == [1, 2, 3]
    with pytest.raises(error, match="here"):
        next(got)


def test_a_caller_that_goes_away_ends_the_threads():
    made: list[int] = []
    got = ahead(lambda item: (time.sleep(0.001), made.append(item)), [range(100)] * 100, 2, 2)
    next(got)
    got.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
    assert len(made) < 400
