"""`pertinent dedup`: near duplicates within stores of embeddings, and pictures that leak from one to another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pertinent.cli.screen import Screen, duration
from pertinent.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from pertinent.engine.duplicates import Duplicates
    from pertinent.store import EmbeddingStore

LEAK_STATUS = 3
"""Exit status of `--fail-on-leak` where there is one; errors of the work itself have 1."""

SHOWN = 10


def dedup(
    stores: Annotated[list[Path], typer.Argument(help="Stores, such as those of train and test; or run folders.")],
    above: Annotated[
        float | None, typer.Option(help="Least cosine of a pair, above 0 and at most 1; default 0.95.")
    ] = None,
    bits: Annotated[
        int | None, typer.Option(min=0, help="Compare signs instead: at most so many bits of a pair differ.")
    ] = None,
    keep: Annotated[
        str, typer.Option(help="Of each group: first, or largest in pixels; earlier stores go before later ones.")
    ] = "first",
    between: Annotated[bool, typer.Option("--between", help="Only pairs between stores; faster.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write counts, groups and pairs here.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write one line a pair here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with the groups side by side here.")] = None,
    drop_list: Annotated[Path | None, typer.Option("--list", help="Write the ids to drop here, one a line.")] = None,
    write_clean: Annotated[
        Path | None, typer.Option(help="Write the stores without the pictures to drop into this folder.")
    ] = None,
    fail_on_leak: Annotated[
        bool, typer.Option("--fail-on-leak", help="End with status 3 when two stores share a picture.")
    ] = False,
) -> None:
    """Find near duplicates within stores of embeddings, and pictures that leak between them; nothing is deleted."""
    from pertinent.cli import screen
    from pertinent.engine.duplicates import find_duplicates
    from pertinent.engine.duplicates_export import (
        clean_folders,
        write_clean_stores,
        write_drop_list,
        write_duplicates_csv,
        write_duplicates_json,
    )

    if above is not None and bits is not None:
        raise InputError("--above is a cosine of vectors and --bits a distance of their signs; give one of them")
    if fail_on_leak and len(stores) < 2:
        raise InputError("--fail-on-leak looks between stores; name two or more")
    opened = open_stores(stores)
    if write_clean is not None:
        clean_folders(opened, write_clean)  # better said before the work
    with ComparingScreen() as listener:
        found = find_duplicates(
            opened,
            above=0.95 if above is None else above,
            bits=bits,
            keep=keep,
            between_only=between,
            listener=listener,
        )
    show(found)
    for path, write in ((json, write_duplicates_json), (csv, write_duplicates_csv), (drop_list, write_drop_list)):
        if path is not None:
            write(found, path)
            screen.out.print(f"written {path}", soft_wrap=True)
    if html is not None:
        from pertinent.engine.run import Run
        from pertinent.report.duplicates_page import write_duplicates_page
        from pertinent.report.search_page import run_pictures

        runs = {name: path for name, path in zip(opened, stores, strict=True) if _is_run(path)}
        write_duplicates_page(found, html, {name: run_pictures(Run.open(path)) for name, path in runs.items()})
        screen.out.print(f"page {html}", soft_wrap=True)
    for store in write_clean_stores(found, write_clean) if write_clean is not None else ():
        screen.out.print(f"{len(store):,} embeddings in {store.folder}", soft_wrap=True)
    if fail_on_leak and found.leaks:
        shared = "; ".join(f"{leak.first} and {leak.second} share {leak.of_second:,}" for leak in found.leaks)
        screen.err.print(f"leak: {shared}", style="red", soft_wrap=True)
        raise typer.Exit(LEAK_STATUS)


class ComparingScreen(Screen):
    """A screen that also shows how far the comparing of pictures is."""

    def _compare(self, event: dict[str, Any]) -> None:
        share = event["done"] / max(event["total"], 1)
        words = f"{100 * share:.1f}%  {event['found']:,} pairs found  left {duration(event['eta'])}"
        self._progress("comparing", event["done"], event["total"], words)


def open_stores(paths: Sequence[Path]) -> dict[str, EmbeddingStore]:
    """Stores by the names of their folders, or by their paths where names are alike; a run means its test split."""
    from pertinent.engine.run import Run
    from pertinent.store import EmbeddingStore

    names = [path.resolve().name for path in paths]
    names = [name if names.count(name) == 1 else str(path) for name, path in zip(names, paths, strict=True)]
    index = next((path for path in paths if (path / "index.json").is_file() and (path / "store").is_dir()), None)
    if index is not None:
        raise InputError(f"{index} is an index, and stores are compared; name the one in it: {index / 'store'}")
    folders = [Run.open(path).store("best") if _is_run(path) else path for path in paths]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise InputError(f"a store is given twice: {', '.join(map(str, paths))}; name each once")
    return {name: EmbeddingStore.open(folder) for name, folder in zip(names, folders, strict=True)}


def _is_run(path: Path) -> bool:
    return (path / "recipe.yaml").is_file()


def show(found: Duplicates) -> None:
    """Print what is shared, the first pairs, and how many pictures could go."""
    from pertinent.cli import screen

    screen.out.print(_overlaps(found))
    if found.pairs:
        screen.out.print()
        screen.out.print(_first_pairs(found))
        screen.out.print()
    if len(found.pairs) < found.n_pairs:
        screen.out.print(f"{len(found.pairs):,} of {found.n_pairs:,} pairs are listed; groups and counts are of all")
    largest = max((len(group.members) for group in found.groups), default=0)
    screen.out.print(
        f"groups: {len(found.groups):,}, the largest of {largest:,}; pictures to drop: {len(found.dropped):,}"
        if found.groups
        else "no near duplicates"
    )


def _overlaps(found: Duplicates) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stores")
    for name in ("pairs", "pictures", "same file", "other labels"):
        table.add_column(name, justify="right")
    same = found.same_files
    for overlap in found.overlaps:
        within = overlap.first == overlap.second
        name = f"within {overlap.first}" if within else f"{overlap.first} and {overlap.second}"
        pictures = f"{overlap.of_first:,}" if within else f"{overlap.of_first:,} and {overlap.of_second:,}"
        known = same.get((overlap.first, overlap.second))
        files = "?" if known is None and overlap.pairs else f"{known or 0:,}"
        table.add_row(name, f"{overlap.pairs:,}", pictures, files, f"{overlap.conflicts:,}")
    return table


def _first_pairs(found: Duplicates) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("score", justify="right")
    for name in ("label", "picture", "label", "picture", "why"):
        table.add_column(name, overflow="fold")
    for pair in found.pairs[:SHOWN]:
        one, other = found.place(pair.first), found.place(pair.second)
        why = {"leak": pair.leak, "other label": pair.conflict, "same file": bool(pair.same_file)}
        sides = [cell for side in (one, other) for cell in (side.label, f"{side.store}:{side.id}")]
        table.add_row(f"{pair.score:.4f}", *sides, ", ".join(word for word, true in why.items() if true))
    return table
