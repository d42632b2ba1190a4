"""Who may ask: tokens, names of this machine, and web pages of other origins."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_local_name(header: bytes) -> bool:
    """Whether a Host header names this machine.

    A page elsewhere can make its own name lead to 127.0.0.1 and so read what is served there; the header tells.
    """
    name = header.decode("latin-1")
    return is_loopback(name[: name.find("]") + 1] if name.startswith("[") else name.partition(":")[0].lower())


def shows_token(header: bytes | None, token: str) -> bool:
    """Whether an Authorization header carries the token; takes equally long whatever is wrong about it."""
    scheme, _, shown = (header or b"").partition(b" ")
    return hmac.compare_digest(shown.strip(), token.encode("ascii")) and scheme.lower() == b"bearer"


def origin_headers(origin: bytes | None, allowed: Sequence[str]) -> list[tuple[bytes, bytes]]:
    """Headers that let a page of an allowed origin read the answer; none for others."""
    if origin is None or not ("*" in allowed or origin.decode("latin-1") in allowed):
        return []
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", b"Retry-After"),
        (b"vary", b"Origin"),
    ]


def is_preflight(scope: Mapping[str, Any]) -> bool:
    """Whether a browser asks on behalf of a page what that page may do."""
    return scope["method"] == "OPTIONS" and any(
        name == b"access-control-request-method" for name, _ in scope["headers"]
    )


PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, POST, DELETE"),
    (b"access-control-allow-headers", b"Authorization, Content-Type"),
    (b"access-control-max-age", b"600"),
]
