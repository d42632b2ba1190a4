"""Methods against each other at equal budget, three seeds each: makes the tables of docs/systems.

    python benchmarks/methods.py happier/glyphs
    python benchmarks/methods.py happier/grocery data.root=FOLDER model.pretrained=WEIGHTS
    python benchmarks/methods.py hist/omniglot data.root=FOLDER
    python benchmarks/methods.py dirtorch/glyphs

Words are set in every recipe; `--only NAME` measures one method and keeps the results of the others. Runs that are
finished are not made again. The results go to benchmarks/results/SYSTEM-DATA.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
from pathlib import Path

import torch

from pertinent.cli.screen import Screen
from pertinent.engine.building import make_encoder
from pertinent.engine.embed import embed_table
from pertinent.engine.evaluate import evaluate_all
from pertinent.engine.judging import make_trial
from pertinent.engine.measure import measure
from pertinent.engine.recipe import Recipe, load_recipe
from pertinent.engine.run import Run, open_split
from pertinent.engine.train import train
from pertinent.store import EmbeddingStore

SEEDS = (0, 1, 2)
# By system and data: each method's recipe, and what differs from it.
Method = tuple[str, list[str]]
PROXY_RATE = ["optim={name: adam, lr: 0.05, schedule: {name: cosine, per: step, rise_epochs: 1}}"]
HAPPIER = {
    "cluster loss only": ["losses.hap=null", "losses.cluster.weight=1"],
    "flat AP": ["losses.hap.level=0"],
    "HAPPIER": [],
}
CSL = {
    "CSL": [
        "losses.hap=null",
        "losses.cluster=null",
        "losses.csl.margins=[0.25, 0.45]",
        *(f"losses.csl.{word}" for word in PROXY_RATE),
    ]
}
NO_HIST = ["losses.hist=null", "optim.groups={}"]
HIST = {
    "proxies": [*NO_HIST, "losses.cluster.weight=1", *(f"losses.cluster.{word}" for word in PROXY_RATE)],
    "pairs": [*NO_HIST, "losses.pml.inner=MultiSimilarityLoss"],
    "no hypergraph": ["losses.hist.lambda_s=0"],
    "no distribution loss": ["losses.hist.lambda_d=0"],
    "HIST": [],
}
HASHING = {
    "DSH": ["losses.hyp2=null", "losses.dsh.weight=1"],
    "DPSH": ["losses.hyp2=null", "losses.dpsh.weight=1"],
    "DHN": ["losses.hyp2=null", "losses.dhn.weight=1"],
    "HashNet": ["losses.hyp2=null", "losses.hashnet.weight=1"],
    "DCH": ["losses.hyp2=null", "losses.dch.weight=1"],
    "IDHN": ["losses.hyp2=null", "losses.idhn.weight=1"],
    "CSQ": ["losses.hyp2=null", "losses.csq.weight=1"],
    "DPN": ["losses.hyp2=null", "losses.dpn.weight=1"],
    "OrthoHash": ["losses.hyp2=null", "losses.orthohash.weight=1", "model.output=batch_norm"],
    "GreedyHash": ["losses.hyp2=null", "losses.greedyhash.weight=1"],
    "proxies only": ["losses.hyp2.beta=0"],
    "HyP2": [],
}
EXPERIMENTS: dict[str, dict[str, Method]] = {
    **{
        f"happier/{data}": {name: (f"happier/{data}", words) for name, words in (CSL | HAPPIER).items()}
        for data in ("glyphs", "omniglot")
    },
    **{
        f"hist/{data}": {name: (f"hist/{data}", words) for name, words in HIST.items()}
        for data in ("glyphs", "omniglot")
    },
    "happier/grocery": {name: ("happier/grocery", words) for name, words in HAPPIER.items()},
    **{
        f"hyp2/glyphs-{bits}": {name: ("hyp2/glyphs", [f"bits={bits}", *words]) for name, words in HASHING.items()}
        for bits in (16, 32, 48)
    },
    "dirtorch/glyphs": {"TL-GeM": ("dirtorch/glyphs-tl-gem", []), "AP-GeM": ("dirtorch/glyphs-ap-gem", [])},
}


def frozen(recipe: Recipe) -> dict[str, float]:
    """Metrics of the first weights without any training: the pooled features of the backbone, no head."""
    model = recipe.model.model_copy(update={"dim": None, "layer_norm": "none", "head_start": "torch"})
    torch.manual_seed(recipe.train.seed)
    encoder = make_encoder(recipe.model_copy(update={"model": model}))
    with tempfile.TemporaryDirectory() as folder:
        store = embed_table(encoder, open_split(recipe.data, recipe.data.test), Path(folder) / "frozen")
        return measured(store, recipe)


def measured(store: EmbeddingStore, recipe: Recipe) -> dict[str, float]:
    """The recipe's metrics of a store; of judged queries by every protocol."""
    if store.labels.kind != "judged":
        return dict(measure(store, recipe.evaluate.metrics, recipe.evaluate.similarity).mean)
    trial = make_trial(store)
    reports = evaluate_all(
        trial.queries, trial.gallery, relevances=trial.relevances, metrics=list(recipe.evaluate.metrics)
    )
    return {f"{metric} {word}": value for word, report in reports.items() for metric, value in report.mean.items()}


def trained(recipe: Recipe, folder: Path, title: str) -> dict[str, float]:
    """Metrics of the recipe's last encoder on the test split."""
    run = Run(folder)
    if not (run.index / "index.json").is_file():
        with Screen(title) as listener:
            train(recipe, folder, resume=run.recipe_path.is_file(), listener=listener)
    return measured(EmbeddingStore.open(run.store("best")), recipe)


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=EXPERIMENTS)
    parser.add_argument("words", nargs="*", metavar="key=value")
    parser.add_argument("--only", action="append", help="a method's name; may be repeated")
    options = parser.parse_args()
    methods, name = EXPERIMENTS[options.experiment], options.experiment.replace("/", "-")
    target = Path(__file__).parent / "results" / f"{name}.json"
    known = json.loads(target.read_text())["results"] if target.is_file() else {}
    first = load_recipe(next(iter(methods.values()))[0], options.words)
    results = {"frozen": known["frozen"] if options.only and known else [frozen(first)]}
    for method, (recipe_name, changes) in methods.items():
        if options.only and method not in options.only:
            results[method] = known.get(method, [])
            continue
        results[method] = []
        for seed in SEEDS:
            recipe = load_recipe(recipe_name, [*changes, f"train.seed={seed}", *options.words])
            folder = Path("runs") / f"table-{name}" / f"{method.replace(' ', '-')}-{seed}"
            results[method].append(trained(recipe, folder, f"{method}, seed {seed}"))
            print(table({name: runs for name, runs in results.items() if runs}), flush=True)
    machine = (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}"
    )
    words = [word for word in options.words if "root" not in word and "pretrained" not in word]
    target.write_text(json.dumps({"machine": machine, "words": words, "results": results}, indent=1) + "\n")
    print(table({name: runs for name, runs in results.items() if runs}))


if __name__ == "__main__":
    main()
