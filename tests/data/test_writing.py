from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pertinent.data.datasets.csv import CSVFile
from pertinent.data.datasets.glyphs import Glyphs
from pertinent.data.datasets.landmarks import LandmarkList
from pertinent.data.images import ArraySource
from pertinent.data.table import ImageTable, Judgement
from pertinent.data.writing import write_split
from pertinent.errors import DataError, StorageError

PIXELS = np.random.default_rng(0).integers(0, 255, (6, 4, 4, 3), np.uint8).repeat(6, 1).repeat(6, 2)
IDS = [f"a/b{n}.png" for n in range(6)]


def near(one: ImageTable, row: int, other: ImageTable, place: int) -> bool:
    """The same picture, but for what JPEG loses."""
    first, second = (np.asarray(t.read(r), np.float64) for t, r in ((one, row), (other, place)))
    return first.shape == second.shape and bool(np.abs(first - second).mean() < 12)


@pytest.mark.parametrize("probes", [0, 1])
def test_a_judged_split_is_read_back_as_a_benchmark(tmp_path: Path, probes: int):
    table = ImageTable(
        IDS,
        ArraySource(PIXELS),
        "judged",
        judgements=[Judgement(1, (0,), (3,), (4,)), Judgement(5, (2, 3))],
        probes=probes,
        boxes={1: (3, 0, 20, 24)},
    )
    done: list[None] = []
    made = write_split(table, tmp_path / "w", "w", lambda: done.append(None))
    assert (made.name, len(done)) == ("gnd_w.pkl", 6)
    again = LandmarkList(tmp_path / "w", truth="gnd_w.pkl").split("test")
    assert (len(again), again.probes) == (6, 2)
    # Items 0, 2, 3, 4 of the table in this order, then the queries 1 and 5.
    assert list(again.judgements) == [Judgement(4, (0,), (2,), (3,)), Judgement(5, (1, 2))]
    assert again.boxes == {4: (0.0, 0.0, 17.0, 24.0), 5: (0.0, 0.0, 24.0, 24.0)}
    for place, row in enumerate([0, 2, 3, 4, 1, 5]):
        assert near(table, row, again, place)
        assert not near(table, row, again, (place + 1) % 4)


def test_the_classic_protocol(tmp_path: Path):
    table = ImageTable(IDS, ArraySource(PIXELS), "judged", judgements=[Judgement(5, ok=(0, 1), junk=(2,))])
    write_split(table, tmp_path / "w", "w")
    assert LandmarkList(tmp_path / "w", truth="gnd_w.pkl").split("test").judgements == [
        Judgement(5, ok=(0, 1), junk=(2,))
    ]


def test_labels_become_a_list(tmp_path: Path):
    tree = np.array([[0, 0], [1, 0], [2, 1], [-1, 1], [0, 0], [2, 1]])
    names = [["owl", "cat", "fern"], ["animal", "plant"]]
    table = ImageTable(IDS, ArraySource(PIXELS), "tree", tree, ["kind", "group"], names)
    assert write_split(table, tmp_path / "w", "w") == tmp_path / "w" / "labels.csv"
    again = CSVFile(tmp_path / "w", file="labels.csv").split("all")
    assert [again.label_words(row) for row in range(6)] == [table.label_words(row) for row in range(6)]
    assert all(near(table, row, again, row) for row in range(6))


def test_tags_become_a_list(tmp_path: Path):
    flags = np.eye(6, 3, dtype=np.bool_) | (np.arange(6) == 5)[:, None]
    table = ImageTable(IDS, ArraySource(PIXELS), "tags", flags, ["tag"], [["x", "y", "z"]])
    write_split(table, tmp_path / "w", "w")
    again = CSVFile(tmp_path / "w", file="labels.csv", tag_column="tags").split("all")
    np.testing.assert_array_equal(again.labels, flags)


def test_pictures_without_labels(tmp_path: Path):
    write_split(ImageTable(IDS, ArraySource(PIXELS)), tmp_path / "w", "w")
    assert CSVFile(tmp_path / "w", file="labels.csv").split("all").kind == "none"


def test_glyphs_as_a_landmark_benchmark(tmp_path: Path):
    table = Glyphs(tmp_path / "cache", form="judged", size=32, per_character=4, characters=4).split("test")
    write_split(table, tmp_path / "w", "glyphs")
    again = LandmarkList(tmp_path / "w", truth="gnd_glyphs.pkl").split("test")
    assert (len(again), again.probes) == (len(table), len(table.judgements))


def test_what_cannot_be_written(tmp_path: Path):
    table = ImageTable(IDS, ArraySource(PIXELS), "judged", judgements=[Judgement(0, (1,)), Judgement(1, (2,))])
    with pytest.raises(
        DataError, match=r"query a/b0\.png has a query under easy, but queries are no items of a benchmark"
    ):
        write_split(table, tmp_path / "w", "w")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    with pytest.raises(StorageError):
        write_split(ImageTable(IDS, ArraySource(PIXELS)), tmp_path / "full", "w")
