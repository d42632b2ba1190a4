"""Servers of databases, each started once for all tests that ask for it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import database_servers
import pytest


@pytest.fixture(scope="session")
def running() -> Iterator[Callable[[str], Any]]:
    """The server of a name: `milvus`, or a package that brings PostgreSQL."""
    started: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:

        def get(name: str) -> Any:
            if name not in started:
                server = database_servers.milvus() if name == "milvus" else database_servers.postgresql(name)
                started[name] = stack.enter_context(server)
            return started[name]

        yield get
