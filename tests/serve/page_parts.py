"""What the tests of the search page share: a collection of signs, its server, and a watched browser page."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from playwright.sync_api import Page, expect

from pertinent.data.datasets.folder import Folder
from pertinent.data.datasets.glyphs import Glyphs
from pertinent.data.transforms import Preprocess
from pertinent.engine.embed import embed_table
from pertinent.index import Index
from pertinent.models.encoder import Encoder, EncoderConfig

SIDE = 32
MODELS = ("first", "second")
# A label that would do harm if it ever were more than text.
EVIL = "<img src=x onerror=alert(1)>"
SIZES: dict[str, dict[str, Any]] = {
    "desk": {"viewport": {"width": 1280, "height": 800}},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}


def find_chromium() -> str | None:
    """A Chromium of this machine, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def make_collection(folder: Path) -> None:
    """Pictures of signs, script / character / number, embedded and indexed by two untrained encoders."""
    table = Glyphs(folder / "cache", size=SIDE, per_character=4, characters=8).split("test")
    for row, name in enumerate(table.ids):
        _, script, character, number = name.split("/")
        path = folder / "pictures" / "test" / script / (EVIL if row < 4 else character) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        table.read(row).save(path)
    preprocess = Preprocess(resize=SIDE, crop=SIDE, mean=(0.5,) * 3, std=(0.25,) * 3)
    for seed, name in enumerate(MODELS):
        torch.manual_seed(seed)
        encoder = Encoder(EncoderConfig(backbone="test_resnet", dim=16, layer_norm="before"), preprocess)
        encoder.save(folder / f"encoder-{name}")
        store = embed_table(encoder, Folder(folder / "pictures").split("test"), folder / f"store-{name}")
        Index.build(store).save(folder / name)


@contextmanager
def server(folder: Path, **environment: str) -> Iterator[str]:
    """`pertinent serve` over both models on a free port: where it is."""
    first, second = (folder / name for name in MODELS)
    command = [sys.executable, "-m", "pertinent.cli", "serve", str(first), "--model", str(folder / "encoder-first")]
    command += ["--compare", f"{second}={folder / 'encoder-second'}", "--port", "0"]
    variables = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables)
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
        assert " on http://127.0.0.1:" in said, said
        yield said.split(" on ")[1].split(";")[0]
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


class Watched:
    """A browser page over a server; at the end nothing may have gone wrong that was not expected.

    Args:
        page: of the browser.
        origin: of the server.
    """

    def __init__(self, page: Page, origin: str) -> None:
        self.page, self.origin = page, origin
        self.errors: list[str] = []
        self.requests: list[Any] = []
        page.on("console", lambda said: self.errors.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._note)

    def _note(self, request: Any) -> None:
        self.requests.append(request)

    def open(self, state: str = "") -> Page:
        """Open the page with what stands after its #, and wait for the results."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.origin}/{state}")
        self.wait()
        return self.page

    def wait(self) -> None:
        """Wait until what was asked for is there."""
        expect(self.page.locator("body")).not_to_have_class("busy")
        expect(self.page.locator(".bones")).to_have_count(0)
        expect(self.page.locator("#main > *").first).to_be_visible()

    def asked(self, path: str) -> list[Any]:
        """Requests to a path so far."""
        return [request for request in self.requests if urlsplit(request.url).path == path]

    def expect_errors(self, *parts: str) -> None:
        """Take each of these errors, which must have come, as seen."""
        for part in parts:
            found = next((error for error in self.errors if part in error), None)
            assert found is not None, f"no error with {part!r} in {self.errors}"
            self.errors.remove(found)

    def check(self) -> None:
        """Assert that no error came, and that nothing was asked of others."""
        assert self.errors == []
        elsewhere = [request.url for request in self.requests if not _own(request.url, self.origin)]
        assert elsewhere == []


def _own(url: str, origin: str) -> bool:
    return url.startswith((f"{origin}/", f"blob:{origin}/", "data:", "about:"))


def ids(page: Page) -> list[str]:
    """Ids of the pictures that are shown, in order."""
    found: list[str] = page.locator(".hits .hit").evaluate_all("hits => hits.map((hit) => hit.dataset.id)")
    return found


def columns(page: Page) -> int:
    """How many pictures stand in a row."""
    number: int = page.locator(".hits").first.evaluate(
        "list => getComputedStyle(list).gridTemplateColumns.split(' ').length"
    )
    return number
