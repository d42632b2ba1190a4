"""Write the results of one search as a small HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from pertinent.report.content import Hit, check_levels
from pertinent.report.page import render, write_page
from pertinent.report.severity import severities


def write_contact_sheet(
    query_image: Image.Image,
    hits: Sequence[Hit],
    path: str | Path,
    *,
    title: str = "Search results",
    levels: Sequence[str] = (),
) -> Path:
    """Write a query and its results, best first, as one HTML file without external requests; return the path.

    Hits need no labels: `words` may be empty and `level` None. `levels` names the label levels from fine to coarse
    where the hits carry a level.

    Raises:
        InputError: a hit's level lies outside 0..len(levels).
        StorageError: the folder cannot be made or the file cannot be written.
    """
    check_levels(hits, levels)
    judged = any(hit.level is not None for hit in hits)
    scale = severities(levels)
    page = render("contact_sheet.html.j2", title=title, query=query_image, hits=hits, scale=scale, judged=judged)
    return write_page(page, path)
