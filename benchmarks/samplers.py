"""Samplers at the size of iNaturalist 2018: CPU seconds to build one, and to make the batches of an epoch.

    python benchmarks/samplers.py

325,846 images of 5,690 species under 3,438 genera ... 5 kingdoms, as HAPPIER trains on; how many images a species has
is drawn from a log-normal distribution, 2 to some thousand. Figures are the best of `--repeats`, in one thread. They go
to benchmarks/results/samplers.json with the machine's name.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.data.samplers import SAMPLERS

RESULTS = Path(__file__).parent / "results" / "samplers.json"
IMAGES, CLASSES = 325_846, (5_690, 3_438, 961, 249, 54, 23, 5)
EPOCH = IMAGES // 256
SETTINGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("random", {"batch_size": 256}),
    ("m_per_class", {"batch_size": 256}),
    ("balanced", {"batch_size": 256, "size": 2, "balanced": 0.2}),
    ("class_covering", {"batch_size": 256}),
    ("class_covering", {"batch_size": 16_384}),
    ("hierarchical", {"batch_size": 256, "batches": EPOCH}),
    ("hierarchical", {"batch_size": 256, "batches": EPOCH, "level": 2, "super_classes": 8}),
    ("hierarchical", {"batch_size": 256, "batches": EPOCH, "super_classes": [2, 2, 2]}),
    ("hierarchical", {"batch_size": 256, "batches": EPOCH, "super_classes": [2, 2, 2, 2, 2, 2]}),
)


def labels() -> NDArray[np.int64]:
    """A tree of seven levels, `(325846, 7)`, in random order."""
    rng = np.random.default_rng(0)
    shares = rng.lognormal(0, 1.1, CLASSES[0])
    sizes = np.maximum((shares / shares.sum() * IMAGES).astype(np.int64), 2)
    sizes[sizes.argmax()] += IMAGES - sizes.sum()
    columns = [np.repeat(np.arange(CLASSES[0]), sizes)]
    for below, above in itertools.pairwise(CLASSES):
        parent = np.sort(np.concatenate([np.arange(above), rng.integers(0, above, below - above)]))
        columns.append(parent[columns[-1]])
    return rng.permutation(np.stack(columns, axis=1))


def measure(name: str, options: dict[str, Any], tree: NDArray[np.int64], repeats: int) -> dict[str, Any]:
    """One row of the results."""
    seconds = []
    for epoch in range(repeats):
        start = time.process_time()
        sampler = SAMPLERS.build(name, labels=tree, **options)
        built = time.process_time()
        sampler.set_epoch(epoch)
        drawn = sum(len(batch) for batch in sampler)
        seconds.append((built - start, time.process_time() - built))
    build, epoch_seconds = (min(values) for values in zip(*seconds, strict=True))
    return {
        "sampler": name,
        "options": options,
        "batches": len(sampler),
        "images": drawn,
        "build_cpu_seconds": round(build, 4),
        "epoch_cpu_seconds": round(epoch_seconds, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    tree, rows = labels(), []
    repeats = parser.parse_args().repeats
    print(f"{'sampler':15} {'batches':>7} {'images':>8} {'build s':>8} {'epoch s':>8}  options")
    for name, options in SETTINGS:
        row = measure(name, options, tree, repeats)
        rows.append(row)
        figures = f"{row['build_cpu_seconds']:8.3f} {row['epoch_cpu_seconds']:8.3f}"
        print(f"{name:15} {row['batches']:7} {row['images']:8} {figures}  {options}", flush=True)
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "numpy": np.__version__}
    lines = ",\n".join("  " + json.dumps(row) for row in rows)
    inputs = {"images": IMAGES, "classes": CLASSES}
    RESULTS.write_text(f'{{"inputs": {json.dumps(inputs)}, "machine": {json.dumps(machine)}, "rows": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
