"""`pertinent datasets`: which there are, bringing them, and saying what is wrong with one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pertinent.data.sources import Source, SourceFile

_NAMED = 12

Name = Annotated[str, typer.Argument(help="A data set, see `pertinent datasets list`.")]
Root = Annotated[Path, typer.Argument(help="The data set's folder.")]


def group(guard: Callable[[Callable[..., None]], Callable[..., None]]) -> typer.Typer:
    """The commands as one group; `guard` turns their errors into messages."""
    app = typer.Typer(help="List, download, check and write data sets.", no_args_is_help=True, rich_markup_mode=None)
    for name, member in (("list", list_), ("download", download), ("doctor", doctor), ("write", write)):
        app.command(name)(guard(member))
    return app


def list_() -> None:
    """List the published data sets that can be read: labels, splits, where they come from, licence."""
    from rich.table import Table

    from pertinent.cli.screen import out
    from pertinent.data.datasets import DATASETS
    from pertinent.data.sources import sources

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("name", "labels", "splits", "from", "licence"):
        table.add_column(title, overflow="fold", no_wrap=title == "name")
    for name, source in sorted(sources().items()):
        place = ", ".join(source.hosts) or "by hand"
        table.add_row(name, ", ".join(source.labels), ", ".join(source.splits), place, source.licence)
    out.print(table)
    own = ", ".join(name for name in DATASETS.names() if name not in sources())
    out.print(f"\nfrom your own files, or made here: {own}; see pertinent list datasets", soft_wrap=True)


def download(
    name: Name,
    root: Root,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Bring a data set's files from its publisher, checked and unpacked; goes on where it was interrupted.

    What is there already is left alone. Ends with what `pertinent datasets doctor` says.
    """
    from pertinent.cli.data_screen import DataScreen
    from pertinent.data.sources import source
    from pertinent.engine.bring import bring, needed

    published = source(name)
    files = needed(name, root)
    _announce(published, root, files)
    if files and not yes and not typer.confirm("Download?"):
        raise SystemExit(1)
    listener = DataScreen()
    with listener:
        bring(name, root, files, listener)
    _say_unverified(listener.unverified, root)
    doctor(name, root)


def doctor(
    name: Name,
    root: Root,
    words: Annotated[list[str] | None, typer.Argument(help="Options of the reader: key=value.")] = None,
    pictures: Annotated[bool, typer.Option("--pictures", help="Also decode every picture.")] = False,
    save: Annotated[
        Path | None, typer.Option("--json", help="Also write all of it here, every missing or damaged picture named.")
    ] = None,
) -> None:
    """Say what a data set on disk lacks or has damaged, and what to do; exit status 0 when it is healthy, else 1."""
    from pertinent.cli.data_screen import DataScreen
    from pertinent.cli.screen import out
    from pertinent.config import apply_words
    from pertinent.engine.doctor import NAMED, diagnose
    from pertinent.files import write_json

    with DataScreen() as listener:
        found = diagnose(name, root, apply_words({}, words or []), pictures=pictures, listener=listener)
    if found.splits:
        out.print(f"pictures: {', '.join(f'{split} {count:,}' for split, count in found.splits.items())}")
    for text in found.notes:
        out.print(f"note: {text}", soft_wrap=True)
    for text in found.problems:
        out.print(f"problem: {text}", soft_wrap=True)
    if save is not None:
        write_json(save, found.to_json())
        out.print(f"all of it in {save}", soft_wrap=True)
    elif len(found.pictures) > NAMED:
        out.print(f"{len(found.pictures):,} pictures are missing or damaged; --json FILE names each", soft_wrap=True)
    out.print(found.advice, soft_wrap=True)
    if not found.healthy:
        raise SystemExit(1)


def write(
    source: Annotated[str, typer.Argument(help="DATASET:SPLIT, or a folder of pictures.")],
    folder: Annotated[Path, typer.Argument(help="Folder to write; it must be empty.")],
    root: Annotated[Path | None, typer.Option(help="Folder of the data set.")] = None,
    options: Annotated[
        list[str] | None, typer.Option("--option", help="Option of the data set as key=value; may be repeated.")
    ] = None,
) -> None:
    """Write a split as plain files: pictures with a list of labels, or a landmark benchmark with its ground truth."""
    from pertinent.cli.data_screen import DataScreen
    from pertinent.cli.embedding import open_source
    from pertinent.cli.screen import out
    from pertinent.data.progress import Progress
    from pertinent.data.writing import write_split

    table = open_source(source, root, options or ())
    with DataScreen() as listener:
        progress = Progress("write", folder.name, len(table), listener)
        made = write_split(table, folder, folder.name, lambda: progress.add(1))
    out.print(f"{len(table):,} pictures in {folder}, what is known of them in {made}", soft_wrap=True)


def _announce(published: Source, root: Path, files: list[SourceFile]) -> None:
    """Say what would be downloaded, from where, how much, and under which licence."""
    from concurrent.futures import ThreadPoolExecutor

    from pertinent.cli.data_screen import amount
    from pertinent.cli.screen import out
    from pertinent.data.https import remote_size

    if published.by_hand:
        out.print(f"by hand: {published.by_hand}; see {published.page}", soft_wrap=True)
    new = [file for file in files if not (root / file.name).exists()]
    if not new:
        out.print(f"{root}: nothing to download", soft_wrap=True)
        return
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(lambda file: remote_size(file.url), new))
    for file, size in list(zip(new, sizes, strict=True))[:_NAMED]:
        doubt = "  (an address that its publisher does not write so)" if file.recalled else ""
        out.print(f"{amount(size):>10}  {file.url}{doubt}", soft_wrap=True)
    if len(new) > _NAMED:
        out.print(f"            and {len(new) - _NAMED} more", soft_wrap=True)
    total = amount(sum(size or 0 for size in sizes)) + (" or more" if None in sizes else "")
    out.print(f"{total} into {root}; licence: {published.licence}; see {published.page}", soft_wrap=True)


def _say_unverified(names: list[str], root: Path) -> None:
    from pertinent.cli.screen import out

    if names:
        shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        out.print(
            f"note: the publisher gives no checksum of {shown}; those of this download are noted in "
            f"{root / '.downloads.json'}, and later ones are compared with them",
            soft_wrap=True,
        )
