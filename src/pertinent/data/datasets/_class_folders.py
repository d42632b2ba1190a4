"""Pictures in folders that are named after their class, as copies of data sets have them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from pertinent.data.images import IMAGE_SUFFIXES


def class_folders(root: Path, places: Sequence[str], name: re.Pattern[str]) -> list[str]:
    """Paths, sorted, of the pictures that lie in folders of a class; hidden files are left out.

    Args:
        root: the paths are relative to it.
        places: where below `root` the folders of classes may lie.
        name: what the whole name of a class folder matches.
    """
    paths = []
    for place in places:
        if not (root / place).is_dir():
            continue
        for folder in sorted(entry.name for entry in os.scandir(root / place) if entry.is_dir()):
            if name.fullmatch(folder):
                prefix = f"{place}/{folder}" if place else folder
                paths += [f"{prefix}/{file}" for file in os.listdir(root / prefix) if _is_picture(file)]
    return sorted(paths)


def _is_picture(file: str) -> bool:
    return not file.startswith(".") and os.path.splitext(file)[1].lower() in IMAGE_SUFFIXES
