"""NUS-WIDE: the published lists' layout, their other names, counts, and lists of another number of concepts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pertinent.data.datasets.nuswide import NUSWide
from pertinent.engine.doctor import diagnose
from pertinent.errors import DataError, InputError


@pytest.mark.parametrize("around", ["", "nus_wide", "nuswide_21"])
def test_the_layout_and_the_folders_around_it(around: str, tmp_path: Path) -> None:
    NUSWide.example(tmp_path / around)
    data = NUSWide(tmp_path)
    assert data.splits == ["train", "query", "database"]
    train, query = data.split("train"), data.split("query")
    assert train.labels.shape == (4, 21)
    assert train.class_names == [[f"tag {number}" for number in range(1, 22)]]
    assert query.ids == [f"images/{number}.png" for number in range(4, 8)]
    assert data.split("test").ids == query.ids
    assert data.split("gallery").ids == data.split("database").ids
    assert (tmp_path / around / "images/4.png").samefile(query.source.where(0))


def test_only_some_lists(tmp_path: Path) -> None:
    NUSWide.example(tmp_path)
    (tmp_path / "database.txt").unlink()
    data = NUSWide(tmp_path)
    assert data.splits == ["train", "query"]
    with pytest.raises(DataError, match=r"database\.txt is missing; the splits here are train, query; .*DeepHash"):
        data.split("database")


def test_names_of_the_concepts(tmp_path: Path) -> None:
    NUSWide.example(tmp_path)
    names = [f"concept{number}" for number in range(21)]
    (tmp_path / "names.txt").write_text("\n".join(names))
    assert NUSWide(tmp_path, tags="names.txt").split("train").class_names == [names]


def test_lists_of_81_concepts_are_told_apart(tmp_path: Path) -> None:
    NUSWide.example(tmp_path)
    (tmp_path / "train.txt").write_text("images/0.png" + " 0" * 81 + "\n")
    with pytest.raises(DataError, match=r"train\.txt has 81 tags a line, expected are 21"):
        NUSWide(tmp_path).split("train")


def test_held_out_and_what_was_published(tmp_path: Path) -> None:
    NUSWide.example(tmp_path)
    assert NUSWide.expected == NUSWide(tmp_path).expected == {"train": 10_500, "query": 2_100}
    data = NUSWide(tmp_path, held_out=0.5)
    assert data.expected == {"query": 2_100}
    assert sorted([*data.split("train").ids, *data.split("held_out").ids]) == NUSWide(tmp_path).split("train").ids
    with pytest.raises(InputError, match="held_out is a share"):
        NUSWide(tmp_path, held_out=2.0)
    found = diagnose("nuswide", tmp_path)
    assert found.problems == [
        "train: 4 pictures, where 10,500 were published",
        "query: 4 pictures, where 2,100 were published",
    ]
