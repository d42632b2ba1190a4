"""Addresses of databases: a URL that names a server, and in its query the table and what else it needs."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import SplitResult, unquote, urlsplit

from pertinent.errors import InputError, suggest

SECRETS = ("password", "sslpassword")


def split_url(url: str, scheme: str) -> SplitResult:
    """The parts of a URL; raises InputError unless it is one of the scheme."""
    if not isinstance(url, str) or not url.startswith(f"{scheme}://"):
        raise InputError(f"expected a URL that starts with {scheme}://, got {without_secrets(str(url))!r}")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InputError(f"{without_secrets(url)!r} is no URL: {error}") from error
    if parts.fragment:
        raise InputError(f"{without_secrets(url)!r} has a part after '#'; write %23 where '#' is meant")
    return parts


def take(parts: SplitResult, *names: str) -> tuple[SplitResult, dict[str, str]]:
    """Take values out of the query of a URL.

    Args:
        parts: of the URL.
        names: of the values.

    Returns:
        the URL without them, and those that it had.

    Raises:
        InputError: one of them twice.
    """
    taken: dict[str, str] = {}
    rest = []
    for pair in filter(None, parts.query.split("&")):
        key, _, value = pair.partition("=")
        if unquote(key) not in names:
            rest.append(pair)
        elif unquote(key) in taken:
            raise InputError(f"the URL says {unquote(key)!r} twice")
        else:
            taken[unquote(key)] = unquote(value)
    return parts._replace(query="&".join(rest)), taken


def refuse_rest(parts: SplitResult, known: Sequence[str]) -> None:
    """Raise InputError for a value that was not taken out of the query of a URL."""
    if parts.query:
        key = unquote(parts.query.partition("&")[0].partition("=")[0])
        raise InputError(f"the URL has an unknown value {key!r}{suggest(key, known)}")


def without_secrets(url: str) -> str:
    """The URL without passwords, as it may be written down and shown."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{url.partition(':')[0]}://..."
    user, at, host = parts.netloc.rpartition("@")
    pairs = [pair for pair in parts.query.split("&") if unquote(pair.partition("=")[0]) not in SECRETS]
    return joined(parts._replace(netloc=f"{user.partition(':')[0]}{at}{host}", query="&".join(pairs)))


def joined(parts: SplitResult) -> str:
    """The URL of its parts, with `//` although no host may follow."""
    return f"{parts.scheme}://{parts.netloc}{parts.path}{'?' if parts.query else ''}{parts.query}"
