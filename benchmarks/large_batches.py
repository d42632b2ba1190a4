"""One step on a large batch in two passes against steps on a small one: peak memory and throughput, on one CPU thread.

    python benchmarks/large_batches.py                    # ap, 4096 against 64: minutes
    python benchmarks/large_batches.py --only ap hap --batch 1024
    python benchmarks/large_batches.py --network resnet50 --side 128 --batch 1024

Each figure comes from a process of its own. Memory is the peak above what the process held with network and pixels in
place, less the score matrix of the batch (B x B float32): what the method adds to what no listwise loss can do without.
Throughput is pictures per CPU second, forward, loss and backward, without reading pictures and without the optimiser.
Results go to benchmarks/results/large-batches.json; rerunning replaces the rows it measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn

from pertinent.engine.steps import Objective, gradients
from pertinent.losses import LOSSES
from pertinent.models.encoder import Encoder, EncoderConfig

RESULTS = Path(__file__).parent / "results" / "large-batches.json"
PER_CLASS, DIM = 4, 512


def memory(field: str) -> float:
    """VmRSS or VmHWM of this process in megabytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}; memory is measured on Linux alone")


def measure(loss: str, batch: int, chunk: int | None, options: argparse.Namespace) -> dict[str, float]:
    """Figures of steps on batches of one size, in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig(backbone=options.network, pool="gem", dim=DIM)).train()
    objective = Objective(nn.ModuleDict({loss: LOSSES.build(loss)}), {loss: 1.0})
    labels = torch.arange(batch) // PER_CLASS

    def step(pixels: torch.Tensor) -> None:
        encoder.zero_grad(set_to_none=True)
        gradients(encoder, encoder, pixels, labels[: len(pixels)], objective, chunk=chunk)

    # Starts the libraries' own buffers, and compiles.
    step(torch.randn(8, 3, options.side, options.side))
    encoder.zero_grad(set_to_none=True)
    pixels = torch.randn(batch, 3, options.side, options.side)
    steps = max(1, options.pictures // batch)
    Path("/proc/self/clear_refs").write_text("5")
    held = memory("VmRSS")
    start = time.process_time()
    for _ in range(steps):
        step(pixels)
    seconds = time.process_time() - start
    peak = memory("VmHWM") - held
    scores = batch * batch * 4 / 2**20
    return {
        "peak_megabytes": peak,
        "score_matrix_megabytes": scores,
        "megabytes": peak - scores,
        "steps": steps,
        "pictures_per_cpu_second": steps * batch / seconds,
    }


def run(loss: str, batch: int, chunk: int | None, options: argparse.Namespace) -> dict[str, object]:
    """Measure in a process of its own."""
    one = json.dumps([loss, batch, chunk])
    command = [sys.executable, __file__, "--one", one]
    for name in ("network", "side", "pictures"):
        command += [f"--{name}", str(getattr(options, name))]
    # Freed blocks above 1 MB go back to the system at once, so that the peak is of what is in use.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    row = {"loss": loss, "network": options.network, "side": options.side, "batch": batch, "chunk": chunk}
    return row | json.loads(done.stdout.splitlines()[-1])


def machine() -> dict[str, str | int]:
    """What the figures were taken on."""
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "threads": 1,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def save(rows: list[dict[str, object]]) -> None:
    """Put rows into the file of results, in place of those they replace."""

    def key(row: dict[str, object]) -> tuple[object, ...]:
        return tuple(row[name] for name in ("loss", "network", "side", "batch", "chunk"))

    known = json.loads(RESULTS.read_text())["rows"] if RESULTS.is_file() else []
    every = {key(row): row for row in known} | {key(row): row | {"machine": machine()} for row in rows}
    RESULTS.parent.mkdir(exist_ok=True)
    lines = ",\n".join("  " + json.dumps(row) for row in every.values())
    inputs = json.dumps({"dim": DIM, "per_class": PER_CLASS})
    RESULTS.write_text(f'{{"inputs": {inputs}, "rows": [\n{lines}\n]}}\n')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=LOSSES.names(), default=["ap"], help="losses")
    parser.add_argument("--network", default="resnet18", help="a backbone of timm")
    parser.add_argument("--side", type=int, default=80, help="of the pictures")
    parser.add_argument("--batch", type=int, default=4096, help="the large batch")
    parser.add_argument("--small", type=int, default=64, help="the small batch, and the chunk of the large one")
    parser.add_argument("--pictures", type=int, default=512, help="to see at least, in each measurement")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*json.loads(options.one), options)))
        return
    rows = []
    print(f"{'loss':12} {'batch':>6} {'chunk':>6} {'MB':>8} {'pictures/CPU s':>15}")
    for loss in options.only:
        small = run(loss, options.small, None, options)
        large = run(loss, options.batch, options.small, options)
        rows += [small, large]
        for row in (small, large):
            chunk, found = row["chunk"] or "-", f"{row['megabytes']:8.1f} {row['pictures_per_cpu_second']:15.1f}"
            print(f"{loss:12} {row['batch']:6} {chunk:>6} {found}")
        more, speed = (float(str(large[k])) / float(str(small[k])) for k in ("megabytes", "pictures_per_cpu_second"))
        print(f"{loss:12} {more:.2f} times the memory, {speed:.0%} of the throughput", flush=True)
    save(rows)


if __name__ == "__main__":
    main()
