"""Search among packed codes: exact against faiss IndexBinaryFlat, and approximate against exact.

    python benchmarks/codes.py [--store STORE] [--scale 0.1] [--threads 1] [--case uniform ...]

Cases, 1,000,000 codes of 64 bits and 1,000 queries each, of which the 100 nearest are wanted:
    uniform        every bit by chance
    learned-S      1,000 classes in 30 groups; a class differs from its group in a fifth of the bits, a code from its
                   class in a share S of them: .02, .05, .1 and .2
    trained        with --store, outputs of a trained network: 1,000 of them are the queries, the others the items, and
                   the million is filled up with further ones, each a real output plus the difference of two of its ten
                   nearest, so that the network's clusters, and how full and wide they are, stay as they are

Each case runs in a process of its own, on one thread unless told otherwise, after a call that loads what is compiled.
Figures are CPU microseconds a query, the best of three rounds in which tools take turns. faiss keeps the nearest in a
heap, or counts distances (`use_heap` off): both are measured. It returns 100 items a query; which of those that tie for
the last place is left open. `top` returns 100 too, of equal ones the first by position, and `all_ties` every item at
the 100th distance as well, in order, which faiss does not offer. Recall counts an item as found where it is as near as
the 100th nearest. The graph of binary_hnsw is built in two of the cases. At scale 1 with all cases and a store the
results go to benchmarks/results/codes.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
SPREADS = {"learned-.02": 0.02, "learned-.05": 0.05, "learned-.1": 0.1, "learned-.2": 0.2}
TRAINED = "trained"
CASES = ["uniform", *SPREADS, TRAINED]
GRAPHS = ("learned-.1", TRAINED)
ITEMS, QUERIES, BITS, K, ROUNDS = 1_000_000, 1_000, 64, 100, 3
PROBES, WIDTHS = (1, 2, 4, 8, 16, 32, 64, 128), (64, 128, 256, 512)
RECALL = 0.95

Search = Callable[[], Any]


def made_up(case: str, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Signs as float32, of items and of queries."""
    rng = np.random.default_rng(0)
    groups = rng.random((30, BITS)) < 0.5
    classes = groups[rng.integers(0, 30, 1000)] ^ (rng.random((1000, BITS)) < 0.2)

    def some(count: int) -> np.ndarray:
        if case == "uniform":
            bits = rng.random((count, BITS)) < 0.5
        else:
            bits = classes[rng.integers(0, 1000, count)] ^ (rng.random((count, BITS)) < SPREADS[case])
        return np.where(bits, np.float32(1), np.float32(-1))

    return some(round(ITEMS * scale)), some(QUERIES)


def trained(folder: Path, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of a network, of items and of queries."""
    from pertinent import EmbeddingStore
    from pertinent.functional.neighbours import nearest

    rng = np.random.default_rng(0)
    outputs = EmbeddingStore.open(folder).vectors
    assert outputs.shape[1] == BITS, f"{folder} holds outputs of {outputs.shape[1]} bits, not {BITS}"
    order = rng.permutation(len(outputs))
    queries, real = outputs[np.sort(order[:QUERIES])], outputs[np.sort(order[QUERIES:])]
    more = round(ITEMS * scale) - len(real)
    near = nearest(real, real, 10, np.arange(len(real)))[1]
    seeds = rng.integers(0, len(real), more)
    one, other = (near[seeds, rng.integers(0, 10, more)] for _ in range(2))
    return np.concatenate([real, real[seeds] + real[one] - real[other]]), queries


def timed(tools: dict[str, Search]) -> tuple[dict[str, float], dict[str, Any]]:
    """CPU microseconds a query of each tool, and what it returned."""
    seconds: dict[str, list[float]] = {name: [] for name in tools}
    found = {}
    for _ in range(ROUNDS):
        for name, search in tools.items():
            started = time.process_time()
            found[name] = search()
            seconds[name].append(time.process_time() - started)
    return {name: round(1e6 * min(values) / QUERIES, 2) for name, values in seconds.items()}, found


def measure(case: str, scale: float, store: Path | None) -> dict[str, Any]:
    import faiss

    from pertinent.functional.packed import pack_signs
    from pertinent.index import INDEXES

    vectors, queries = made_up(case, scale) if store is None else trained(store, scale)
    asked = pack_signs(queries)
    exact = INDEXES.build("binary", vectors=vectors)
    exact.nearest(asked[:2], K)
    flat = faiss.IndexBinaryFlat(BITS)
    flat.add(exact.items.codes)
    counting = faiss.IndexBinaryFlat(BITS)
    counting.use_heap = False
    counting.add(exact.items.codes)
    cost, found = timed(
        {
            "faiss_flat": lambda: flat.search(asked, K),
            "faiss_flat_counting": lambda: counting.search(asked, K),
            "top": lambda: exact.nearest(asked, K),
            "all_ties": lambda: exact.search_all_ties(queries, K),
        }
    )
    distances = found["top"][0]
    for name in ("faiss_flat", "faiss_flat_counting"):
        np.testing.assert_array_equal(distances, found[name][0])
    fastest = min(cost["faiss_flat"], cost["faiss_flat_counting"])
    result = {
        "cpu_us_a_query": cost,
        "fastest_faiss_flat_over_all_ties": round(fastest / cost["all_ties"], 2),
        "median_100th_distance": float(np.median(distances[:, -1])),
        "found_with_ties": round(len(found["all_ties"].positions) / QUERIES, 1),
    }
    kinds = ("binary_ivf", "binary_hnsw") if case in GRAPHS else ("binary_ivf",)
    for kind in kinds:
        result[kind] = approximate(kind, vectors, asked, lambda: exact.nearest(asked, K))
    return result


def approximate(kind: str, vectors: np.ndarray, asked: np.ndarray, exact: Search) -> dict[str, Any]:
    """Each setting of the effort of a search, and the fastest of them that finds enough."""
    from pertinent.index import INDEXES

    started = time.process_time()
    index = INDEXES.build(kind, vectors=vectors)
    built = time.process_time() - started
    option, values = ("nprobe", PROBES) if kind == "binary_ivf" else ("ef_search", WIDTHS)
    rows = []
    for value in values:
        setattr(index, option, value)
        cost, found = timed({"exact": exact, kind: lambda: index.nearest(asked, K)})
        recall = float((found[kind][0] <= found["exact"][0][:, -1:]).mean())
        times = round(cost["exact"] / cost[kind], 2)
        rows.append({option: value, "cpu_us_a_query": cost[kind], "recall": round(recall, 4), "times_exact": times})
    enough = [row for row in rows if row["recall"] >= RECALL]
    best = max(enough, key=lambda row: row["times_exact"]) if enough else None
    return {"build_cpu_seconds": round(built, 1), "state": index.state(), "rows": rows, "best": best}


def machine(threads: int) -> dict[str, Any]:
    import faiss
    import numba

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load_at_start": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "faiss": faiss.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, action="append", help="may be repeated; default all")
    parser.add_argument("--store", type=Path, help="of a network's outputs of 64 numbers, for the case `trained`")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full number of codes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.case[0], given.scale, given.store if given.case[0] == TRAINED else None)))
        return
    result: dict[str, Any] = {"scale": given.scale, "machine": machine(given.threads), "cases": {}}
    words = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = os.environ | dict.fromkeys(words, str(given.threads))
    cases = given.case or [case for case in CASES if case != TRAINED or given.store]
    if TRAINED in cases and given.store is None:
        parser.error("the case `trained` needs --store")
    for case in cases:
        command = [sys.executable, __file__, "--measure", "--case", case, "--scale", str(given.scale)]
        command += [] if given.store is None else ["--store", str(given.store)]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        result["cases"][case] = found = json.loads(done.stdout.splitlines()[-1])
        print(f"{case:12} {found['cpu_us_a_query']}  faiss over all ties {found['fastest_faiss_flat_over_all_ties']}")
        for kind in ("binary_ivf", "binary_hnsw"):
            if kind in found:
                print(f"{case:12} {kind} built in {found[kind]['build_cpu_seconds']} s, best {found[kind]['best']}")
        sys.stdout.flush()
    if given.scale == 1 and cases == CASES:
        path = HERE / "results" / "codes.json"
        path.write_text(json.dumps(result, indent=1) + "\n")
        print(f"written {path}")


if __name__ == "__main__":
    main()
