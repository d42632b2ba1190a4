"""How fast and how completely a database finds neighbours: `python benchmarks/databases.py URL [COUNT] [DIM]`.

The URL is that of a table or a collection that may be replaced, see `docs/databases.md`.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from numpy.typing import NDArray

from pertinent.functional.neighbours import unit_rows
from pertinent.index import INDEXES, ExactIndex, Where

QUERIES, K = 100, 10


def clustered(rng: np.random.Generator, centres: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Vectors around centres, as those of learned embeddings are."""
    noise = rng.standard_normal((count, centres.shape[1])) * 0.7 / centres.shape[1] ** 0.5
    return unit_rows((centres[rng.integers(0, len(centres), count)] + noise).astype(np.float32))


def main(url: str, count: int = 20_000, dim: int = 128) -> None:
    """Print a line for each structure and filter."""
    rng = np.random.default_rng(0)
    centres = unit_rows(rng.standard_normal((count // 20, dim)).astype(np.float32))
    items, queries = clustered(rng, centres, count), clustered(rng, centres, QUERIES)
    words = [[f"c{row % 100}", f"h{row % 2}"] for row in range(count)]
    known = {"ids": [str(row) for row in range(count)], "words": words}
    filters = {"none": None, "1 of 100": Where(labels=("c1",)), "1 of 2": Where(labels=("h1",))}
    steps = {"none": 1, "1 of 100": 100, "1 of 2": 2}
    for structure in ("flat", "hnsw"):
        start = time.perf_counter()
        index = INDEXES.build(url.partition(":")[0], vectors=items, url=url, structure=structure, replace=True, **known)
        print(f"{structure}: built in {time.perf_counter() - start:.1f} s")
        for name, where in filters.items():
            rows = np.arange(0 if where is None else 1, count, steps[name])
            want = rows[ExactIndex(items[rows]).search(queries, K)[1]]
            index.search(queries[:5], K, where)
            start = time.perf_counter()
            found = [index.search(queries[row : row + 1], K, where)[1][0] for row in range(QUERIES)]
            seconds = time.perf_counter() - start
            recall = np.mean([len(set(a) & set(b)) / K for a, b in zip(found, want, strict=True)])
            print(f"  filter {name}: {1000 * seconds / QUERIES:.1f} ms a query, recall@{K} {recall:.3f}")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
