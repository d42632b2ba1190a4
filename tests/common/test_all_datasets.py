"""What every registered data set promises: an example that its reader reads, and tables that hold together."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pertinent.data.datasets import DATASETS
from pertinent.data.table import ImageTable
from pertinent.errors import UnknownNameError


def _open(name: str, root: Path) -> Any:
    return DATASETS.build(name, root=root, **getattr(DATASETS.get(name), "example_options", {}))


@pytest.fixture(scope="module", params=DATASETS.names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def root(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(name)
    DATASETS.get(name).example(folder)
    return folder


@pytest.fixture(scope="module")
def tables(name: str, root: Path) -> dict[str, ImageTable]:
    data = _open(name, root)
    assert data.splits
    return {split: data.split(split) for split in data.splits}


def test_there_are_data_sets_with_a_summary() -> None:
    assert {"grocery", "omniglot", "folder", "csv"} <= set(DATASETS.names())
    assert all(len(entry.summary) > 20 for entry in DATASETS.entries.values())


def test_tables_hold_together(tables: dict[str, ImageTable]) -> None:
    for table in tables.values():
        assert len(table) == len(table.ids) == len(table.source) > 0
        assert len(set(table.ids)) == len(table)
        if table.kind == "tags":
            assert table.labels.dtype == np.bool_
            assert table.labels.shape == (len(table), len(table.class_names[0]))
        elif table.kind in ("classes", "tree"):
            assert table.labels.dtype == np.int64
            columns = table.labels.reshape(len(table), -1)
            assert columns.shape[1] == len(table.level_names) == len(table.class_names)
            for level, words in enumerate(table.class_names):
                assert len(set(words)) == len(words)
                assert -1 <= columns[:, level].min() <= columns[:, level].max() < len(words)
        assert all(isinstance(word, str) for word in table.label_words(0))


def _chains(table: ImageTable) -> list[tuple[tuple[int, str], ...]]:
    """Labels of each picture with their words, fine to coarse."""
    rows = table.labels.reshape(len(table), -1).tolist()
    return [tuple(zip(row, table.label_words(index), strict=True)) for index, row in enumerate(rows)]


def test_a_fine_class_has_one_parent_over_all_splits(tables: dict[str, ImageTable]) -> None:
    trees = [table for table in tables.values() if table.kind == "tree"]
    rows = {tuple(word for _, word in chain) for table in trees for chain in _chains(table)}
    for level in range(max(map(len, rows), default=0) - 1):
        deep = [row for row in rows if len(row) > level + 1]  # a split may have fewer levels
        assert len({row[level] for row in deep}) == len({row[level : level + 2] for row in deep})


def test_a_class_in_several_splits_has_one_number(tables: dict[str, ImageTable]) -> None:
    labelled = [table for table in tables.values() if table.kind in ("classes", "tree")]
    seen: dict[str, set[tuple[int, str]]] = {}
    for table in labelled:
        for chain in _chains(table):
            for level, pair in zip(table.level_names, chain, strict=True):
                seen.setdefault(level, set()).add(pair)
    assert all(len({word for _, word in pairs}) == len(pairs) for pairs in seen.values())


def test_fingerprints_are_stable_and_tell_splits_apart(name: str, root: Path, tables: dict[str, ImageTable]) -> None:
    again = _open(name, root)
    first = {split: table.fingerprint() for split, table in tables.items()}
    assert first == {split: again.split(split).fingerprint() for split in again.splits}
    assert len(set(first.values())) == len(first)


def test_tables_can_be_sent_to_workers(tables: dict[str, ImageTable]) -> None:
    for table in tables.values():
        there = pickle.loads(pickle.dumps(table))
        assert there.fingerprint() == table.fingerprint()
        for index in (0, len(table) - 1):
            image = there.source.read(index)
            assert image.mode == "RGB"
            assert image.tobytes() == table.source.read(index).tobytes()
            assert there.source.where(index) == table.source.where(index)


def test_unknown_splits_suggest(name: str, root: Path) -> None:
    with pytest.raises(UnknownNameError, match="no such split"):
        _open(name, root).split("no such split")
