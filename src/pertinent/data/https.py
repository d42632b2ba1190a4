"""Opening an address so that nobody on the way can change what it holds: https only, redirects included."""

from __future__ import annotations

import http.client
import ssl
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from pertinent.errors import DataError, InputError

_TIMEOUT = 30.0
_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


def require_safe(url: str) -> None:
    """Raise InputError for an address that is neither https nor on this machine."""
    if not _is_safe(url):
        raise InputError(f"{url}: only https:// is downloaded, so that nobody on the way can change the file")


def open_url(url: str, headers: dict[str, str], method: str = "GET") -> Any:
    """Ask a server; returns its response, to be used as a context manager.

    The certificate must be trusted by this system, or by the file that the variable SSL_CERT_FILE names.

    Raises:
        InputError: the address is not https.
        DataError: it redirects to one that is not.
        OSError: no connection, or an error status (`urllib.error.HTTPError`).
    """
    require_safe(url)
    opener = urllib.request.build_opener(
        _Redirects(), urllib.request.HTTPSHandler(context=ssl.create_default_context())
    )
    request = urllib.request.Request(url, headers={"User-Agent": "pertinent", **headers}, method=method)
    return opener.open(request, timeout=_TIMEOUT)


def remote_size(url: str) -> int | None:
    """Bytes of a file on a server, or None where it does not say or does not answer."""
    try:
        with open_url(url, {}, method="HEAD") as response:
            return number(response.headers.get("Content-Length"))
    except (OSError, http.client.HTTPException, DataError):
        return None


def number(text: str | None) -> int | None:
    """The number that a header gives, or None."""
    return int(text) if text is not None and text.isdecimal() else None


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(  # noqa: PLR0917
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        if not _is_safe(newurl) or (req.full_url.startswith("https:") and not newurl.startswith("https:")):
            raise DataError(f"{req.full_url} redirects to {newurl}; only https:// is downloaded")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _is_safe(url: str) -> bool:
    parts = urlsplit(url)
    return (parts.scheme == "https" and bool(parts.hostname)) or (parts.scheme == "http" and parts.hostname in _LOCAL)
