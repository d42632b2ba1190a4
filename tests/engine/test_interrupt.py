from __future__ import annotations

import os
import signal
import threading

import pytest

from pertinent.engine.interrupt import interrupt_afterwards


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_waits_for_the_end_of_the_block():
    done = []
    with pytest.raises(KeyboardInterrupt), interrupt_afterwards():  # noqa: PT012
        ctrl_c()
        ctrl_c()
        done.append("whole")
    assert done == ["whole"]


def test_without_ctrl_c_nothing_happens_and_the_handler_is_as_before():
    before = signal.getsignal(signal.SIGINT)
    with interrupt_afterwards():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt):
        ctrl_c()


def test_an_error_of_the_block_comes_through_and_the_handler_is_as_before():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="inside"), interrupt_afterwards():
        raise ValueError("inside")
    assert signal.getsignal(signal.SIGINT) is before


def test_who_ignores_ctrl_c_goes_on_ignoring_it():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupt_afterwards():
            ctrl_c()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_hear_no_signals():
    handlers = []

    def work() -> None:
        with interrupt_afterwards():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]
