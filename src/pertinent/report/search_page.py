"""The results of a search as a self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pertinent.data.table import ImageTable
from pertinent.engine.run import Run, open_split
from pertinent.report.contact_sheet import Asked, write_contact_sheet
from pertinent.report.content import Hit
from pertinent.report.stored_pictures import StoredPictures
from pertinent.store import StoreLabels

MOST_QUERIES = 500
"""Queries on a page; a browser shows more only slowly."""


def write_search_page(
    queries: ImageTable,
    results: Sequence[Sequence[dict[str, Any]]],
    path: Path,
    *,
    pictures: StoredPictures | None = None,
    labels: StoreLabels | None = None,
) -> Path:
    """Write a page that shows queries and what was found for each.

    A result is framed by how many labels it shares with its query, where both have some of the same levels.

    Args:
        queries: Q pictures.
        results: Q lists of hits, as `Searcher.search` returns them.
        path: the HTML file.
        pictures: reads the found pictures; by default from where the hits say that they lie.
        labels: those of the collection, for the names of its levels.

    Raises:
        StorageError: the data set no longer holds a picture that was found, or the page cannot be written.
        ImageError: a query that cannot be read.
    """
    pictures, shown = pictures or StoredPictures(), min(len(queries), MOST_QUERIES)
    levels = _shared_levels(queries, labels or StoreLabels())
    asked = []
    for row in range(shown):
        words = queries.label_words(row)
        hits = [
            Hit(
                hit["id"],
                hit["path"],
                [word for word in hit["labels"] if word],
                hit["score"],
                _level(words, hit["labels"], queries.kind) if levels else None,
                pictures.read(hit["id"], hit["path"]),
            )
            for hit in results[row]
        ]
        asked.append(Asked(queries.ids[row], [word for word in words if word], queries.read(row), hits))
    title = f"Found for {Path(queries.ids[0]).name}" if len(queries) == 1 else f"Found for {len(queries):,} pictures"
    return write_contact_sheet(asked, path, title=title, levels=levels, left_out=len(queries) - shown)


def run_pictures(run: Run) -> StoredPictures:
    """Reads the pictures of a run's collection from its data set."""
    data = run.recipe().data
    return StoredPictures(open_split(data, data.test), data.name)


def _shared_levels(queries: ImageTable, labels: StoreLabels) -> Sequence[str]:
    """Names of the label levels, where queries and collection have the same kind of labels; none where they do not."""
    if queries.kind != labels.kind or queries.kind not in ("classes", "tree", "tags"):
        return ()
    if queries.kind == "tags":
        return ("tag",)
    if len(queries.class_names) != len(labels.class_names):
        return ()
    return labels.level_names or ("class",)


def _level(mine: Sequence[str], theirs: Sequence[str], kind: str) -> int | None:
    """Shared labels of a query and a hit; None where the query has none of its own."""
    if not any(mine):
        return None
    if kind == "tags":
        return int(bool(set(mine) & set(theirs)))
    return sum(bool(one) and one == other for one, other in zip(mine, theirs, strict=True))
