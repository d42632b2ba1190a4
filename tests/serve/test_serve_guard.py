"""Tokens, origins, names of this machine, rates, sizes, time limits, and full queues."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from serve_parts import TOKEN, Serving, limit_time, png, problem, real_server, until
from starlette.testclient import TestClient

from pertinent.engine.search import Searcher
from pertinent.errors import ConfigError, StorageError
from pertinent.serve.app import listen
from pertinent.serve.limits import CLIENTS, RateLimit
from pertinent.serve.security import is_local_name, is_loopback
from pertinent.serve.settings import ServeSettings

BEARER = {"Authorization": f"Bearer {TOKEN}"}
VECTOR = {"vector": [1.0] * 8}

# --- settings


def test_settings_come_from_environment_and_options():
    settings = ServeSettings.read(
        {"PERTINENT_SERVE_PORT": "9000", "PERTINENT_SERVE_ORIGINS": "https://a.org, http://b:1", "HOME": "/"},
        {"port": 9001, "pixels": None},
    )
    assert (settings.port, settings.origins) == (9001, ("https://a.org", "http://b:1"))
    assert ServeSettings.read({}, {}) == ServeSettings()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "127.0.0.1.evil.org"])
def test_others_may_come_only_with_a_token(host: str):
    with pytest.raises(ConfigError, match="can be reached by others and needs a token; set PERTINENT_SERVE_TOKEN"):
        ServeSettings.read({}, {"host": host})
    assert ServeSettings.read({"PERTINENT_SERVE_TOKEN": TOKEN}, {"host": host}).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_this_machine_needs_none(host: str):
    assert ServeSettings(host=host).token is None


@pytest.mark.parametrize("token", ["", "short", "with a space in the midst", "ümläüts-are-no-ascii", "x" * 257])
def test_a_poor_token_is_refused_and_not_repeated(token: str):
    with pytest.raises(ConfigError, match="the token must have 16 to 256 characters") as error:
        ServeSettings.read({"PERTINENT_SERVE_TOKEN": token}, {})
    assert not token or token not in str(error.value)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"PERTINENT_SERVE_PROT": "1"}, "unknown key; did you mean 'port'"),
        ({"PERTINENT_SERVE_PORT": "many"}, "port: Input should be a valid integer"),
        ({"PERTINENT_SERVE_PORT": "70000"}, "port: "),
        ({"PERTINENT_SERVE_TIME_LIMIT": "0"}, "time_limit: "),
        ({"PERTINENT_SERVE_TIME_LIMIT": "nan"}, "time_limit: "),
        ({"PERTINENT_SERVE_QUEUE": "1"}, "queue: "),
        ({"PERTINENT_SERVE_ORIGINS": "example.org"}, "is no origin"),
        ({"PERTINENT_SERVE_ORIGINS": "https://example.org/path"}, "is no origin"),
    ],
)
def test_wrong_settings(environment: dict[str, str], said: str):
    with pytest.raises(ConfigError, match=said):
        ServeSettings.read(environment, {})


def test_a_token_is_not_shown():
    assert TOKEN not in repr(ServeSettings(token=TOKEN))  # type: ignore[arg-type]


# --- tokens


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN, "Bearer \xff"],
)
def test_without_the_token_nothing_is_told(serving: Serving, header: str | None):
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    with serving(token=TOKEN) as client:
        for path in ("/v1/info", "/v1/labels", "/v1/items/x", "/v1/items/x/image", "/metrics", "/v1/nothing"):
            answer = client.get(path, headers=headers)
            assert "Authorization: Bearer TOKEN" in problem(answer, 401)
            assert answer.headers["www-authenticate"] == "Bearer"
        for path in ("image", "images", "id", "vector"):
            assert problem(client.post(f"/v1/search/{path}", json=VECTOR, headers=headers), 401)
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200


def test_with_the_token_all_is_open(serving: Serving, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    with serving(token=TOKEN) as client:
        assert client.get("/v1/info", headers={"Authorization": f"bearer  {TOKEN}"}).status_code == 200
        answer = client.post("/v1/search/vector", json=VECTOR, headers=BEARER)
        assert answer.status_code == 200
        assert TOKEN not in client.get("/metrics", headers=BEARER).text + client.get("/openapi.json").text
        elsewhere = client.get("/v1/info", headers={**BEARER, "Host": "photos.example.org"})
        assert elsewhere.status_code == 200
    assert TOKEN not in caplog.text


# --- names and origins


def test_a_page_elsewhere_cannot_pose_as_this_machine(client: TestClient):
    for host in ("evil.org", "127.0.0.1.evil.org", "localhost.evil.org:8000", "", "[::2]"):
        assert "names of this machine" in problem(client.get("/v1/info", headers={"Host": host}), 421)
    for host in ("127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000"):
        assert client.get("/v1/info", headers={"Host": host}).status_code == 200


def test_loopback():
    assert not is_loopback("::2")
    assert not is_local_name(b"\xff")
    assert not is_local_name(b"[")


def test_origins(serving: Serving):
    with serving(origins=("https://a.org",)) as client:
        answer = client.get("/v1/info", headers={"Origin": "https://a.org"})
        assert answer.headers["access-control-allow-origin"] == "https://a.org"
        assert answer.headers["vary"] == "Origin"
        assert "access-control-allow-origin" not in client.get("/v1/info", headers={"Origin": "https://b.org"}).headers
        ask = {"Origin": "https://a.org", "Access-Control-Request-Method": "POST"}
        told = client.options("/v1/search/id", headers=ask)
        assert told.status_code == 204
        assert "POST" in told.headers["access-control-allow-methods"]
        assert "Authorization" in told.headers["access-control-allow-headers"]
        assert problem(client.options("/v1/search/id", headers={**ask, "Origin": "https://b.org"}), 403)
        assert problem(client.options("/v1/search/id"), 405)
        refused = client.post("/v1/search/id", json={}, headers={"Origin": "https://a.org"})
        assert refused.headers["access-control-allow-origin"] == "https://a.org", "so that the page can read why"
    with serving(origins=("*",), token=TOKEN) as client:
        told = client.options("/v1/info", headers={**ask, "Origin": "https://any.org"})
        assert told.status_code == 204, "a browser asks without the token"


# --- rates


def test_a_bucket_fills_with_time():
    now = [0.0]
    limit = RateLimit(2.0, 3, lambda: now[0])
    assert [limit.wait("a") for _ in range(4)] == [0, 0, 0, 1]
    assert limit.wait("b") == 0, "each has a bucket"
    now[0] = 0.5
    assert [limit.wait("a"), limit.wait("a")] == [0, 1]
    now[0] = 1000.0
    assert [limit.wait("a") for _ in range(4)] == [0, 0, 0, 1], "no more than burst is saved"
    slow = RateLimit(0.1, 1, lambda: now[0])
    assert [slow.wait("a"), slow.wait("a")] == [0, 10]


def test_clients_are_forgotten():
    limit = RateLimit(1.0, 1)
    for number in range(CLIENTS + 50):
        limit.wait(str(number))
    assert len(limit) == CLIENTS


def test_too_many_requests(serving: Serving):
    with serving(rate=0.001, burst=2, token=TOKEN) as client:
        assert client.get("/v1/info", headers=BEARER).status_code == 200
        assert client.get("/v1/info").status_code == 401, "guessing counts"
        answer = client.get("/v1/info", headers=BEARER)
        assert "too many requests" in problem(answer, 429)
        assert 1 <= int(answer.headers["retry-after"]) <= 1000
        assert client.get("/healthz").status_code == 200


def test_pictures_of_items_are_counted_apart(serving: Serving, searcher: Searcher):
    place = f"/v1/items/{searcher.index.store.ids[0]}/image?w=16"
    with serving(rate=0.001, burst=1, token=TOKEN) as client:
        assert client.get("/v1/items", headers=BEARER).status_code == 200
        shown = [client.get(place, headers=BEARER).status_code for _ in range(51)]
        assert shown == [200] * 50 + [429], "50 for each request"
        assert client.get("/v1/items/x", headers=BEARER).status_code == 429
    with serving(rate=0.001, burst=1, token=TOKEN) as client:
        assert [client.get(place).status_code for _ in range(2)] == [401, 429], "guessing counts as much as anywhere"


# --- sizes


def test_a_request_that_is_too_large(serving: Serving):
    with serving(upload_bytes=2000) as client:
        assert "larger than 2000 bytes" in problem(client.post("/v1/search/image", files={"image": bytes(3000)}), 413)
        body = {"vector": [1.0] * 1000}
        assert "larger than 2000 bytes" in problem(client.post("/v1/search/vector", json=body), 413)
        odd = {"Content-Type": "application/json", "Content-Length": "9" * 30}
        assert problem(client.post("/v1/search/vector", content=b"{}", headers=odd), 413)
        pieces = (b"x" * 500 for _ in range(10))
        streamed = client.post("/v1/search/vector", content=pieces, headers={"Content-Type": "application/json"})
        assert problem(streamed, 413)


def test_json_may_be_no_larger_than_vectors_are(client: TestClient):
    body = b'{"vector": [' + b" " * 300_000 + b"1]}"
    said = client.post("/v1/search/vector", content=body, headers={"Content-Type": "application/json"})
    assert "larger than 81920 bytes" in problem(said, 413)


def test_a_picture_of_too_many_pixels(serving: Serving):
    with serving(pixels=1000) as client:
        assert client.post("/v1/search/image", files={"image": png(40, 25)}).status_code == 200
        assert "more than the limit of 1000" in problem(
            client.post("/v1/search/image", files={"image": png(40, 26)}), 413
        )
        assert problem(client.post("/v1/search/image", files={"image": png(90, 90)}), 413)


def test_a_picture_that_is_all_length(client: TestClient):
    assert "100 times longer" in problem(client.post("/v1/search/image", files={"image": png(101, 1)}), 422)
    data = {"region": "0,0,200,1"}
    assert problem(client.post("/v1/search/image", files={"image": png(200, 50)}, data=data), 422)


# --- time and room


class Slow:
    """Lets the index wait until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from pertinent.serve.collection import Collection

        self.go, self.searches, search = threading.Event(), 0, Collection.search

        def slow(collection: Collection, queries: Any) -> Any:
            self.searches += len(queries)
            assert self.go.wait(120)
            return search(collection, queries)

        monkeypatch.setattr(Collection, "search", slow)


def test_what_takes_too_long_is_given_up(serving: Serving, monkeypatch: pytest.MonkeyPatch):
    slow = Slow(monkeypatch)
    with serving(time_limit=0.2) as client:
        assert "not done within 0.2 s" in problem(client.post("/v1/search/vector", json=VECTOR), 504)
        assert problem(client.post("/v1/search/vector", json=VECTOR), 504)
        limit_time(client, monkeypatch, 120)
        slow.go.set()
        assert client.get("/healthz").status_code == 200
        assert client.post("/v1/search/vector", json=VECTOR).status_code == 200
    assert 1 <= slow.searches <= 2, "of those given up, one was cancelled while it waited"


def test_a_full_house_is_told_to_come_back(serving: Serving, monkeypatch: pytest.MonkeyPatch):
    slow = Slow(monkeypatch)
    with serving(queue=64, time_limit=120) as client:
        answers: list[Any] = []

        def ask() -> None:
            answers.append(client.post("/v1/search/vector", json=VECTOR))

        threads = [threading.Thread(target=ask) for _ in range(64)]
        for thread in threads:
            thread.start()
        until(lambda: "pertinent_in_flight 65" in client.get("/metrics").text)
        full = client.post("/v1/search/vector", json=VECTOR)
        assert "as much is under way as fits" in problem(full, 503)
        assert full.headers["retry-after"] == "1"
        assert problem(client.post("/v1/search/images", files=[("images", png())] * 2), 503)
        slow.go.set()
        for thread in threads:
            thread.join()
        assert [answer.status_code for answer in answers] == [200] * 64
        assert client.post("/v1/search/vector", json=VECTOR).status_code == 200


# --- a real server


@pytest.fixture(scope="module")
def server(searcher: Searcher, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with real_server(searcher, tmp_path_factory.mktemp("none"), upload_bytes=200_000) as address:
        yield address


def ask(address: tuple[str, int], method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(*address[:2], timeout=60)
    connection.request(method, path, body, headers, encode_chunked="Transfer-Encoding" in headers)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, json.loads(data)


def test_the_server_answers(server: tuple[str, int]):
    body = json.dumps(VECTOR)
    status, told = ask(server, "POST", "/v1/search/vector", body, **{"Content-Type": "application/json"})
    assert (status, len(told["hits"])) == (200, 10)


@pytest.mark.parametrize("size", [200_001, 300_000, 450_000])
def test_an_upload_that_says_it_is_too_large(server: tuple[str, int], size: int):
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    status, told = ask(server, "POST", "/v1/search/image", bytes(size), **kind)
    assert (status, told["error"]) == (413, "the request is larger than 200000 bytes")


@pytest.mark.parametrize("pieces", [21, 30])
def test_an_upload_that_does_not_say_how_large_it_is(server: tuple[str, int], pieces: int):
    start = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=b", "Transfer-Encoding": "chunked"}
    body = iter([start, *[bytes(10_000)] * pieces])
    status, told = ask(server, "POST", "/v1/search/image", body, **kind)
    assert (status, told["error"]) == (413, "the request is larger than 200000 bytes")


def send(address: tuple[str, int], data: bytes) -> socket.socket:
    client = socket.create_connection(address[:2], timeout=60)
    client.sendall(data)
    return client


HEAD = (
    b"POST /v1/search/image HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    b"Content-Length: 1000\r\n\r\n"
)


def counted(address: tuple[str, int], status: int) -> int:
    connection = http.client.HTTPConnection(*address[:2], timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    line = f'pertinent_requests_total{{route="/v1/search/image",method="POST",status="{status}"}} '
    return next((int(found.removeprefix(line)) for found in text.splitlines() if found.startswith(line)), 0)


def test_an_upload_that_never_ends(searcher: Searcher, tmp_path: Path):
    with real_server(searcher, tmp_path, time_limit=0.5) as address, send(address, HEAD + b"--b\r\n") as client:
        assert client.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_an_upload_that_breaks_off(server: tuple[str, int]):
    before = counted(server, 499)
    send(server, HEAD + b"--b\r\n").close()
    until(lambda: counted(server, 499) > before)
    assert counted(server, 499) == before + 1


def test_work_for_a_client_that_went_away_is_stopped(
    searcher: Searcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    slow = Slow(monkeypatch)
    body = json.dumps(VECTOR).encode()
    head = (
        "POST /v1/search/vector HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with real_server(searcher, tmp_path, time_limit=120) as address:
        first = send(address, head.encode() + body)
        until(lambda: slow.searches > 0)
        send(address, head.encode() + body).close()
        connection = http.client.HTTPConnection(*address[:2], timeout=60)
        gone = b'pertinent_requests_total{route="/v1/search/vector",method="POST",status="499"} 1'

        def noticed() -> bool:
            connection.request("GET", "/metrics")
            return gone in connection.getresponse().read()

        until(noticed)
        slow.go.set()
        assert first.recv(100).startswith(b"HTTP/1.1 200 ")
        first.close()
        connection.close()
    assert slow.searches == 1


def test_small_answers_do_not_wait_for_each_other():
    with listen(ServeSettings(port=0)) as listening:
        # Else asyncio leaves Nagle's algorithm on, and an answer of two pieces takes 40 ms.
        assert listening.proto == socket.IPPROTO_TCP
        with socket.create_connection(listening.getsockname(), timeout=10):
            pass


def test_a_port_that_is_taken(server: tuple[str, int]):
    with pytest.raises(StorageError, match="choose another --port"):
        listen(ServeSettings(port=server[1]))
