"""Read the ground truth of landmark benchmarks: which items are easy, hard and junk for each query."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pertinent.data.plain_pickle import read_plain_pickle
from pertinent.errors import DataError, StorageError
from pertinent.files import read_json, write_bytes, write_json

_LISTS = ("easy", "hard", "junk", "ok")


@dataclass(frozen=True)
class GroundTruth:
    """What people said of a landmark benchmark's queries.

    Attributes:
        items: names of the G gallery images.
        queries: names of the Q query images.
        records: for each query its lists `easy`, `hard`, `junk` (revisited) or `ok`, `junk` (classic) of positions in
            `items`; what `Relevance.judged` takes.
        boxes: for each query the part of its image to use, (left, top, right, bottom) in pixels; empty without any.
    """

    items: Sequence[str]
    queries: Sequence[str]
    records: Sequence[Mapping[str, Sequence[int]]]
    boxes: Sequence[tuple[float, float, float, float]] = ()

    @property
    def protocols(self) -> tuple[str, ...]:
        """Protocols that the lists allow."""
        return ("classic",) if "ok" in self.records[0] else ("easy", "medium", "hard")

    def save(self, path: Path) -> None:
        """Write it as JSON, which is safe to pass on, or as a pickle, the published form, where it ends in `.pkl`.

        Raises:
            StorageError: the file cannot be written.
        """
        records: list[dict[str, Any]] = [{word: list(ids) for word, ids in record.items()} for record in self.records]
        for record, box in zip(records, self.boxes, strict=False):
            record["bbx"] = list(box)
        content = {"imlist": list(self.items), "qimlist": list(self.queries), "gnd": records}
        if path.suffix == ".pkl":
            write_bytes(path, pickle.dumps(content, protocol=2))
        else:
            write_json(path, content)


def read_ground_truth(path: Path | str) -> GroundTruth:
    """Read `gnd_roxford5k.pkl` and its like, or the JSON that `GroundTruth.save` wrote.

    Raises:
        DataError: no such file, damaged JSON, a pickle of more than plain values and arrays, or another content.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} is missing; it is the file gnd_NAME.pkl of the benchmark's home page")
    try:
        content = read_json(path) if path.suffix == ".json" else read_plain_pickle(path)
    except StorageError as error:
        raise DataError(str(error)) from error
    return _checked(content, path)


def _checked(content: Any, path: Path) -> GroundTruth:
    missing = [key for key in ("imlist", "qimlist", "gnd") if not isinstance(content, dict) or key not in content]
    if missing:
        raise DataError(f"{path} is no ground truth: {', '.join(missing)} missing")
    other = [key for key in ("imlist", "qimlist", "gnd") if not isinstance(content[key], list | tuple | np.ndarray)]
    if other:
        raise DataError(f"{path} is no ground truth: {', '.join(other)} must be lists")
    items, queries = ([str(name) for name in content[key]] for key in ("imlist", "qimlist"))
    if len(queries) != len(content["gnd"]):
        raise DataError(f"{path} has {len(queries)} queries and {len(content['gnd'])} records")
    records = [_record(record, len(items), query, path) for query, record in enumerate(content["gnd"])]
    words = {tuple(record) for record in records}
    if words not in ({("easy", "hard", "junk")}, {("junk", "ok")}):
        raise DataError(f"{path}: each record needs easy, hard and junk, or ok and junk; got {sorted(words)}")
    boxes = [_box(record["bbx"]) for record in content["gnd"] if "bbx" in record]
    if boxes and (len(boxes) != len(queries) or any(len(box) != 4 for box in boxes)):
        raise DataError(f"{path}: bbx must be four numbers, for every query or for none")
    return GroundTruth(items, queries, records, boxes)


def _box(edges: Any) -> Any:
    """Numbers; none where something else was given."""
    try:
        return tuple(np.asarray(edges, np.float64).ravel().tolist())
    except (TypeError, ValueError):
        return ()


def _record(record: Any, n_items: int, query: int, path: Path) -> dict[str, list[int]]:
    lists = {}
    for word in sorted(word for word in _LISTS if isinstance(record, Mapping) and word in record):
        ids = np.asarray(record[word])
        if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            raise DataError(f"{path}: query {query} has no list of positions under {word}")
        if ids.size and not 0 <= ids.min() <= ids.max() < n_items:
            raise DataError(f"{path}: query {query} names an item under {word} that the {n_items} items do not hold")
        lists[word] = [int(place) for place in ids]
    return lists
