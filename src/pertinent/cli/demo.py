"""`pertinent demo`: HAPPIER against a flat baseline of equal budget on glyphs, in minutes, with a report."""

from __future__ import annotations

import shlex
import shutil
import time
from pathlib import Path

from pertinent.cli import screen
from pertinent.engine.measure import load_evaluation
from pertinent.engine.recipe import load_recipe
from pertinent.engine.run import Run, open_split
from pertinent.engine.train import train
from pertinent.report.collect import report_run

RECIPE = "happier/glyphs"
# The same recipe, blind to everything but the finest label: what a flat AP loss is.
FLAT = "losses.hap.level=0"


def run_demo(folder: Path, seed: int, words: list[str]) -> None:
    """Train both, compare them on unseen characters, and say where the report is and how to search.

    Args:
        folder: holds the runs `flat` and `happier`; what an earlier demo left there is replaced.
        seed: seed of both runs.
        words: further settings of both runs.
    """
    started = time.monotonic()
    screen.out.print("HAPPIER on glyphs: signs of many writing systems, badly photographed; characters of the test")
    screen.out.print("are never seen in training. Drawing them takes a moment the first time.\n")
    runs = {}
    for name, extra in (("flat", [FLAT]), ("happier", [])):
        recipe = load_recipe(RECIPE, [f"train.seed={seed}", *extra, *words])
        _remove(folder / name)
        with screen.Screen(name) as listener:
            runs[name] = train(recipe, folder / name, listener=listener)
    report = report_run(runs["happier"], {"flat AP": runs["flat"]}, "HAPPIER")
    _show(runs)
    picture = _save_query(runs["happier"], folder)
    screen.out.print(f"\nreport   {report}", soft_wrap=True)
    search = shlex.join(["pertinent", "search", str(folder / "happier"), str(picture)])
    screen.out.print(f"search   {search}", soft_wrap=True)
    screen.out.print(f"\ndone in {screen.duration(time.monotonic() - started)}")


def _show(runs: dict[str, Run]) -> None:
    before = load_evaluation(runs["happier"].evaluation("before"))
    flat, happier = (load_evaluation(runs[name].evaluation("best")) for name in ("flat", "happier"))
    columns = {"before": before["mean"], "flat AP": flat["mean"], "HAPPIER": happier["mean"]}
    screen.out.print("\nOn unseen characters, in percent (.0 the same character, .1 the same script):")
    screen.out.print(screen.metric_table(columns, conventions=happier["convention"]))


def _save_query(run: Run, folder: Path) -> Path:
    recipe = run.recipe()
    path = folder / "query.png"
    open_split(recipe.data, recipe.data.test).read(0).save(path)
    return path


def _remove(folder: Path) -> None:
    # Only ever a run: a folder without a recipe is somebody's, and training will refuse to write into it.
    if (folder / "recipe.yaml").is_file():
        shutil.rmtree(folder)
