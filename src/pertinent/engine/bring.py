"""Bringing a published data set into a folder: only what it needs, lists before pictures."""

from __future__ import annotations

from pathlib import Path

from pertinent.data.ledger import Ledger
from pertinent.data.progress import Listener, silent
from pertinent.data.sources import SourceFile, is_done, is_intact, obtain, source
from pertinent.engine.doctor import Diagnosis, look


def needed(name: str, root: Path | str) -> list[SourceFile]:
    """The published files that a data set's folder still needs, lists before archives.

    Archives are needed while pictures are missing: first those that were not unpacked yet, and if all were, all again.

    Raises:
        UnknownNameError: it is not known where the data set is published.
    """
    root, files = Path(root), source(name).each()
    lists = [file for file in files if file.unpack is None and not is_intact(file, root)]
    archives = [file for file in files if file.unpack is not None]
    if archives and _is_whole(name, root):
        # The reader may have found its lists elsewhere; only what we brought is ours to repair.
        ours = Ledger(root).read()
        return [file for file in lists if file.name in ours]
    return [*lists, *([file for file in archives if not is_done(file, root)] or archives)]


def bring(name: str, root: Path | str, files: list[SourceFile], listener: Listener = silent) -> None:
    """Download and unpack files; goes on where an earlier call was interrupted.

    Archives are left out if the data set is whole once its lists are there: then the pictures were there before.

    Args:
        name: of the data set.
        root: its folder, made if there is none.
        files: as `needed` gives them.
        listener: hears what `fetch` and `unpack` tell.

    Raises:
        DataError, StorageError: see `fetch` and `unpack`.
    """
    root = Path(root)
    lists, archives = [file for file in files if file.unpack is None], [file for file in files if file.unpack]
    for file in lists:
        obtain(file, root, listener)
    if lists and archives and _is_whole(name, root):
        return
    for file in archives:
        obtain(file, root, listener)


def _is_whole(name: str, root: Path) -> bool:
    found = Diagnosis(name)
    look(name, root, {}, found)
    return found.healthy
