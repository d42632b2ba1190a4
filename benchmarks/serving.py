"""The service against the bare index and the bare encoder, each part with its bar.

    python benchmarks/serving.py                     # every part
    python benchmarks/serving.py latency             # one client, vectors given
    python benchmarks/serving.py throughput          # 50 clients, 20,000 requests
    python benchmarks/serving.py pictures            # uploads, embedded and searched

`pertinent serve` runs in a process of its own, and so do the clients; all share the machine's cores. Vectors are random
and the network is untrained: only time is measured. Results go to benchmarks/results/serving.json; rerunning replaces
the parts it measured.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pertinent.data.images import decode
from pertinent.data.transforms import Preprocess
from pertinent.index import Index
from pertinent.models.encoder import Encoder, EncoderConfig
from pertinent.store import EmbeddingStore

RESULTS = Path(__file__).parent / "results" / "serving.json"
PARTS = ("latency", "throughput", "pictures")
P50_BAR, P99_BAR = 2.0, 10.0  # milliseconds that HTTP may add
RATIO_BAR = 1.5
MEMORY_BAR = 32.0  # MiB that the server may grow by
PICTURES_BAR = 0.85


def make(folder: Path, options: argparse.Namespace) -> None:
    """An untrained encoder and an index of random vectors of its length."""
    torch.manual_seed(0)
    parts = EncoderConfig(backbone=options.backbone, dim=options.dim)
    encoder = Encoder(parts, Preprocess(resize=256, crop=224), False).eval()
    encoder.save(folder / "encoder")
    vectors = np.random.default_rng(0).normal(size=(options.items, encoder.dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [f"item{number:07}" for number in range(len(vectors))]
    store = EmbeddingStore.write(folder / "store", vectors, ids, encoder=encoder.fingerprint())
    Index.build(store, options.kind).save(folder / "index")


@contextmanager
def serving(folder: Path, *words: str) -> Iterator[int]:
    """`pertinent serve` for the length of a block: its port."""
    command = [
        sys.executable,
        "-m",
        "pertinent.cli",
        "serve",
        str(folder / "index"),
        "--model",
        str(folder / "encoder"),
    ]
    process = subprocess.Popen(
        [*command, "--port", "0", "--device", "cpu", *words],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if " on http://" not in line:
            raise SystemExit(f"the service did not start: {line}")
        yield int(line.split(";")[0].rpartition(":")[2])
    finally:
        process.terminate()
        process.wait()


def request_of(path: str, kind: str, body: bytes) -> bytes:
    """A whole HTTP request."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def vector_requests(vectors: np.ndarray[Any, Any]) -> list[bytes]:
    """One search for each vector."""
    bodies = (json.dumps({"vector": vector.tolist(), "k": 10}).encode() for vector in vectors)
    return [request_of("/v1/search/vector", "application/json", body) for body in bodies]


async def one_client(port: int, requests: Sequence[bytes], seconds: list[float], errors: list[bytes]) -> None:
    """Send requests one after the other over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in requests:
        started = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        seconds.append(time.perf_counter() - started)
        if not head.startswith(b"HTTP/1.1 200 ") or b'"hits":[{' not in body:
            errors.append(head.partition(b"\r\n")[0] + body[:200])
    writer.close()


def send(port: int, requests: Sequence[bytes], clients: int) -> tuple[float, list[float], list[bytes]]:
    """Requests shared out among clients: seconds of all, seconds of each, and what went wrong."""
    seconds: list[float] = []
    errors: list[bytes] = []

    async def every() -> None:
        shares = [requests[number::clients] for number in range(clients)]
        await asyncio.gather(*(one_client(port, share, seconds, errors) for share in shares))

    started = time.perf_counter()
    asyncio.run(every())
    return time.perf_counter() - started, seconds, errors


def memory(port: int) -> float:
    """MiB that the server holds."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    return float(text.partition("\nprocess_resident_memory_bytes ")[2].split()[0]) / 2**20


def random_vectors(count: int, dim: int) -> np.ndarray[Any, Any]:
    """Queries."""
    return np.random.default_rng(1).normal(size=(count, dim)).astype(np.float32)


def latency(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One client with vectors given, and the same searches without the service; in turns, for the machine changes."""
    index = Index.open(folder / "index")
    vectors = random_vectors(options.searches, index.store.dim)
    requests = vector_requests(vectors)
    bare, served = [], []
    with serving(folder) as port:
        send(port, requests[:50], 1)
        for vector in vectors[:50]:
            index.search(vector, 10)
        for first in range(0, len(vectors), 100):
            for vector in vectors[first : first + 100]:
                started = time.perf_counter()
                index.search(vector, 10)
                bare.append(time.perf_counter() - started)
            served += send(port, requests[first : first + 100], 1)[1]
    found = {
        f"{name}_p{part}_ms": round(1000 * float(np.percentile(seconds, part)), 3)
        for name, seconds in (("bare", bare), ("served", served))
        for part in (50, 99)
    }
    p50, p99 = (found[f"served_p{part}_ms"] - found[f"bare_p{part}_ms"] for part in (50, 99))
    bar("p50 that HTTP adds, ms", p50, P50_BAR, p50 <= P50_BAR)
    bar("p99 that HTTP adds, ms", p99, P99_BAR, p99 <= P99_BAR)
    return {**found, "added_p50_ms": round(p50, 3), "added_p99_ms": round(p99, 3)}


def throughput(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Many clients with vectors given, against one."""
    with serving(folder) as port:
        dim = Encoder.load(folder / "encoder").dim
        few = vector_requests(random_vectors(max(options.requests // 20, 100), dim))
        send(port, few, options.clients)
        alone = len(few) / send(port, few, 1)[0]
        many = (few * (options.requests // len(few) + 1))[: options.requests]
        warm = send(port, many[: len(many) // 10], options.clients)
        before = memory(port)
        seconds, each, errors = send(port, many, options.clients)
        after = memory(port)
    errors += warm[2]
    rate = len(many) / seconds
    bar(f"requests with {options.clients} clients / with one", rate / alone, RATIO_BAR, rate / alone >= RATIO_BAR)
    bar(f"errors among {len(many)} requests", len(errors), 0, not errors)
    bar("memory that the server grew by, MiB", after - before, MEMORY_BAR, after - before <= MEMORY_BAR)
    if errors:
        print("  first error:", errors[0])
    return {
        "requests": len(many),
        "clients": options.clients,
        "errors": len(errors),
        "requests_a_second": round(rate, 1),
        "requests_a_second_of_one_client": round(alone, 1),
        "ratio": round(rate / alone, 3),
        "p99_ms": round(1000 * float(np.percentile(each, 99)), 1),
        "memory_mib": [round(before, 1), round(after, 1)],
    }


def photographs(count: int, side: int = 500) -> list[bytes]:
    """JPEG files of smooth noise."""
    rng, made = np.random.default_rng(0), []
    for _ in range(count):
        coarse = rng.integers(0, 255, (side // 24, side // 20, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(coarse).resize((side * 4 // 3, side), Image.Resampling.BICUBIC).save(file, "JPEG", quality=88)
        made.append(file.getvalue())
    return made


@torch.no_grad()
def pictures(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Uploads of many clients, against the encoder that embeds the same files in batches; in turns.

    Beside it stands the network on ready pixels, in the same batches, which decodes nothing and searches nothing.
    """
    files = photographs(options.batch)
    boundary = "b0undary"
    start = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'.encode()
    kind = f"multipart/form-data; boundary={boundary}"
    end = f"\r\n--{boundary}--\r\n".encode()
    requests = [request_of("/v1/search/image", kind, start + data + end) for data in files]
    encoder = Encoder.load(folder / "encoder").eval()
    transform = encoder.preprocess.build()
    pixels = torch.stack([transform(decode(data)) for data in files])
    bare, network, served = 0.0, 0.0, 0.0
    rounds = max(1, options.pictures // len(files))
    errors: list[bytes] = []
    with serving(folder, "--batch-size", str(options.batch)) as port:
        send(port, requests, 2 * options.batch)
        encoder.embed(files, batch_size=options.batch)
        for _ in range(rounds):
            started = time.perf_counter()
            encoder.embed(files * 2, batch_size=options.batch)
            bare += time.perf_counter() - started
            started = time.perf_counter()
            for _ in range(2):
                encoder(pixels)
            network += time.perf_counter() - started
            seconds, _, wrong = send(port, requests * 2, 2 * options.batch)
            served, errors = served + seconds, errors + wrong
    count = 2 * rounds * len(files)
    share = bare / served
    bar("pictures a second / those of the bare encoder", share, PICTURES_BAR, share >= PICTURES_BAR)
    print(f"  pictures a second / those of the network on ready pixels: {network / served:.3f}")
    bar(f"errors among {count} pictures", len(errors), 0, not errors)
    return {
        "pictures": count,
        "backbone": options.backbone,
        "errors": len(errors),
        "pictures_a_second": round(count / served, 2),
        "pictures_a_second_of_the_encoder": round(count / bare, 2),
        "pictures_a_second_of_the_network": round(count / network, 2),
        "share": round(share, 3),
    }


def bar(what: str, value: float, limit: float, held: bool) -> None:
    """Print a figure beside its bar."""
    print(f"  {what}: {value:.3f} (bar {limit:g}) {'holds' if held else 'FAILS'}", flush=True)


def main() -> None:
    """Measure the parts asked for, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="default all")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--kind", default="exact", help="of index")
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--searches", type=int, default=2000, help="of latency")
    parser.add_argument("--requests", type=int, default=20_000, help="of throughput")
    parser.add_argument("--clients", type=int, default=50, help="of throughput")
    parser.add_argument("--pictures", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16, help="pictures through the network together")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    results = json.loads(options.out.read_text()) if options.out.is_file() else {}
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), options)
        for part in options.parts or PARTS:
            print(f"{part}: {options.items:,} items of {options.dim}, {options.kind}", flush=True)
            load = os.getloadavg()[0]
            figures = globals()[part](Path(name), options)
            facts = {"items": options.items, "dim": options.dim, "kind": options.kind, "cores": os.cpu_count()}
            results[part] = {**figures, **facts, "load_before": round(load, 1), "machine": platform.machine()}
            print("  " + json.dumps(results[part]), flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
