"""Downloading a file: over https, resumed after an interruption, and kept only when its size and checksum are right."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import ssl
import time
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from pertinent.data.https import number, open_url, require_safe
from pertinent.data.ledger import Download, Ledger
from pertinent.data.progress import Listener, Progress, silent
from pertinent.errors import DataError, StorageError
from pertinent.files import sha256_file, storage_errors, write_json

# Tries of one file that gain less than a megabyte, and seconds before the second; each later wait is twice as long.
TRIES = 5
WAIT = 1.0

_LONGEST_WAIT = 60.0
_GAIN = 1 << 20
_BLOCK = 1 << 18
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


def fetch(
    url: str, path: Path | str, *, sha256: str | None = None, md5: str | None = None, listener: Listener = silent
) -> str:
    """Download one file, or find that it is there already; returns the sha256 of its bytes.

    While it is under way it is called `.NAME.part`. A later call goes on where an earlier one stopped, if the server
    can and its file is the same, and starts anew otherwise. The sum is noted in `.downloads.json` beside the file:
    where the publisher gives none, later downloads are compared with the first.

    Args:
        url: `https://...`; `http://` only of this machine.
        path: where the file is to lie.
        sha256: what its publisher says, in hexadecimal; None where they say nothing.
        md5: the same, of publishers who give this older sum. It tells damage, but not a file forged on purpose.
        listener: hears `download` events with `name`, `done`, `total` (bytes, None where the server does not say),
            `rate` (bytes/s) and `eta` (s); `retry` with `name`, `reason`, `wait` (s); and `unverified` with `name`,
            `sha256` when there was nothing to compare the file with.

    Raises:
        InputError: the address is not https.
        DataError: the server refuses, redirects to http, does not answer after several tries, or sent other bytes than
            the checksum says (nothing is kept then); or another file of that name is there.
        StorageError: the folder cannot be written, the disk is full, or another process downloads the same file.
    """
    require_safe(url)
    path = Path(path)
    ledger = Ledger(path.parent)
    known = ledger.read().get(path.name)
    wanted = _wanted(sha256, md5, known)
    if path.exists() and (digest := _already(path, wanted, known)):
        ledger.note(path.name, known or Download(url, digest, path.stat().st_size, ours=False))
    else:
        with storage_errors(path, "downloading"):
            path.parent.mkdir(parents=True, exist_ok=True)
        digest = _download(url, path, wanted, listener)
    if wanted is None:
        listener({"event": "unverified", "name": path.name, "sha256": digest})
    return digest


@dataclass(frozen=True)
class _Sum:
    kind: Literal["sha256", "md5"]
    value: str

    def of(self, path: Path, sha256: str) -> str:
        """The sum of this kind of a file whose sha256 is known."""
        if self.kind == "sha256":
            return sha256
        with path.open("rb") as file:
            return hashlib.file_digest(file, self.kind).hexdigest()


def _wanted(sha256: str | None, md5: str | None, known: Download | None) -> _Sum | None:
    if sha256:
        return _Sum("sha256", sha256.lower())
    # What was noted did agree with the md5, and says more.
    if known:
        return _Sum("sha256", known.sha256)
    return _Sum("md5", md5.lower()) if md5 else None


def _already(path: Path, wanted: _Sum | None, known: Download | None) -> str | None:
    """The sha256 of a file that is there, or None when it was ours and is damaged now."""
    with storage_errors(path, "reading"):
        digest = sha256_file(path)
        found = wanted and wanted.of(path, digest)
    if wanted is None or found == wanted.value:
        return digest
    if known is None:
        raise DataError(
            f"{path} is there already and is another file: it has {wanted.kind} {found}, its publisher's has "
            f"{wanted.value}; move it away, then run the same command again"
        )
    return None


def _download(url: str, path: Path, wanted: _Sum | None, listener: Listener) -> str:
    ledger = Ledger(path.parent)
    with _Part.of(path) as part:
        _complete(url, part, path.name, listener)
        digest = sha256_file(part.data)
        found = wanted and wanted.of(part.data, digest)
        if wanted and found != wanted.value:
            part.forget()
            noted = f", and delete its entry in {ledger.path} to take the new one" if path.name in ledger.read() else ""
            raise DataError(
                f"{url} came with {wanted.kind} {found}, expected {wanted.value}; nothing was kept. Run the same "
                f"command again; if the sums differ again, the file was changed since: see its publisher's page{noted}"
            )
        # Noted first: a file without its note would be taken for somebody else's.
        ledger.note(path.name, Download(url, digest, part.size()))
        with storage_errors(path, "writing"):
            os.replace(part.data, path)
    return digest


class _BrokenOffError(Exception):
    """A try that may go better the next time."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        self.reason, self.wait = reason, wait
        super().__init__(reason)


def _complete(url: str, part: _Part, name: str, listener: Listener) -> None:
    tries, gained = 1, part.size()
    while True:
        try:
            return _transfer(url, part, name, listener)
        except _BrokenOffError as error:
            tries = 1 if part.size() >= gained + _GAIN else tries + 1
            gained = part.size()
            if tries > TRIES:
                raise DataError(
                    f"{url} could not be downloaded: {error.reason}, in {TRIES} tries; see whether the network and the "
                    f"server work, then run the same command again (it goes on after {gained:,} bytes)"
                ) from error
            wait = min(max(WAIT * 2 ** max(tries - 2, 0), error.wait), _LONGEST_WAIT)
            listener({"event": "retry", "name": name, "reason": error.reason, "wait": wait})
            time.sleep(wait)


def _transfer(url: str, part: _Part, name: str, listener: Listener) -> None:
    known = part.known(url)
    start = part.size() if known else 0
    if known and start == known["length"]:
        return
    asked = {"Range": f"bytes={start}-", "If-Range": known["validator"]} if known and start else {}
    try:
        with open_url(url, asked) as response:
            if response.status != http.HTTPStatus.PARTIAL_CONTENT:
                start = 0
            total = _total(response, start)
            if known and start and not _continues(response, total, known):
                raise _BrokenOffError("the server's file changed on the way")
            if not start:
                part.begin(url, response, total)
            _require_space(part.data, total, start)
            _receive(response, part, Progress("download", name, total, listener, start))
    except _BrokenOffError:
        part.forget()
        raise
    except urllib.error.HTTPError as error:
        _explain(url, error, part)
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise DataError(
                f"{url}: the server's certificate is not trusted ({error.reason.verify_message}); if your network has "
                "its own authority, name its file in the variable SSL_CERT_FILE"
            ) from error
        raise _BrokenOffError(f"no connection ({error.reason})") from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(f"the connection broke off ({error or type(error).__name__})") from error
    if total is not None and part.size() != total:
        raise _BrokenOffError(f"the connection ended after {part.size():,} of {total:,} bytes")


def _explain(url: str, error: urllib.error.HTTPError, part: _Part) -> None:
    """Raise what an HTTP status means: another try, or the end."""
    error.close()
    if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        part.forget()
        raise _BrokenOffError("the server's file is shorter than what came before") from error
    if error.code in _TRANSIENT:
        raise _BrokenOffError(
            f"the server answered {error.code} {error.reason}", float(number(error.headers.get("Retry-After")) or 0)
        ) from error
    raise DataError(
        f"{url}: the server answered {error.code} {error.reason}; see on its publisher's page where the file is now"
    ) from error


def _receive(response: Any, part: _Part, progress: Progress) -> None:
    # Only the file's own errors are about storage; those of the connection are OSErrors too.
    with storage_errors(part.data, "writing"):
        file = part.data.open("ab", buffering=0)
    try:
        while chunk := response.read(_BLOCK):
            with storage_errors(part.data, "writing"):
                _write(file, chunk)
            progress.add(len(chunk))
        with storage_errors(part.data, "writing"):
            os.fsync(file.fileno())
    finally:
        file.close()


def _write(file: IO[bytes], chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:  # a file without a buffer may take less than it was given
        view = view[file.write(view) :]


def _total(response: Any, start: int) -> int | None:
    """Bytes of the whole file; raises _BrokenOffError when a range is not the one asked for."""
    if not start:
        return number(response.headers.get("Content-Length"))
    span, _, total = str(response.headers.get("Content-Range", "")).removeprefix("bytes ").partition("/")
    if span.partition("-")[0] != str(start):
        raise _BrokenOffError("the server sent another part of the file than was asked for")
    return number(total)


def _validator(response: Any) -> str | None:
    tag = response.headers.get("ETag")
    # A weak tag promises the same meaning, not the same bytes.
    strong = tag if tag and not tag.startswith("W/") else None
    found: str | None = strong or response.headers.get("Last-Modified")
    return found


def _continues(response: Any, total: int | None, known: dict[str, Any]) -> bool:
    """Whether a range is of the file that was begun; not every server heeds If-Range."""
    return _validator(response) in (None, known["validator"]) and (total is None or known["length"] in (None, total))


def _require_space(path: Path, total: int | None, start: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if total is not None and total - start > free:
        raise StorageError(
            f"{path.parent} has {free / 1e9:.1f} GB free, the file needs {(total - start) / 1e9:.1f} GB more; free "
            "space or choose another folder, then run the same command again"
        )


class _Part:
    """A file under way: its bytes so far, and which version of the server's file they are of."""

    def __init__(self, path: Path) -> None:
        self.data = path.with_name(f".{path.name}.part")
        self.state = path.with_name(f".{path.name}.part.json")

    @classmethod
    @contextlib.contextmanager
    def of(cls, path: Path) -> Iterator[_Part]:
        """The part of a file, for this process alone; its note goes when its bytes have become the file."""
        part = cls(path)
        with storage_errors(part.data, "writing"):
            part.data.touch()
        with _locked(part.data, path):
            try:
                yield part
            finally:
                if not part.size():
                    part.data.unlink(missing_ok=True)
                    part.state.unlink(missing_ok=True)

    def size(self) -> int:
        return self.data.stat().st_size if self.data.exists() else 0

    def known(self, url: str) -> dict[str, Any] | None:
        """What the bytes are of; None when they cannot be continued: nobody knows whether the server's are the same."""
        try:
            state: dict[str, Any] = json.loads(self.state.read_text(encoding="utf-8"))
            same = state["url"] == url and state["validator"] is not None
            fits = state["length"] is None or self.size() <= state["length"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return state if same and fits else None

    def begin(self, url: str, response: Any, total: int | None) -> None:
        """Start anew; the old bytes go first, so that they never lie beside the note of another file."""
        with storage_errors(self.data, "writing"):
            os.truncate(self.data, 0)
        write_json(self.state, {"url": url, "validator": _validator(response), "length": total})

    def forget(self) -> None:
        """Drop the bytes so far; the file itself stays while it is locked."""
        os.truncate(self.data, 0)
        self.state.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(data: Path, path: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # there is none on Windows
        yield
        return
    with data.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(f"another process downloads {path} at the moment; wait for it") from error
        yield
