"""What the tests of the service share."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from PIL import Image
from starlette.testclient import TestClient

from pertinent.engine.search import Searcher
from pertinent.serve.app import create_app, listen
from pertinent.serve.settings import ServeSettings

TOKEN = "a-token-of-many-characters"
Serving = Callable[..., AbstractContextManager[TestClient]]


@contextmanager
def real_server(searcher: Searcher, static: Path, **settings: Any) -> Iterator[tuple[str, int]]:
    """The service behind uvicorn on a free port of 127.0.0.1: host and port."""
    chosen = ServeSettings(port=0, **settings)
    with listen(chosen) as listening:
        server = uvicorn.Server(uvicorn.Config(create_app({"small": searcher}, chosen, static), log_level="critical"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            until(lambda: server.started or not thread.is_alive())
            assert server.started
            yield listening.getsockname()
        finally:
            server.should_exit = True
            thread.join()


def until(there: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something, at most so long."""
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, f"it did not come within {seconds:g} s"
        time.sleep(0.01)


def limit_time(client: TestClient, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Give the requests that begin from now on another time."""
    app: Any = client.app
    monkeypatch.setitem(app.state.service.settings.__dict__, "time_limit", seconds)


def png(width: int = 30, height: int = 20, seed: int = 0) -> bytes:
    """A picture file of noise."""
    rng = np.random.default_rng(seed)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def problem(response: Any, status: int) -> str:
    """Assert that a response refuses with a status and JSON, and return its error and hint in one line."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"error", "hint"}
    assert body["error"]
    assert body["hint"]
    return f"{body['error']} | {body['hint']}"
