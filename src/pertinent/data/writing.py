"""A split as plain files: pictures with a list of their labels, or a landmark benchmark with its ground truth."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from pertinent.data.ground_truth import GroundTruth
from pertinent.data.table import ImageTable
from pertinent.errors import DataError
from pertinent.files import new_file, refuse_strangers, write_text

IMAGES, LIST = "jpg", "labels.csv"
QUALITY = 95


def write_split(table: ImageTable, folder: Path, name: str, progress: Callable[[], None] | None = None) -> Path:
    """Write pictures as JPEG into `jpg/`, cut to their boxes, and beside them what is known of them.

    Judged pictures become a benchmark in the layout of the revisited Oxford and Paris: `gnd_NAME.pkl` with `imlist`,
    `qimlist` and `gnd`, in which the queries are no items. Read it with the reader `landmarks`. Others become a list
    `labels.csv`, with a column for each level, or one of tags; read it with the reader `csv`.

    Args:
        table: the split.
        folder: where; it must not hold anything yet.
        name: of the ground truth.
        progress: called after each picture.

    Returns:
        the ground truth or the list.

    Raises:
        StorageError: the folder holds files, or cannot be written.
        DataError: a query that is relevant to another one.
        ImageError: a picture that cannot be read.
    """
    refuse_strangers(folder, ())
    stems = _stems(table.ids)
    truth = _truth(table, stems) if table.kind == "judged" else None
    for row, stem in enumerate(stems):
        with new_file(folder / IMAGES / f"{stem}.jpg") as file:
            table.read(row).save(file, "JPEG", quality=QUALITY, subsampling=0)
        if progress is not None:
            progress()
    if truth is not None:
        truth.save(folder / f"gnd_{name}.pkl")
        return folder / f"gnd_{name}.pkl"
    write_text(folder / LIST, _list(table, stems))
    return folder / LIST


def _stems(ids: Sequence[str]) -> list[str]:
    """File names without folders and endings, each once."""
    return [f"{number:06d}_{Path(name.replace('/', '-').replace('#', '-')).stem}" for number, name in enumerate(ids)]


def _truth(table: ImageTable, stems: Sequence[str]) -> GroundTruth:
    asked = [judgement.query for judgement in table.judgements]
    queries = set(asked)
    items = [row for row in range(len(table) - table.probes) if row not in queries]
    place = {row: number for number, row in enumerate(items)}
    records = []
    for judgement in table.judgements:
        lists = {"ok": judgement.ok} if judgement.ok else {"easy": judgement.easy, "hard": judgement.hard}
        record = {}
        for word, rows in {**lists, "junk": judgement.junk}.items():
            if any(row in queries for row in rows):
                asking = table.ids[judgement.query]
                raise DataError(f"query {asking} has a query under {word}, but queries are no items of a benchmark")
            record[word] = [place[row] for row in rows]
        records.append(record)
    sizes = [table.read(row).size for row in asked]
    boxes = [(0.0, 0.0, float(width), float(height)) for width, height in sizes]
    return GroundTruth([stems[row] for row in items], [stems[row] for row in asked], records, boxes)


def _list(table: ImageTable, stems: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ["tags"] if table.kind == "tags" else list(table.level_names)
    writer.writerow(["path", *columns])
    for row, stem in enumerate(stems):
        words = table.label_words(row)
        cells = [";".join(words)] if table.kind == "tags" else words
        writer.writerow([f"{IMAGES}/{stem}.jpg", *cells])
    return text.getvalue()
