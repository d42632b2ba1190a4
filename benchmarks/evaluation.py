"""Evaluation against the other toolkits and the published code: CPU seconds and peak memory, each tool by itself.

    python benchmarks/evaluation.py CASE [--scale 0.1] [--threads 1] [--folder DIR]

Cases:
    self       60,502 x 512 among themselves, 11,316 classes; pytorch-metric-learning, and the bare matrix product
    tree       the same with 12 groups above the classes: H-AP, ASI and NDCG; the bare matrix product
    full       10,000 x 128 among themselves, mean average precision of whole rankings; pytorch-metric-learning
    landmarks  70 queries, 1,000,000 x 128 on disk, easy, medium and hard; sorting everything, as published
    disk       70 queries, 1,000,000 x 2048 on disk, float32 and float16: memory
    hamming    2,100 x 193,734 codes of 48 bits, 21 tags, the first 5,000; the published loop

Each tool runs in a process of its own on data read from files, after a small call that loads what is compiled. Seconds
are CPU time of all threads of the call; memory is the peak of the process, what the call added to it, and how much
of that are pages of a mapped file, which the system may drop. At scale 1 the results go to
benchmarks/results/evaluation-CASE.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
MEGABYTE = 2**20
TOOLS = {
    "self": ["pertinent", "pml", "matmul"],
    "tree": ["pertinent", "matmul"],
    "full": ["pertinent", "pml"],
    "landmarks": ["pertinent", "published"],
    "disk": ["float32", "float16"],
    "hamming": ["pertinent", "published"],
}
SELF_METRICS = ["ap", "ap@r", "r@1", "r@10", "r@100", "r@1000", "rp", "mrr"]
TREE_METRICS = ["hap", "asi", "ndcg"]
LANDMARK_METRICS = ["ap_trapezoid", "mp@1", "mp@5", "mp@10"]
WORDS = {"easy": (("easy",), ("junk", "hard")), "medium": (("easy", "hard"), ("junk",)),
         "hard": (("hard",), ("junk", "easy"))}  # fmt: skip


# Data


def unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def make_self(folder: Path, scale: float, size: int = 60_502, dim: int = 512, classes: int = 11_316) -> None:
    """Classes around centres, so far apart that about eight in ten queries find their own class first."""
    rng = np.random.default_rng(0)
    size, classes = round(size * scale), round(classes * scale)
    groups = rng.integers(0, 12, classes)
    centres = 0.5 * rng.standard_normal((12, dim))[groups] + rng.standard_normal((classes, dim))
    fine = np.concatenate([np.arange(classes), rng.integers(0, classes, size - classes)])
    np.save(folder / "vectors.npy", unit(centres[fine] + 2.25 * rng.standard_normal((size, dim))))
    np.save(folder / "labels.npy", np.stack([fine, groups[fine]], 1))


def make_full(folder: Path, scale: float) -> None:
    make_self(folder, scale, 10_000, 128, 1_000)


def make_landmarks(folder: Path, scale: float, dim: int = 128, dtype: str = "float32") -> None:
    """Judged items near their queries among random ones; the sizes of Revisited Oxford with a million distractors."""
    rng = np.random.default_rng(0)
    size = round(1_000_000 * scale)
    queries = unit(rng.standard_normal((70, dim)))
    gnd = []
    for _ in range(70):
        ids = rng.permutation(4_993)
        ends = np.cumsum([rng.integers(5, 70), rng.integers(5, 90), rng.integers(20, 80)])
        easy, hard, junk = (part.tolist() for part in np.split(ids[: ends[2]], ends[:2]))
        gnd.append({"easy": easy, "hard": hard, "junk": junk})
    gallery = np.lib.format.open_memmap(folder / f"gallery-{dtype}.npy", "w+", dtype, (size, dim))
    for first in range(0, size, 20_000):
        x = rng.standard_normal((min(20_000, size - first), dim)).astype(np.float32)
        if first == 0:
            for query, record in zip(queries, gnd, strict=True):
                x[record["easy"] + record["junk"]] += 0.4 * dim**0.5 * query
                x[record["hard"]] += 0.25 * dim**0.5 * query
        gallery[first : first + 20_000] = unit(x)
    gallery.flush()
    np.save(folder / "queries.npy", queries)
    (folder / "gnd.json").write_text(json.dumps(gnd))


def make_disk(folder: Path, scale: float) -> None:
    for dtype in TOOLS["disk"]:
        make_landmarks(folder, scale, 2048, dtype)


def make_hamming(folder: Path, scale: float) -> None:
    """Outputs that follow the tags with much noise."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((21, 48))
    for name, size in (("query", round(2_100 * scale)), ("gallery", 193_734 if scale == 1 else round(193_734 * scale))):
        tags = rng.random((size, 21)) < rng.dirichlet(np.full(21, 0.7)) * 2.4 + 0.01
        tags[tags.sum(1) == 0, 0] = True
        np.save(folder / f"{name}_tags.npy", tags)
        outputs = tags @ weights + 1.5 * rng.standard_normal((size, 48))
        np.save(folder / f"{name}.npy", outputs.astype(np.float32))


# Tools: each returns a call for a small warm-up, and one for the measurement


Call = Callable[[], dict[str, float]]


def pertinent_self(folder: Path, metrics: list[str], tree: bool) -> tuple[Call, Call]:
    from pertinent.engine.evaluate import evaluate
    from pertinent.relevance import Relevance

    x, labels = np.load(folder / "vectors.npy"), np.load(folder / "labels.npy")

    def run(rows: slice) -> dict[str, float]:
        some = labels[rows]
        rel = Relevance.tree(some) if tree else Relevance.classes(some[:, 0])
        return dict(evaluate(x[rows], relevance=rel, metrics=metrics).mean)

    return lambda: run(slice(0, 1500)), lambda: run(slice(None))


def pml(folder: Path, include: tuple[str, ...], k: str | None) -> tuple[Call, Call]:
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    x, labels = (torch.from_numpy(np.load(folder / f"{name}.npy")) for name in ("vectors", "labels"))
    calculator = AccuracyCalculator(include=include, k=k, device=torch.device("cpu"))

    def run(rows: slice) -> dict[str, float]:
        return calculator.get_accuracy(x[rows], labels[rows, 0])

    return lambda: run(slice(0, 1500)), lambda: run(slice(None))


def matmul(folder: Path) -> tuple[Call, Call]:
    x = np.load(folder / "vectors.npy")
    block = np.empty((512, len(x)), np.float32)

    def run(stop: int) -> dict[str, float]:
        for first in range(0, stop, 512):
            rows = x[first : min(first + 512, stop)]
            np.matmul(rows, x.T, out=block[: len(rows)])
        return {}

    return lambda: run(512), lambda: run(len(x))


def pertinent_landmarks(folder: Path, dtype: str = "float32") -> tuple[Call, Call]:
    from pertinent.engine.evaluate import evaluate_all
    from pertinent.functional import similarity
    from pertinent.relevance import Relevance

    queries, gnd = np.load(folder / "queries.npy"), json.loads((folder / "gnd.json").read_text())
    gallery = np.load(folder / f"gallery-{dtype}.npy", mmap_mode="r")

    # No tile is kept, in the small call as in the large one, so that both take the same way.
    similarity.CACHE_BYTES = 0

    def run(items: np.ndarray) -> dict[str, float]:
        rels = {word: Relevance.judged(gnd, word) for word in WORDS}
        reports = evaluate_all(queries, items, relevances=rels, metrics=LANDMARK_METRICS)
        return {f"{word} {name}": value for word, report in reports.items() for name, value in report.mean.items()}

    return lambda: run(gallery[:6000]), lambda: run(gallery)


def published_landmarks(folder: Path) -> tuple[Call, Call]:
    """Score all, sort all, then look for the judged items in every sorted list, one protocol after the other."""
    queries, gnd = np.load(folder / "queries.npy"), json.loads((folder / "gnd.json").read_text())
    gallery = np.load(folder / "gallery-float32.npy", mmap_mode="r")

    def one(order: np.ndarray, wanted: list[int], junk: list[int]) -> tuple[float, list[float]]:
        places = np.flatnonzero(np.isin(order, wanted))
        skipped = np.flatnonzero(np.isin(order, junk))
        places -= np.searchsorted(skipped, places)
        area = 0.0
        for number, rank in enumerate(places):
            before = 1.0 if rank == 0 else number / rank
            area += (before + (number + 1) / (rank + 1)) / 2 / len(wanted)
        cuts = [min(cut, places[-1] + 1) for cut in (1, 5, 10)]
        return area, [float((places < cut).sum() / cut) for cut in cuts]

    def run(items: np.ndarray) -> dict[str, float]:
        ranks = np.argsort(-(np.asarray(items) @ queries.T), axis=0)
        values = {}
        for word, (sought, left_out) in WORDS.items():
            rows = []
            for query, record in enumerate(gnd):
                wanted, junk = ([item for part in parts for item in record[part]] for parts in (sought, left_out))
                rows.append(one(ranks[:, query], wanted, junk))
            values[f"{word} ap_trapezoid"] = float(np.mean([area for area, _ in rows]))
            for column, cut in enumerate((1, 5, 10)):
                values[f"{word} mp@{cut}"] = float(np.mean([cuts[column] for _, cuts in rows]))
        return values

    return lambda: run(gallery[:6000]), lambda: run(gallery)


def pertinent_hamming(folder: Path) -> tuple[Call, Call]:
    from pertinent.engine.evaluate import evaluate
    from pertinent.relevance import Relevance

    parts = {path.stem: np.load(path) for path in folder.glob("*.npy")}

    def run(rows: slice, items: slice) -> dict[str, float]:
        rel = Relevance.tags(parts["query_tags"][rows], parts["gallery_tags"][items])
        given = {"relevance": rel, "metrics": ["ap@5000/hits"], "similarity": "hamming"}
        report = evaluate(parts["query"][rows], parts["gallery"][items], **given)
        worst, mean, best = report.tie_range["ap@5000/hits"]
        return {"ap@5000/hits": report.mean["ap@5000/hits"], "worst": worst, "best": best, "expected": mean}

    return lambda: run(slice(0, 20), slice(0, 7000)), lambda: run(slice(None), slice(None))


def published_hamming(folder: Path) -> tuple[Call, Call]:
    """Real-valued similarity of signs, a full sort, and a loop over each of the first 5,000; of every tenth query."""
    parts = {path.stem: np.load(path) for path in folder.glob("*.npy")}

    def run(step: int) -> dict[str, float]:
        total, codes = [], np.sign(parts["gallery"])
        tags = parts["gallery_tags"].astype(np.int64)
        for output, mine in zip(parts["query"][::step], parts["query_tags"][::step].astype(np.int64), strict=True):
            order = np.argsort(1 - np.sign(output) @ codes.T / codes.shape[1])
            hits, precision = 0, 0.0
            for place in range(min(5000, len(order))):
                if np.dot(mine, tags[order[place]]) > 0:
                    hits += 1
                    precision += hits / (place + 1)
            total.append(precision / hits if hits else 0.0)
        return {"ap@5000/hits": float(np.mean(total))}

    return lambda: run(1000), lambda: run(10)


def tool(case: str, name: str, folder: Path) -> tuple[Call, Call]:
    if name == "matmul":
        return matmul(folder)
    if case in ("self", "full") and name == "pml":
        knn = ("precision_at_1", "r_precision", "mean_average_precision_at_r", "mean_average_precision")
        return pml(folder, knn, "max_bin_count") if case == "self" else pml(folder, knn[-1:], None)
    if case in ("self", "full", "tree"):
        metrics = {"self": SELF_METRICS, "full": ["ap"], "tree": TREE_METRICS}[case]
        return pertinent_self(folder, metrics, case == "tree")
    if case == "disk":
        return pertinent_landmarks(folder, name)
    functions = {
        ("landmarks", "pertinent"): pertinent_landmarks,
        ("landmarks", "published"): published_landmarks,
        ("hamming", "pertinent"): pertinent_hamming,
        ("hamming", "published"): published_hamming,
    }
    return functions[case, name](folder)


# Measuring


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE


def file_backed() -> float:
    """MiB of this process's resident memory that are pages of mapped files; the system can drop them at any time."""
    words = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(words["RssFile"].split()[0]) / 1024


def measure(case: str, name: str, folder: Path) -> dict[str, Any]:
    warm_up, call = tool(case, name, folder)
    warm_up()
    base, mapped = peak(), file_backed()
    started, wall = time.process_time(), time.perf_counter()
    values = call()
    # Both of the published loops are timed on every tenth query.
    share = 10 if (case, name) == ("hamming", "published") else 1
    return {
        "cpu_seconds": round(share * (time.process_time() - started), 3),
        "wall_seconds": round(share * (time.perf_counter() - wall), 3),
        "peak_mib": round(peak()),
        "added_mib": round(peak() - base),
        "mapped_file_mib": round(file_backed() - mapped),
        "values": values,
        **({"extrapolated_from": "every tenth query"} if share > 1 else {}),
    }


def machine(threads: int) -> dict[str, Any]:
    import numba
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "threads": threads,
        "load_at_start": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "numba": numba.__version__,
    }


def run(case: str, scale: float, threads: int, folder: Path) -> dict[str, Any]:
    {"self": make_self, "tree": make_self, "full": make_full, "landmarks": make_landmarks, "disk": make_disk,
     "hamming": make_hamming}[case](folder, scale)  # fmt: skip
    result: dict[str, Any] = {"case": case, "scale": scale, "machine": machine(threads), "tools": {}}
    words = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = os.environ | dict.fromkeys(words, str(threads))
    for name in TOOLS[case]:
        command = [sys.executable, __file__, case, "--tool", name, "--folder", str(folder)]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        result["tools"][name] = found = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{case:10} {name:10} {found['cpu_seconds']:9.2f} CPU s  {found['wall_seconds']:9.2f} s  "
            f"peak {found['peak_mib']:6,} MiB, added {found['added_mib']:6,}  {found['values']}",
            flush=True,
        )
    seconds = {name: found["cpu_seconds"] for name, found in result["tools"].items()}
    if "pertinent" in seconds:
        result["others_over_pertinent"] = {
            name: round(value / seconds["pertinent"], 2) for name, value in seconds.items() if name != "pertinent"
        }
        print(f"{case:10} CPU seconds of the others over those of pertinent: {result['others_over_pertinent']}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=TOOLS)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full number of vectors")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where to make the data; by default a temporary folder")
    parser.add_argument("--tool", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.tool:
        print(json.dumps(measure(given.case, given.tool, given.folder)))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        result = run(given.case, given.scale, given.threads, Path(folder))
    if given.scale == 1:
        path = HERE / "results" / f"evaluation-{given.case}.json"
        path.write_text(json.dumps(result, indent=1) + "\n")
        print(f"written {path}")


if __name__ == "__main__":
    main()
