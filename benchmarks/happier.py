"""HAPPIER against its baselines at equal budget, three seeds: makes the tables of docs/systems/happier.md.

    python benchmarks/happier.py glyphs
    python benchmarks/happier.py grocery data.root=FOLDER model.pretrained=WEIGHTS

Runs that are finished are not made again; the results go to benchmarks/results/happier-DATA.json.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path

import torch

from pertinent.cli.screen import Screen
from pertinent.engine.building import make_encoder
from pertinent.engine.embed import embed_table
from pertinent.engine.measure import load_evaluation, measure
from pertinent.engine.recipe import Recipe, load_recipe
from pertinent.engine.run import Run, open_split
from pertinent.engine.train import train

SEEDS = (0, 1, 2)
METHODS = {
    "cluster loss only": ["losses.hap=null", "losses.cluster.weight=1"],
    "flat AP": ["losses.hap.level=0"],
    "HAPPIER": [],
}


def frozen(recipe: Recipe) -> dict[str, float]:
    """Metrics of the first weights without any training: the pooled features of the backbone, no head."""
    model = recipe.model.model_copy(update={"dim": None, "layer_norm": "none"})
    torch.manual_seed(recipe.train.seed)
    encoder = make_encoder(recipe.model_copy(update={"model": model}))
    with tempfile.TemporaryDirectory() as folder:
        store = embed_table(encoder, open_split(recipe.data, recipe.data.test), Path(folder) / "frozen")
        return dict(measure(store, recipe.evaluate.metrics).mean)


def trained(recipe: Recipe, folder: Path, title: str) -> dict[str, float]:
    """Metrics of the recipe's last encoder on the test split."""
    run = Run(folder)
    if not (run.index / "index.json").is_file():
        with Screen(title) as listener:
            train(recipe, folder, resume=run.recipe_path.is_file(), listener=listener)
    mean: dict[str, float] = load_evaluation(run.evaluation("best"))["mean"]
    return mean


def table(results: dict[str, list[dict[str, float]]]) -> str:
    """Mean and spread (standard deviation over seeds) in percent, as Markdown."""
    names = list(next(iter(results.values()))[0])
    lines = ["| | " + " | ".join(f"`{name}`" for name in names) + " |", "|---|" + "---|" * len(names)]
    for method, runs in results.items():
        cells = []
        for name in names:
            values = [100 * run[name] for run in runs]
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.1f}{spread}")
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    data, *words = sys.argv[1:]
    first = load_recipe(f"happier/{data}", words)
    results = {"frozen": [frozen(first)]}
    for method, changes in METHODS.items():
        results[method] = []
        for seed in SEEDS:
            recipe = load_recipe(f"happier/{data}", [*changes, f"train.seed={seed}", *words])
            folder = Path("runs") / f"table-{data}" / f"{method.replace(' ', '-')}-{seed}"
            results[method].append(trained(recipe, folder, f"{method}, seed {seed}"))
            print(table({name: runs for name, runs in results.items() if runs}), flush=True)
    target = Path(__file__).parent / "results" / f"happier-{data}.json"
    machine = (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}"
    )
    target.write_text(
        json.dumps(
            {
                "machine": machine,
                "words": [w for w in words if "root" not in w and "pretrained" not in w],
                "results": results,
            },
            indent=1,
        )
        + "\n"
    )
    print(table(results))


if __name__ == "__main__":
    main()
