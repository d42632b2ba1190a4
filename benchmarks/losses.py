"""Losses against formulations written straight from their formulas: CPU seconds and peak memory, forward and backward.

    python benchmarks/losses.py                           # small batches, seconds
    python benchmarks/losses.py --sizes 256 1024 4096     # minutes
    python benchmarks/losses.py --only hap triplet --threads 2

Each figure comes from a process of its own: CPU seconds are the best of `--repeats`, memory is the peak above what the
process held with its inputs in place. The formulations make what the formulas say (all B x B x B gaps, the N x C x D
differences, every triplet, all bins); where such a one asks for more than `--limit` GB it is reported as `too large`.
Results go to benchmarks/results/losses.json with the machine's name; rerunning replaces the rows it measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from pertinent import losses
from pertinent.functional.relevance import level_counts, level_weights, tree_levels

RESULTS = Path(__file__).parent / "results" / "losses.json"
DIM, PER_CLASS, PER_GROUP = 512, 4, 32
Measured = Callable[[Tensor, Tensor], Tensor]


def inputs(size: int) -> tuple[Tensor, Tensor]:
    """Unit embeddings `(B, 512)` half-way through training, 4 a fine class and 32 a coarse one, and labels `(B, 2)`."""
    generator = torch.Generator().manual_seed(0)
    fine = torch.arange(size) // PER_CLASS
    coarse = torch.arange(size) // PER_GROUP
    x = torch.randn(size, DIM, generator=generator) * 1.5
    x += torch.randn(size, DIM, generator=generator)[fine] + 0.7 * torch.randn(size, DIM, generator=generator)[coarse]
    return F.normalize(x).requires_grad_(), torch.stack([fine, coarse], dim=1)


def cubic_hap(x: Tensor, labels: Tensor) -> Tensor:
    """H-AP with every gap of every query in one tensor."""
    scores, levels = x @ x.T, tree_levels(labels, labels)
    relevance = level_weights(level_counts(levels, 2)).float().gather(1, levels)
    gaps = scores[:, None, :] - scores[:, :, None]
    smooth = torch.sigmoid(gaps / 0.01)
    smooth = torch.where(gaps > 0.05, 100 * (gaps - 0.05) + 1.44, smooth + 0.5 * (gaps > 0))
    step = (gaps >= 0).float()
    other = ~torch.eye(len(x), dtype=torch.bool)
    rank = 1 + (torch.where(levels[:, None, :] < levels[:, :, None], smooth, step) * other).sum(2)
    shared = torch.minimum(relevance[:, None, :], relevance[:, :, None])
    h_rank = relevance + (step * shared * other).sum(2)
    return 1 - ((h_rank / rank * (levels > 0)).sum(1) / relevance.sum(1)).mean()


def cubic_smooth_ap(x: Tensor, labels: Tensor) -> Tensor:
    """Smooth-AP with every gap of every query in one tensor."""
    scores, positive = x @ x.T, labels[:, None, 0] == labels[None, :, 0]
    other = ~torch.eye(len(x), dtype=torch.bool)
    steps = torch.sigmoid((scores[:, None, :] - scores[:, :, None]) / 0.01) * other
    ratio = (1 + (steps * positive[:, None, :]).sum(2)) / (1 + steps.sum(2))
    return 1 - ((ratio * positive).sum(1) / positive.sum(1)).mean()


def quantiser_ap(x: Tensor, labels: Tensor) -> Tensor:
    """Binned AP with the share of every score in every bin."""
    bins = 20
    scores, positive = x @ x.T, (labels[:, None, 0] == labels[None, :, 0]).float()
    centres = torch.linspace(1, 0, bins)[:, None]
    shares = (1 - (scores[:, None, :].clamp(0, 1) - centres).abs() * (bins - 1)).clamp(min=0)
    everything, found = shares.sum(2), (shares * positive[:, None, :]).sum(2)
    precision = found.cumsum(1) / (everything.cumsum(1) + 1e-16)
    return 1 - ((precision * found).sum(1) / positive.sum(1)).mean()


def listed_triplets(x: Tensor, labels: Tensor) -> Tensor:
    """Batch-all with a list of all triplets."""
    same = labels[:, None, 0] == labels[None, :, 0]
    other = ~torch.eye(len(x), dtype=torch.bool)
    anchor, positive, negative = ((same & other)[:, :, None] & ~same[:, None, :]).nonzero(as_tuple=True)
    apart = torch.cdist(x, x)
    return F.relu(apart[anchor, positive] - apart[anchor, negative] + 1).mean()


def hist_by_differences(x: Tensor, labels: Tensor) -> Tensor:
    """HIST's distances with every difference of item, class and dimension; the rest is small."""
    module = hist(len(x))
    classes = labels[:, 0]
    u, q = F.normalize(x), F.normalize(module.distributions.means)
    spread = F.relu6(module.distributions.log_vars).exp()
    distances = ((u[:, None, :] - q[None, :, :]).square() / spread).sum(2)
    first = F.cross_entropy(-module.tau * distances, classes)
    present = classes.unique()
    member = torch.where(classes[:, None] == present, 1, torch.exp(-module.alpha * distances[:, present]))
    nodes = member / member.sum(1, keepdim=True).sqrt()
    graph = (nodes / member.sum(0)) @ nodes.T
    return first + F.cross_entropy(module.hgnn(x, graph), classes)


def hist(size: int) -> losses.HISTLoss:
    """Many more classes than the batch shows: the 11,318 of Stanford Online Products."""
    torch.manual_seed(0)
    return losses.HISTLoss(max(size // PER_CLASS, 11_318), DIM, tau=16.0, alpha=2.0)


def always(measured: Measured) -> Callable[[int], Measured]:
    """The same for every batch size."""

    def make(_size: int) -> Measured:
        return measured

    return make


FORMULATIONS: dict[str, dict[str, Callable[[int], Measured]]] = {
    "hap": {"pertinent": always(losses.HAPLoss()), "B x B x B": always(cubic_hap)},
    "smooth_ap": {"pertinent": always(losses.SmoothAPLoss()), "B x B x B": always(cubic_smooth_ap)},
    "ap": {"pertinent": always(losses.APLoss(bins=20)), "all bins": always(quantiser_ap)},
    "triplet": {"pertinent": always(losses.TripletLoss()), "list of triplets": always(listed_triplets)},
    "hist": {"pertinent": hist, "N x C x D": always(hist_by_differences)},
    "tap": {"pertinent": always(losses.TAPLoss())},
    "sup_ap": {"pertinent": always(losses.SupAPLoss())},
    "smooth_hap": {"pertinent": always(losses.SmoothHAPLoss())},
    "sup_ndcg": {"pertinent": always(losses.SupNDCGLoss())},
    "smooth_ndcg": {"pertinent": always(losses.SmoothNDCGLoss())},
    "sup_recall": {"pertinent": always(losses.SupRecallLoss())},
    "smooth_recall": {"pertinent": always(losses.SmoothRecallLoss())},
    "calibration": {"pertinent": always(losses.CalibrationLoss())},
    "contrastive": {"pertinent": always(losses.ContrastiveLoss())},
    "hyp2": {"pertinent": lambda size: losses.HyP2Loss(max(size // PER_CLASS, 2), DIM)},
}


def labels_for(name: str, labels: Tensor) -> Tensor:
    return labels[:, 0] if name == "hyp2" else labels


def memory(field: str) -> float:
    """VmRSS or VmHWM of this process in megabytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}; memory is measured on Linux alone")


def measure(name: str, kind: str, size: int, repeats: int, limit: float) -> dict[str, float | str]:
    """Figures of one formulation at one batch size, in this process."""
    make = FORMULATIONS[name][kind]
    for small in (16, 32):  # compiles, and starts the libraries' own threads and buffers
        x, labels = inputs(small)
        make(small)(x, labels_for(name, labels)).backward()
    loss, (x, labels) = make(size), inputs(size)
    labels = labels_for(name, labels)
    held = int(memory("VmSize") * 2**20)
    resource.setrlimit(resource.RLIMIT_AS, (held + int(limit * 2**30), resource.RLIM_INFINITY))
    Path("/proc/self/clear_refs").write_text("5")
    before, seconds, value = memory("VmRSS"), [], 0.0
    try:
        for _ in range(repeats):
            x.grad = None
            start = time.process_time()
            result = loss(x, labels)
            result.backward()
            seconds.append(time.process_time() - start)
            value = result.item()
            del result
    except (MemoryError, RuntimeError) as error:
        if "memory" not in str(error) and "allocate" not in str(error):
            raise
        return {"outcome": "too large"}
    return {"outcome": "ok", "cpu_seconds": min(seconds), "megabytes": memory("VmHWM") - before, "value": value}


def machine() -> dict[str, str | int]:
    """What the figures were taken on."""
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count() or 1,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def run(name: str, kind: str, size: int, options: argparse.Namespace) -> dict[str, object]:
    """Measure in a process of its own."""
    one = json.dumps([name, kind, size, options.repeats, options.limit])
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    command = [sys.executable, __file__, "--one", one]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    row: dict[str, object] = {"loss": name, "formulation": kind, "batch": size, "threads": options.threads}
    if done.returncode < 0:
        return row | {"outcome": "too large"}
    if done.returncode:
        raise RuntimeError(done.stderr)
    return row | json.loads(done.stdout.splitlines()[-1])


def save(rows: list[dict[str, object]]) -> None:
    """Put rows into the file of results, in place of those they replace."""

    def key(row: dict[str, object]) -> tuple[object, ...]:
        return row["loss"], row["formulation"], row["batch"], row["threads"]

    known = json.loads(RESULTS.read_text())["rows"] if RESULTS.is_file() else []
    every = {key(row): row for row in known} | {key(row): row | {"machine": machine()} for row in rows}
    RESULTS.parent.mkdir(exist_ok=True)
    shape = {"dim": DIM, "per_class": PER_CLASS, "per_group": PER_GROUP}
    lines = ",\n".join("  " + json.dumps(row) for row in every.values())
    RESULTS.write_text(f'{{"inputs": {json.dumps(shape)}, "rows": [\n{lines}\n]}}\n')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256], help="batch sizes")
    parser.add_argument("--only", nargs="+", choices=list(FORMULATIONS), default=list(FORMULATIONS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=7.0, help="gigabytes a formulation may ask for")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*json.loads(options.one))))
        return
    rows = []
    print(f"{'loss':12} {'batch':>6} {'formulation':18} {'CPU s':>9} {'MB':>8} {'faster':>7}")
    for name in options.only:
        for size in options.sizes:
            ours = 0.0
            for kind in FORMULATIONS[name]:
                row = run(name, kind, size, options)
                rows.append(row)
                if row["outcome"] != "ok":
                    print(f"{name:12} {size:6} {kind:18} too large")
                    continue
                seconds = float(str(row["cpu_seconds"]))
                ours = ours or seconds
                faster = f"x{seconds / ours:.1f}" if kind != "pertinent" else ""
                print(f"{name:12} {size:6} {kind:18} {seconds:9.4f} {row['megabytes']:8.1f} {faster:>7}", flush=True)
    save(rows)


if __name__ == "__main__":
    main()
