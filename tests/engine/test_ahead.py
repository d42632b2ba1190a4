from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from pertinent.engine.ahead import ahead


def test_the_same_items_in_the_same_order():
    assert list(ahead(range(50))) == list(range(50))
    assert list(ahead([], depth=3)) == []
    assert list(ahead([None, None])) == [None, None]


def test_items_are_made_while_the_caller_works():
    made = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        made.set()
        yield 2

    first = ahead(items())
    assert next(first) == 1
    assert made.wait(5), "the second item is begun before it is asked for"
    assert list(first) == [2]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_comes_where_the_item_would_have(error: type[BaseException]):
    def items() -> Iterator[int]:
        yield 1
        raise error("here")

    got = ahead(items())
    assert next(got) == 1
    with pytest.raises(error, match="here"):
        next(got)


def test_a_caller_that_goes_away_ends_the_thread():
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10_000):
            time.sleep(0.001)
            made.append(number)
            yield number

    got = ahead(items(), depth=2)
    next(got)
    got.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]
    assert len(made) < 10_000
