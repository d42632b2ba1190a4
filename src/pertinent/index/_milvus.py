"""A Milvus server or an embedded one: one client for all threads, and its errors in Pertinent's words."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from pertinent.errors import InputError, MissingDependencyError, PertinentError, StorageError
from pertinent.index._url import refuse_rest, split_url, take, without_secrets

Result = TypeVar("Result")

TOKEN = "PERTINENT_MILVUS_TOKEN"
PORT = 19530
CONNECT_SECONDS, LOAD_SECONDS = 10, 24 * 3600
# Code of the error for a collection that lies on the disk alone, as after a restart.
NOT_LOADED = 101
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
# A server in Python hangs up on those who ask every ten seconds whether it lives, as the driver would; and one that
# comes back is to be found at once, not after two minutes.
CHANNEL = {
    "grpc.keepalive_time_ms": 600_000,
    "grpc.keepalive_permit_without_calls": 0,
    "grpc.max_reconnect_backoff_ms": 1000,
    "grpc.use_local_subchannel_pool": 1,
}
EXAMPLES = "milvus:///folder/file.db?collection=x or milvus://host:19530?collection=x"


def load_pymilvus() -> Any:
    """The driver; raises MissingDependencyError unless it is installed, with the embedded server."""
    if find_spec("pymilvus") is None or find_spec("milvus_lite") is None:
        raise MissingDependencyError("an index in Milvus needs pymilvus: pip install 'pertinent[milvus]'")
    import pymilvus

    # They print every error with its traceback; it is raised, in other words, as well.
    for name in ("pymilvus", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return pymilvus


@dataclass(frozen=True)
class Address:
    """Where a collection lies.

    Attributes:
        uri: of a server, or the path of a file.
        collection: its name.
        database: on a server.
        token: for the server.
        shown: the URL without a password.
    """

    uri: str
    collection: str
    database: str
    token: str
    shown: str

    @classmethod
    def of(cls, url: str) -> Address:
        """Where a URL points to; the token is the one of PERTINENT_MILVUS_TOKEN where the URL has none.

        Raises:
            InputError: no such URL, or no name of a collection that Milvus can hold.
        """
        parts, own = take(split_url(url, "milvus"), "collection", "secure")
        shown = without_secrets(url)
        refuse_rest(parts, ["collection", "secure"])
        collection, secure = own.get("collection", ""), own.get("secure", "false")
        if not NAME.fullmatch(collection):
            raise InputError(
                f"say the collection in the URL, a word of letters, digits and _: {EXAMPLES}; got {collection!r}"
            )
        if secure not in ("true", "false"):
            raise InputError(f"secure must be true or false in {shown}, got {secure!r}")
        if parts.netloc:
            return cls._server(parts, collection, secure == "true", shown)
        if not parts.path.startswith("/") or not parts.path.endswith(".db"):
            raise InputError(
                f"the file of an embedded Milvus is a whole path that ends in .db: {EXAMPLES}; got {shown}"
            )
        return cls(parts.path, collection, "", "", shown)

    @classmethod
    def _server(cls, parts: Any, collection: str, secure: bool, shown: str) -> Address:
        try:
            host, port = parts.hostname, parts.port or PORT
        except ValueError as error:
            raise InputError(f"{shown}: {error}") from error
        database = parts.path.strip("/")
        if not host or (database and not NAME.fullmatch(database)):
            raise InputError(f"{shown} names no server or no database; expected {EXAMPLES}")
        token = f"{parts.username}:{parts.password}" if parts.password else os.environ.get(TOKEN, "")
        return cls(f"{'https' if secure else 'http'}://{host}:{port}", collection, database, token, shown)

    @property
    def embedded(self) -> bool:
        """Whether it is a file of this machine."""
        return self.uri.startswith("/")


class Server:
    """A Milvus server, or one that runs in this process over a file.

    Args:
        address: of the collection.

    Raises:
        StorageError: it cannot be reached, or another process has the file open.
        MissingDependencyError: the driver is not installed.
    """

    def __init__(self, address: Address) -> None:
        self.driver, self.address = load_pymilvus(), address
        # An embedded server is not made for a search beside a change.
        self._alone = threading.RLock() if address.embedded else contextlib.nullcontext()
        if address.embedded and not Path(address.uri).parent.is_dir():
            raise StorageError(f"{address.shown}: the folder {Path(address.uri).parent} does not exist; make it first")
        try:
            self.client = self.driver.MilvusClient(
                address.uri,
                token=address.token,
                db_name=address.database,
                timeout=CONNECT_SECONDS,
                grpc_options=CHANNEL,
            )
        except self.driver.MilvusException as error:
            advice = (
                "close the other process that has the file open, or see whether it is one of Milvus Lite 3"
                if address.embedded
                else f"check the URL, that the server runs, and the token in {TOKEN}"
            )
            raise StorageError(f"cannot connect to {address.shown}: {_reason(error)}; {advice}") from error

    def run(self, doing: str, work: Callable[[Any], Result]) -> Result:
        """Call `work` with the client; once more where the collection had to be loaded first.

        Args:
            doing: what it does, for messages.
            work: may be called twice.

        Raises:
            StorageError: the server cannot be reached or does not do it.
            InputError: a value that it cannot hold.
        """
        try:
            with self._alone:
                try:
                    return work(self.client)
                except self.driver.MilvusException as error:
                    if error.code != NOT_LOADED:
                        raise
                    self.load()
                    return work(self.client)
        except (self.driver.exceptions.ParamError, self.driver.exceptions.DataNotMatchException) as error:
            raise InputError(f"{self.address.shown}: {doing}: {_reason(error)}") from error
        except self.driver.MilvusException as error:
            raise self._failed(doing, _reason(error)) from error
        except Exception as error:
            # The driver passes on what the protocol below it raises.
            if type(error).__module__.partition(".")[0] != "grpc":
                raise
            raise self._failed(doing, str(error)) from error

    def load(self) -> None:
        """Have the server bring the collection into memory, as a search needs it."""
        self.client.load_collection(self.address.collection, timeout=LOAD_SECONDS)

    def _failed(self, doing: str, reason: str) -> PertinentError:
        return StorageError(f"{self.address.shown}: {doing} failed: {reason}; see that the server runs, and its log")


def _reason(error: Any) -> str:
    """The first line of what the server or the driver says."""
    return str(getattr(error, "message", "") or error).strip().partition("\n")[0]
