"""A server that is killed while pictures are added has lost nothing that it had acknowledged."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
import uuid
from pathlib import Path

import numpy as np
import pytest
from serve_parts import png

from pertinent.engine.search import open_searcher

# After so many acknowledged additions the server is killed, while further ones are under way.
MOMENTS = range(1, 40, 3) if os.environ.get("PERTINENT_SLOW") else (1, 6)


def start(index: Path, encoder: Path) -> tuple[subprocess.Popen[str], str]:
    """`pertinent serve` in a process of its own, and its address."""
    words = ["serve", str(index), "--model", str(encoder), "--port", "0", "--device", "cpu", "--batch-wait", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pertinent.cli", *words],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if " on http://" not in line:
        process.kill()
        process.wait()
        pytest.fail(f"it did not start: {line}")
    return process, line.split(" on ")[1].split(";")[0]


def upload(address: str, name: str, data: bytes) -> int:
    """Add a picture; the status of the answer."""
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="id"\r\n\r\n{name}\r\n--{boundary}\r\n'
    head += 'Content-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    body = head.encode() + data + f"\r\n--{boundary}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    with urllib.request.urlopen(urllib.request.Request(f"{address}/v1/items", body, kind), timeout=60) as answer:
        status: int = answer.status
    return status


def test_nothing_acknowledged_is_lost(tmp_path: Path, index_folder: Path, encoder_folder: Path):
    shutil.copytree(index_folder.parent, tmp_path / "own")
    index = tmp_path / "own" / "index"
    acknowledged: dict[str, int] = {}
    for moment in MOMENTS:
        process, address = start(index, encoder_folder)
        enough = threading.Event()

        def add(worker: int, moment: int = moment, address: str = address, enough: threading.Event = enough) -> None:
            for number in range(200):
                name, seed = f"{moment}/{worker}/{number}", 1000 * moment + 200 * worker + number
                try:
                    if upload(address, name, png(seed=seed)) == 201:
                        acknowledged[name] = seed
                except OSError:
                    break
                if sum(key.startswith(f"{moment}/") for key in list(acknowledged)) >= moment:
                    enough.set()
            enough.set()

        workers = [threading.Thread(target=add, args=(worker,)) for worker in range(3)]
        for worker in workers:
            worker.start()
        assert enough.wait(120)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        for worker in workers:
            worker.join()
        assert sum(key.startswith(f"{moment}/") for key in acknowledged) >= moment
        searcher = open_searcher(index, encoder_folder)
        assert 24 + len(acknowledged) <= len(searcher.index) <= 24 + len(acknowledged) + 3 * (MOMENTS.index(moment) + 1)
        for name, seed in acknowledged.items():
            position = searcher.index.position(name)
            assert position is not None, f"{name} was acknowledged"
            assert Path(searcher.index.item(position).place).read_bytes() == png(seed=seed)
            vector = searcher.index.vector(position)
            np.testing.assert_allclose(vector, searcher.encoder.embed([png(seed=seed)])[0], atol=2e-6)
        searcher.index.close()
