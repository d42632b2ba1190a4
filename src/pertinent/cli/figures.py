"""`pertinent figures`: the figures of papers, from runs or stores, in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pertinent.errors import InputError

if TYPE_CHECKING:
    from pertinent.report._figure_set import LeftOut


def figures(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for pictures, numbers and index.html.")],
    targets: Annotated[
        list[Path] | None, typer.Argument(metavar="[RUN]...", help="Runs, or stores of embeddings; a line each.")
    ] = None,
    query: Annotated[list[Path] | None, typer.Option(help="Store of queries, with --gallery; may be repeated.")] = None,
    gallery: Annotated[list[Path] | None, typer.Option(help="Store that --query is searched in.")] = None,
    store: Annotated[str, typer.Option(help="Which embeddings of a run: best, before or val.")] = "best",
    names: Annotated[str | None, typer.Option(help="Comma-separated names of the lines.")] = None,
    group: Annotated[
        bool, typer.Option("--group", help="Runs that differ in train.seed alone are one line with a band.")
    ] = False,
    similarity: Annotated[
        str | None, typer.Option(help="hamming or cosine, also dot or euclidean; default hamming for tags.")
    ] = None,
    ties: Annotated[str | None, typer.Option(help="expected or index; default expected for hamming.")] = None,
    metrics: Annotated[str | None, typer.Option(help="Comma-separated names, for the table of metrics.")] = None,
    tsne_items: Annotated[int, typer.Option(help="Most items that t-SNE lays out.")] = 2000,
) -> None:
    """Draw the figures of a paper: top-N, precision and recall, metrics, convergence, t-SNE and codes.

    Every figure is written as SVG, PNG and CSV, and index.html shows them all; what cannot be drawn is told.
    """
    from pertinent.cli import screen
    from pertinent.report._contenders import name_contenders, open_contender, open_pair
    from pertinent.report._figure_files import PAGE, write_figures
    from pertinent.report._figure_set import Asked, make_figures

    pairs = list(zip(query or (), gallery or (), strict=False))
    if len(query or ()) != len(gallery or ()):
        raise InputError(f"every --query needs its --gallery; got {len(query or ())} and {len(gallery or ())}")
    if names is not None and not _words(names):
        raise InputError("--names names no line; write one name a line, or leave it out")
    contenders = [open_contender(path, store) for path in targets or ()] + [open_pair(*pair) for pair in pairs]
    lines = name_contenders(contenders, _words(names), group)
    asked = Asked(similarity, ties, None if metrics is None else _words(metrics), tsne_items)
    made = make_figures(lines, asked)
    write_figures(made, out)
    screen.out.print(f"ranked by {made.similarity}, equal scores: {made.ties}", soft_wrap=True)
    for figure in made.figures:
        screen.out.print(f"{figure.key:17} {figure.title}", soft_wrap=True)
    for note in made.notes:
        screen.err.print(f"note: {note}", soft_wrap=True)
    for text in _reasons(made.left_out):
        screen.err.print(text, soft_wrap=True)
    screen.out.print(f"\nfigures are in {out}; open {out / PAGE}", soft_wrap=True)


def _words(text: str | None) -> list[str]:
    return [] if text is None else [word.strip() for word in text.split(",") if word.strip()]


def _reasons(left_out: Sequence[LeftOut]) -> list[str]:
    """One line a reason, with all figures that it keeps from being drawn."""
    found: dict[tuple[str, str], list[str]] = {}
    for item in left_out:
        found.setdefault((item.name, item.reason), []).append(item.figure)
    return [f"left out {', '.join(keys)} of {name}: {reason}" for (name, reason), keys in found.items()]
