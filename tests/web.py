"""A web server on this machine that sends files, and misbehaves as it is told."""

from __future__ import annotations

import contextlib
import http.server
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from pertinent.data import download
from pertinent.data import sources as published


@dataclass
class Page:
    """A file on the server, and how it is sent.

    `plan` has for each coming request what happens instead: a number is a status, `("cut", n)` sends n bytes of the
    answer and resets the connection, `("end", n)` sends n and closes in peace, `("hang", n)` sends n and then nothing,
    `("to", url)` redirects.
    """

    data: bytes
    etag: str | None = '"1"'
    modified: str | None = None
    ranges: bool = True
    heeds_if_range: bool = True
    says_length: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    plan: list[Any] = field(default_factory=list)


@dataclass
class Site:
    """What a server has, and what it was asked for."""

    address: str
    pages: dict[str, Page] = field(default_factory=dict)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def add(self, name: str, data: bytes, **how: Any) -> str:
        """Put a file there; returns its address."""
        self.pages[f"/{name}"] = Page(data, **how)
        return f"{self.address}/{name}"

    def ranges(self) -> list[str | None]:
        """The ranges that were asked for, None for the whole file."""
        return [asked for method, _, asked in self.asked if method == "GET"]


class _Handler(http.server.BaseHTTPRequestHandler):
    site: Site

    def log_message(self, *words: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        self.site.asked.append((self.command, self.path, self.headers.get("Range")))
        page = self.site.pages.get(self.path)
        act = page.plan.pop(0) if page is not None and page.plan and body else None
        if page is None or isinstance(act, int):
            self.send_response(404 if page is None else act)
            for key, value in page.headers.items() if page else ():
                self.send_header(key, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if act is not None and act[0] == "to":
            self.send_response(302)
            self.send_header("Location", act[1])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._send(page, act, body)

    def _send(self, page: Page, act: Any, body: bool) -> None:
        asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and page.ranges else 0
        if condition not in (None, page.etag, page.modified) and page.heeds_if_range:
            start = 0
        if start > len(page.data):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        part = page.data[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(page.data) - 1}/{len(page.data)}")
        for key, value in (("ETag", page.etag), ("Last-Modified", page.modified), *page.headers.items()):
            if value is not None:
                self.send_header(key, value)
        if page.says_length:
            self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if not body:
            return
        with contextlib.suppress(OSError):
            self.wfile.write(part if act is None else part[: act[1]])
            self.wfile.flush()
        if act is not None and act[0] == "hang":
            self.site.over.wait(60)
        if act is not None and act[0] == "cut":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The client may go away at any time."""


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key; or a skip."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("there is no openssl program to make a certificate with")
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key", "-out", folder / "certificate"]
    subprocess.run([program, *words.split(), *files], check=True, capture_output=True)
    return folder / "certificate", folder / "key"


@contextlib.contextmanager
def publishing(table: dict[str, Any], site: Site, certificate: Path) -> Iterator[None]:
    """Let `table` be the published data sets, trust the site's certificate, and never wait between tries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(certificate))
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            patch.delenv(name, raising=False)
            patch.delenv(name.upper(), raising=False)
        patch.setattr(download, "WAIT", 0.0)
        file = certificate.with_name("sources.yaml")
        file.write_text(yaml.safe_dump(table).replace("SITE", site.address))
        patch.setattr(published, "_TABLE", file)
        published.sources.cache_clear()
        yield
    published.sources.cache_clear()


@contextlib.contextmanager
def serving(certificate: tuple[Path, Path] | None = None) -> Iterator[Site]:
    """A server for the length of a block; https with a certificate and its key, else http."""
    handler = type("Handler", (_Handler,), {})
    server = _Server(("127.0.0.1", 0), handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "http" if certificate is None else "https"
    handler.site = Site(f"{scheme}://127.0.0.1:{server.server_address[1]}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield handler.site  # type: ignore[attr-defined]
    finally:
        handler.site.over.set()  # type: ignore[attr-defined]
        server.shutdown()
        server.server_close()
        thread.join()
