"""Folders of tagged pictures: one file of tags or one beside each picture, splits by file or by hash, wrong files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pertinent.data.audit import audit
from pertinent.data.datasets._parts import hold_out, write_example_picture
from pertinent.data.datasets.tag_folder import TagFolder
from pertinent.errors import DataError, InputError, UnknownNameError


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


TAGS = {"a/1.jpg": ["sky", "sea"], "a/2.png": [], "3.jpg": ["sea", "dog", "sky"], "b c/é.jpg": ["sea"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, path in enumerate(TAGS):
        write_example_picture(tmp_path / path, number)
    return tmp_path


def words(root: Path, split: str = "all") -> dict[str, list[str]]:
    table = TagFolder(root).split(split)
    assert table.labels.dtype == np.bool_
    return {name: table.label_words(row) for row, name in enumerate(table.ids)}


def test_one_file_for_all(folder: Path) -> None:
    write(folder / "tags.json", TAGS)
    write_example_picture(folder / "not listed.jpg", 9)
    assert words(folder) == {name: sorted(tags) for name, tags in TAGS.items()}
    table = TagFolder(folder).split("all")
    assert table.class_names == [["dog", "sea", "sky"]]
    assert table.labels.tolist() == [[False, True, True], [False] * 3, [True] * 3, [False, True, False]]
    assert audit(table)[0] == "1 of 4 pictures have no tag; they are relevant to nothing by it"


def test_one_file_beside_each_picture(folder: Path) -> None:
    for number, (name, tags) in enumerate(TAGS.items()):
        write((folder / name).with_suffix(".json"), {"tags": tags, "title": "x"} if number % 2 else tags)
    write_example_picture(folder / ".hidden/5.jpg", 5)
    write_example_picture(folder / ".6.jpg", 6)
    found = words(folder)
    assert found == {name: sorted(tags) for name, tags in TAGS.items()}
    assert list(found) == sorted(TAGS)


def test_both_ways_give_the_same_splits(folder: Path) -> None:
    write(folder / "tags.json", dict(sorted(TAGS.items())))
    dealt = hold_out(sorted(TAGS), 0.3)
    first = {name: TagFolder(folder, holdout=0.3).split(name) for name in ("train", "val", "test")}
    assert {name: list(table.ids) for name, table in first.items()} == {
        part: [name for name in sorted(TAGS) if dealt[name] == part] for part in first
    }
    (folder / "tags.json").unlink()
    for name, tags in TAGS.items():
        write((folder / name).with_suffix(".json"), tags)
    again = TagFolder(folder, holdout=0.3)
    assert {name: again.split(name).fingerprint() for name in first} == {
        name: table.fingerprint() for name, table in first.items()
    }


def test_splits_of_a_file(folder: Path) -> None:
    write(folder / "tags.json", TAGS)
    write(folder / "splits.json", {"query": ["3.jpg"], "database": ["b c/é.jpg", "a/1.jpg"], "train": ["a/1.jpg"]})
    data = TagFolder(folder)
    assert data.splits == ["query", "database", "train", "all"]
    assert data.split("database").ids == ["b c/é.jpg", "a/1.jpg"]
    assert data.split("database").label_words(1) == ["sea", "sky"]
    assert data.split("train").class_names == [["dog", "sea", "sky"]]
    assert Path(data.split("query").source.where(0)) == folder / "3.jpg"
    with pytest.raises(UnknownNameError, match="did you mean 'database'"):
        data.split("data_base")
    (folder / "splits.json").rename(folder / "mine.json")
    assert TagFolder(folder, split_file="mine.json").splits == data.splits
    assert TagFolder(folder).splits == ["train", "val", "test", "all"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"train": ["9.jpg"]}, r"splits\.json split 1 \(train\): '9\.jpg' has no tags"),
        ({"train": ["3.jpg", "3.jpg"]}, "a path is there twice"),
        ({"train": [], "val": "3.jpg"}, r"split 2 \(val\): expected a name other than 'all' and a list of paths"),
        ({"all": ["3.jpg"]}, "expected a name other than 'all'"),
        ({"train": [3]}, "a list of paths"),
        ({"train": {"3.jpg": 1}}, "a list of paths"),
        ({}, "has no splits"),
        ([], "must hold an object"),
    ],
)
def test_wrong_splits_are_named(value: Any, said: str, folder: Path) -> None:
    write(folder / "tags.json", TAGS)
    write(folder / "splits.json", value)
    with pytest.raises(DataError, match=said):
        TagFolder(folder)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"3.jpg": "sea"}, r"tags\.json entry 1: tags are a list of names, such as .*, got 'sea'"),
        ({"3.jpg": [1]}, r"got \[1\]"),
        ({"3.jpg": [""]}, r"got \[''\]"),
        ({"3.jpg": ["sea"], "a/1.jpg": None}, "entry 2: tags are a list"),
        ({"3.jpg": {"tags": ["sea"]}}, "tags are a list"),
        ({}, "lists no pictures"),
        (["3.jpg"], "must hold an object"),
    ],
)
def test_wrong_tags_are_named(value: Any, said: str, folder: Path) -> None:
    write(folder / "tags.json", value)
    with pytest.raises(DataError, match=said):
        TagFolder(folder)


def test_missing_and_broken_files(folder: Path) -> None:
    for name in list(TAGS)[:2]:
        write((folder / name).with_suffix(".json"), ["sea"])
    with pytest.raises(
        DataError, match=r"2 of 4 pictures in .* have no tags beside them, the first is 3\.jpg; write \[\]"
    ):
        TagFolder(folder)
    write(folder / "tags.json", {**TAGS, "9.jpg": []})
    with pytest.raises(DataError, match=r"1 of 5 listed pictures are missing .*9\.jpg"):
        TagFolder(folder).split("all")
    (folder / "tags.json").write_text('{"3.jpg": ["a"], "3.jpg": ["b"]}')
    with pytest.raises(DataError, match=r"lists '3\.jpg' again"):
        TagFolder(folder)
    (folder / "tags.json").unlink()
    for name in TAGS:
        write((folder / name).with_suffix(".json"), {"title": "x"})
    with pytest.raises(DataError, match=r"\.json: tags are a list of names, .* got None"):
        TagFolder(folder)
    (folder / "3.json").write_text("[")
    with pytest.raises(DataError, match=r"3\.json is not JSON"):
        TagFolder(folder)


def test_options_that_cannot_be_followed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(DataError, match=r"has neither tags\.json nor pictures"):
        TagFolder(tmp_path_factory.mktemp("empty"))
    write(folder / "tags.json", TAGS)
    with pytest.raises(DataError, match=r"no\.json is missing; split_file=FILE names it"):
        TagFolder(folder, split_file="no.json")
    with pytest.raises(InputError, match=r"above 0 and below 0\.5"):
        TagFolder(folder, holdout=0.5)
    with pytest.raises(DataError, match=r"no pictures for val .* change holdout"):
        TagFolder(folder, holdout=0.01).split("val")
    write(folder / "splits.json", {"train": ["3.jpg"]})
    with pytest.raises(InputError, match=r"splits\.json tells the splits, so take out holdout"):
        TagFolder(folder, holdout=0.2)


def test_nobody_has_a_tag(folder: Path) -> None:
    write(folder / "tags.json", {name: [] for name in TAGS})
    table = TagFolder(folder).split("all")
    assert table.labels.shape == (4, 0)
    assert table.label_words(0) == []
