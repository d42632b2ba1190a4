"""The results of one search as a self-contained page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pertinent.data.images import decode
from pertinent.engine.run import Run, open_split
from pertinent.errors import StorageError
from pertinent.report.contact_sheet import write_contact_sheet
from pertinent.report.content import Hit


def write_search_page(run: Run, picture: Path, hits: list[dict[str, Any]], path: Path) -> Path:
    """Write a page that shows a picture and what was found for it in a run's collection.

    Args:
        run: gives the data set, from which the found pictures are read.
        picture: the query.
        hits: as `Searcher.search` returns them for one picture.
        path: the HTML file.

    Raises:
        StorageError: the data set no longer holds a picture that was found, or the page cannot be written.
    """
    data = run.recipe().data
    table = open_split(data, data.test)
    rows = {name: row for row, name in enumerate(table.ids)}
    gone = [hit["id"] for hit in hits if hit["id"] not in rows]
    if gone:
        raise StorageError(f"{data.name} no longer holds {gone[0]!r}; embed and index it again")
    shown = [
        Hit(hit["id"], hit["path"], hit["labels"], hit["score"], None, table.read(rows[hit["id"]])) for hit in hits
    ]
    return write_contact_sheet(decode(picture, str(picture)), shown, path, title=f"Found for {picture.name}")
