"""What a person sees while files are downloaded, unpacked and checked."""

from __future__ import annotations

from typing import Any

from pertinent.cli.screen import Screen, duration, pace


class DataScreen(Screen):
    """A screen for the events of downloads and checks; keeps the names of files without a published checksum."""

    def __init__(self) -> None:
        super().__init__()
        self.unverified: list[str] = []

    def _download(self, event: dict[str, Any]) -> None:
        self._bytes("downloading", event)

    def _unpack(self, event: dict[str, Any]) -> None:
        self._bytes("unpacking", event)

    def _checksum(self, event: dict[str, Any]) -> None:
        self._bytes("checking", event)

    def _bytes(self, doing: str, event: dict[str, Any]) -> None:
        of = "" if event["total"] is None else f" of {amount(event['total'])}"
        left = "" if event["eta"] is None else f"  left {duration(event['eta'])}"
        words = f"{amount(event['done'])}{of}  {amount(event['rate'])}/s{left}"
        self._progress(f"{doing} {event['name']}", event["done"], event["total"] or 0, words)

    def _decode(self, event: dict[str, Any]) -> None:
        self._pictures("decoding", event)

    def _write(self, event: dict[str, Any]) -> None:
        self._pictures("writing", event)

    def _pictures(self, doing: str, event: dict[str, Any]) -> None:
        words = f"{event['done']:,}/{event['total']:,}  {pace(event['rate'])}  left {duration(event['eta'])}"
        self._progress(f"{doing} {event['name']}", event["done"], event["total"], words)

    def _retry(self, event: dict[str, Any]) -> None:
        self._say(f"{event['name']}: {event['reason']}; trying again in {duration(event['wait'])}")

    def _unverified(self, event: dict[str, Any]) -> None:
        self.unverified.append(event["name"])


def amount(size: float | None) -> str:
    """Bytes as `12.3 MB`, or `?` where nobody said how many."""
    if size is None:
        return "?"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
