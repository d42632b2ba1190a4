"""Malformed requests by the thousand: each is refused with 4xx and JSON `{error, hint}`, and the service lives on."""

from __future__ import annotations

import http.client
import json
import socket
from collections import Counter
from collections.abc import Iterator

import pytest
from malformed import malformed
from serve_parts import png, real_server
from starlette.testclient import TestClient

from pertinent.engine.search import Searcher
from pertinent.serve.metrics import resident_bytes

COUNT = 10_000


def is_refused(status: int, kind: str | None, body: bytes) -> bool:
    if not 400 <= status < 500 or kind != "application/json":
        return False
    said = json.loads(body)
    return set(said) == {"error", "hint"} and all(isinstance(word, str) and word for word in said.values())


# A file that a cut-off upload began is closed by nobody but the garbage collector.
UNCLOSED = pytest.mark.filterwarnings("ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning")


@UNCLOSED
def test_malformed_requests_are_refused(client: TestClient):
    statuses: Counter[int] = Counter()
    memory = []
    for number, request in enumerate(malformed(COUNT)):
        answer = client.request(
            request.method,
            "http://127.0.0.1" + request.path,
            content=request.body,
            headers={name: value.encode("latin-1") for name, value in request.headers.items()},
        )
        kind = answer.headers.get("content-type")
        assert is_refused(answer.status_code, kind, answer.content), (request, answer.status_code, answer.text[:300])
        statuses[answer.status_code] += 1
        if number % (COUNT // 4) == 0:
            memory.append(resident_bytes() or 0)
    assert {404, 405, 413, 415, 421, 422} <= set(statuses), statuses
    assert memory[-1] - memory[1] < 64 * 2**20, "memory stays as it is once the first requests were served"
    found = client.post("/v1/search/image", files={"image": png()})
    assert found.status_code == 200, "the service lives on"
    assert "pertinent_in_flight 1\n" in client.get("/metrics").text


@pytest.fixture(scope="module")
def server(searcher: Searcher, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    with real_server(searcher, tmp_path_factory.mktemp("none")) as address:
        yield address


@UNCLOSED
def test_malformed_requests_are_refused_by_a_real_server(server: tuple[str, int]):
    connection = http.client.HTTPConnection(*server[:2], timeout=60)
    for request in malformed(COUNT // 4, seed=1):
        if "Content-Length" in request.headers:
            continue  # the server would wait for so much
        connection.request(request.method, request.path, request.body, request.headers)
        answer = connection.getresponse()
        body = answer.read()
        assert is_refused(answer.status, answer.headers["content-type"], body), (request, answer.status, body[:300])
    connection.close()


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/9\r\n\r\n",
        b"\r\n" * 99,
        b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 9999,
    ],
)
def test_what_is_no_http_is_refused_before_it_comes_here(server: tuple[str, int], data: bytes):
    with socket.create_connection(server[:2], timeout=60) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(1000)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    connection = http.client.HTTPConnection(*server[:2], timeout=60)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()
