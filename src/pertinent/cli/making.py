"""Commands that make models: demo, train, check and list."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from pertinent.errors import ConfigError

RecipeName = Annotated[str, typer.Argument(help="A recipe's name, such as happier/glyphs, or a YAML file.")]
Words = Annotated[list[str] | None, typer.Argument(help="Settings to change: key=value, such as train.epochs=5.")]


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Seed of data order, weights and augmentation.")] = 0,
    words: Words = None,
) -> None:
    """Train HAPPIER and a flat baseline on glyphs in minutes, compare them, and write a report."""
    from pertinent.cli.demo import run_demo

    run_demo(out, seed, words or [])


def train(
    recipe: RecipeName,
    words: Words = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/ and the recipe's name.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the run folder's checkpoint.")] = False,
) -> None:
    """Train an encoder by a recipe; measures it before and after, and indexes the test split.

    Several processes train together under torchrun or accelerate launch.
    """
    from pertinent.cli import screen
    from pertinent.cli.using import show_run
    from pertinent.engine.distributed import World
    from pertinent.engine.recipe import load_recipe
    from pertinent.engine.train import train as run_training
    from pertinent.report.collect import report_run

    settings = load_recipe(recipe, words or [])
    folder = out or Path("runs") / Path(recipe).with_suffix("").as_posix().replace("/", "-").lstrip(".-")
    try:
        with screen.Screen() as listener:
            run = run_training(settings, folder, resume=resume, listener=listener)
    except KeyboardInterrupt:
        again = shlex.join(["pertinent", "train", recipe, *(words or []), "--out", str(folder), "--resume"])
        screen.err.print(f"interrupted; go on with: {again}", soft_wrap=True)
        raise SystemExit(130) from None
    if not World.join().leads:
        return
    report_run(run)
    show_run(run)
    search = f"pertinent search {shlex.quote(str(folder))} PICTURE"
    screen.out.print(f"\nreport  {run.report}\nsearch  {search}", soft_wrap=True)


def check(
    recipe: Annotated[str | None, typer.Argument(help="A recipe's name or a YAML file.")] = None,
    words: Words = None,
    all_: Annotated[bool, typer.Option("--all", help="Check every recipe of ours on its data set's example.")] = False,
    pictures: Annotated[bool, typer.Option(help="Also open every picture.")] = False,
) -> None:
    """Tell every problem of a recipe and its data at once, before any work."""
    from pertinent.cli.screen import out
    from pertinent.engine.check import check_recipe
    from pertinent.engine.recipe import load_recipe
    from pertinent.recipes import recipe_names

    if all_ == (recipe is not None):
        raise ConfigError(["give one recipe, or --all for every recipe that comes with Pertinent"], "check")
    if all_:
        _check_all(recipe_names())
        return
    assert recipe is not None
    found = check_recipe(load_recipe(recipe, words or []), pictures=pictures)
    for warning in found.warnings:
        out.print(f"note: {warning}", soft_wrap=True)
    if found.problems:
        raise ConfigError(found.problems, recipe)
    out.print(f"{recipe}: right; {found.summary}", soft_wrap=True)


def _check_all(names: Sequence[str]) -> None:
    """Every recipe with the example of its data set."""
    from pertinent.cli.screen import out
    from pertinent.engine.check import check_recipe
    from pertinent.engine.example import example_recipe

    problems = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            found = check_recipe(example_recipe(name, Path(folder)), pictures=True)
        problems += [f"{name}: {problem}" for problem in found.problems]
        out.print(f"{name}: {'wrong' if found.problems else 'right'} on the example of its data set", soft_wrap=True)
    if problems:
        raise ConfigError(problems, "check --all")


def list_(
    what: Annotated[
        str,
        typer.Argument(
            help="losses, metrics, datasets, samplers, indexes, stages, origins, trackers, protocols, recipes, "
            "backbones or models."
        ),
    ] = "",
    pattern: Annotated[str, typer.Argument(help="For backbones and models: a pattern such as 'resnet*'.")] = "*",
) -> None:
    """List what there is, with one line each."""
    from pertinent.cli.listing import show_list

    show_list(what, pattern)
