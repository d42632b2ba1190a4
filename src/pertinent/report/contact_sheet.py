"""Write the results of a search as an HTML page: one row a query, its results best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pertinent.report.content import Hit, check_levels
from pertinent.report.page import render, write_page
from pertinent.report.severity import severities


@dataclass(frozen=True)
class Asked:
    """One query of a sheet: its name, its label words (finest first), its picture and what was found, best first."""

    name: str
    words: Sequence[str]
    image: Image.Image | None
    hits: Sequence[Hit]


def write_contact_sheet(
    asked: Sequence[Asked],
    path: str | Path,
    *,
    title: str = "Search results",
    levels: Sequence[str] = (),
    left_out: int = 0,
) -> Path:
    """Write queries and their results as one HTML file without external requests; return the path.

    One query is shown large, several each in a row. Hits need no labels: `words` may be empty and `level` None.

    Args:
        asked: the queries.
        path: the HTML file.
        title: of the page.
        levels: names of the label levels from fine to coarse, where the hits carry a level.
        left_out: further queries that the page does not show, and says so.

    Raises:
        InputError: a hit's level lies outside 0..len(levels).
        StorageError: the folder cannot be made or the file cannot be written.
    """
    hits = [hit for query in asked for hit in query.hits]
    check_levels(hits, levels)
    page = render(
        "contact_sheet.html.j2",
        title=title,
        asked=asked,
        scale=severities(levels),
        judged=any(hit.level is not None for hit in hits),
        left_out=left_out,
    )
    return write_page(page, path)
