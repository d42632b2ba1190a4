"""`pertinent search`: with one picture, many, or a folder of them, in a run's collection or an index."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pertinent.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

    from pertinent.data.table import Box, ImageTable
    from pertinent.engine.search import Searcher
    from pertinent.index import Where
    from pertinent.report.stored_pictures import StoredPictures

BATCH = 64
"""Pictures that are embedded and searched with at once."""


def search(
    target: Annotated[Path, typer.Argument(help="A run folder, or an index folder with --model.")],
    pictures: Annotated[
        list[str], typer.Argument(help="Pictures to search for; folders of them; or one DATASET:SPLIT with --root.")
    ],
    k: Annotated[int, typer.Option("-k", min=1, help="How many results.")] = 10,
    model: Annotated[Path | None, typer.Option(help="Encoder folder, where the target is an index.")] = None,
    region: Annotated[
        str | None, typer.Option(help="Search for this part of the one picture: left,top,right,bottom in its pixels.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Find only items that carry this label, at any level; may be repeated.")
    ] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(help="Find only items with key=value; a key given twice may have either value.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines, one a picture.")] = False,
    html: Annotated[Path | None, typer.Option(help="Also write a page of the results here.")] = None,
    items: Annotated[
        str | None,
        typer.Option(help="Where the page finds the collection's pictures: a folder, or DATASET:SPLIT with --root."),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the data set.")] = None,
) -> None:
    """Find the pictures most like yours: paths, scores and labels; on a page too, framed by how right they are."""
    from pertinent.cli import screen
    from pertinent.engine.search import open_searcher

    if items is not None and html is None:
        raise InputError(f"--items {items} is for the page; add --html FILE, or leave it out")
    named = any(is_data_set(word) for word in (*pictures, *([] if items is None else [items])))
    if root is not None and not named:
        raise InputError(f"--root {root} is the folder of a data set; give one as DATASET:SPLIT")
    queries = open_queries(pictures, root, None if region is None else box_of(region))
    where = where_of(label or (), metadata or ())
    searcher = open_searcher(target, model)
    # Whatever the page needs is asked for before the work.
    shown = None if html is None else page_pictures(target, items, root)
    results = []
    for name, hits in found(searcher, queries, k, where, quiet=as_json):
        results.append(hits)
        if as_json:
            screen.out.out(json.dumps({"query": name, "hits": hits}, ensure_ascii=False), highlight=False)
        else:
            show_hits(name, hits, searcher.index.store.labels.between)
    if html is not None:
        from pertinent.report.search_page import write_search_page

        write_search_page(queries, results, html, pictures=shown, labels=searcher.index.store.labels)
        # Lines of JSON stay the only ones.
        (screen.err if as_json else screen.out).print(f"page {html}", soft_wrap=True)


@dataclass(frozen=True)
class Files:
    """Pictures at any paths."""

    paths: Sequence[Path]

    def read(self, index: int) -> Image.Image:
        """Decode picture `index`; raises ImageError."""
        from pertinent.data.images import decode

        return decode(self.paths[index])

    def where(self, index: int) -> str:
        """Path of picture `index`."""
        return str(self.paths[index])

    def __len__(self) -> int:
        return len(self.paths)


def open_queries(words: Sequence[str], root: Path | None = None, box: Box | None = None) -> ImageTable:
    """The pictures to search for: files and folders, or one folder or DATASET:SPLIT with its labels.

    Raises:
        InputError: a picture given twice, a data set beside others, or a box and not one picture.
        StorageError: no such folder or data set.
    """
    from pertinent.cli.embedding import open_source
    from pertinent.data.datasets.folder import Folder
    from pertinent.data.table import ImageTable

    sources = [word for word in words if is_data_set(word)]
    if sources and len(words) > 1:
        raise InputError(f"{sources[0]} is a data set, which is searched for alone; leave out the others")
    if sources or (len(words) == 1 and Path(words[0]).is_dir()):
        table = open_source(words[0], root if sources else None)
        if box is not None:
            raise InputError(f"--region is a part of one picture; {words[0]} holds {len(table)}")
        return table
    paths: list[Path] = []
    for word in words:
        inside = Folder.unlabelled(word) if Path(word).is_dir() else None
        paths += [Path(word)] if inside is None else [Path(inside.source.where(row)) for row in range(len(inside))]
    names = [str(path) for path in paths]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise InputError(f"{twice} is given twice; name each picture once")
    if box is not None and len(paths) != 1:
        raise InputError(f"--region is a part of one picture, got {len(paths)}")
    return ImageTable(names, Files(paths), boxes={} if box is None else {0: box})


def is_data_set(word: str) -> bool:
    """Whether a word means DATASET:SPLIT, and no file or folder of that name."""
    return ":" in word and not Path(word).exists()


def box_of(words: str) -> Box:
    """A box from `left,top,right,bottom`; raises InputError where it is none."""
    try:
        left, top, right, bottom = (float(word) for word in words.split(","))
    except ValueError:
        raise InputError(f"--region is four numbers left,top,right,bottom in pixels, got {words!r}") from None
    if not (0 <= left < right and 0 <= top < bottom):
        raise InputError(f"--region must have left < right and top < bottom, all at least 0, got {words!r}")
    return left, top, right, bottom


def page_pictures(target: Path, items: str | None, root: Path | None) -> StoredPictures:
    """Reads the found pictures: from the source that is named, the run's data set, or where the hits say they lie."""
    from pertinent.cli.embedding import open_source
    from pertinent.engine.run import Run
    from pertinent.report.search_page import run_pictures
    from pertinent.report.stored_pictures import StoredPictures

    if items is not None:
        return StoredPictures(open_source(items, root if is_data_set(items) else None), items)
    return run_pictures(Run.open(target)) if (target / "recipe.yaml").is_file() else StoredPictures()


def where_of(labels: Sequence[str], metadata: Sequence[str]) -> Where:
    """Which items may be found, from label words and `key=value` words; numbers, true and false are read as such.

    Raises:
        InputError: a word without `=`, or a value that metadata cannot hold.
    """
    import yaml

    from pertinent.index import Where

    values: dict[str, list[Any]] = {}
    for word in metadata:
        key, equals, value = word.partition("=")
        if not equals:
            raise InputError(f"--metadata is key=value, got {word!r}")
        try:
            read = yaml.safe_load(value)
        except yaml.YAMLError:
            read = value
        # A date or a list is meant as it was written.
        values.setdefault(key, []).append(read if isinstance(read, int | float) else value)
    return Where(tuple(labels), values)


def found(
    searcher: Searcher, queries: ImageTable, k: int, where: Where, *, quiet: bool
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Where each query lies and what was found for it; tells how far the work is where there is much of it."""
    from pertinent.cli.screen import Screen
    from pertinent.engine.events import Rate

    rate = Rate(len(queries))
    with Screen() as listener:
        for start in range(0, len(queries), BATCH):
            rows = range(start, min(start + BATCH, len(queries)))
            results = searcher.search([queries.read(row) for row in rows], k, where)
            for row, hits in zip(rows, results, strict=True):
                yield queries.source.where(row), hits
            paced = rate.add(len(rows))
            if not quiet and len(queries) > BATCH:
                listener({"event": "embed", "stage": "searching", "done": rate.done, "total": len(queries), **paced})


def show_hits(name: str, hits: Sequence[dict[str, Any]], between: str) -> None:
    """Print one query's results as a table, with this between the labels of a picture."""
    from rich.table import Table

    from pertinent.cli import screen

    if not hits:
        screen.out.print(f"{name}: no item matches", soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False, header_style="bold", title=name, title_justify="left")
    table.add_column("score", justify="right")
    table.add_column("label", overflow="fold")
    table.add_column("picture", overflow="fold")
    for hit in hits:
        table.add_row(f"{hit['score']:.4f}", between.join(hit["labels"]), hit["path"])
    screen.out.print(table)
