"""Processes that work together, with the environment that torchrun gives them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from torch.distributed import TCPStore

SECONDS = 300
HERE = Path(__file__).parent


@contextlib.contextmanager
def started(size: int, worker: str, recipe: Path, folder: Path, *words: str) -> Iterator[Callable[[], None]]:
    """Start processes that meet at a store which this one keeps, as torchrun's own process does, so that none needs a
    port that another program may have taken meanwhile; what they say goes to `said-RANK` in the folder.

    Args:
        size: how many.
        worker: file beside this one.
        recipe: their first word.
        folder: their second word.
        words: the others.

    Returns:
        waits until all have ended well.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    # It takes the socket over.
    store = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=listening.detach())
    shared = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(HERE / worker), str(recipe), str(folder), *words]
    processes: list[subprocess.Popen[bytes]] = []

    def wait() -> None:
        for rank, process in enumerate(processes):
            assert process.wait(timeout=SECONDS) == 0, (folder / f"said-{rank}").read_text()

    try:
        for rank in range(size):
            with (folder / f"said-{rank}").open("wb") as said:
                own = shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                processes.append(subprocess.Popen(command, env=own, stdout=said, stderr=subprocess.STDOUT))
        yield wait
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        del store
