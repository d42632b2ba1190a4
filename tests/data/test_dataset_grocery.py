"""Grocery Store reader: the real data's facts, the places pictures may lie in, and every refused layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pertinent.data.datasets.grocery import Grocery
from pertinent.errors import DataError, UnknownNameError


def _change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def example(tmp_path: Path) -> Path:
    root = tmp_path / "grocery"
    Grocery.example(root)
    return root


def test_real_data(shared: Path) -> None:
    data = Grocery(shared / "data" / "grocery_store")
    assert list(data.splits) == ["train", "val"]
    train, val = data.split("train"), data.split("val")
    assert (len(train), len(val)) == (2640, 296)
    assert train.kind == "tree"
    assert list(train.level_names) == ["product", "kind", "group"]
    assert [len(names) for names in train.class_names] == [81, 43, 3]
    assert [len(np.unique(train.labels[:, level])) for level in range(3)] == [81, 43, 3]
    assert train.ids[0] == "train/Fruit/Apple/Golden-Delicious/Golden-Delicious_001.jpg"
    assert train.label_words(0) == ["Golden-Delicious", "Apple", "Fruit"]
    assert val.label_words(295)[2] in train.class_names[2]
    assert min(train.source.read(2639).size) == 160
    with pytest.raises(DataError, match=r"test\.txt is missing; the splits here are train, val"):
        data.split("test")


def test_example(example: Path) -> None:
    data = Grocery(example)
    table = data.split("val")
    assert list(data.splits) == ["train", "val", "test"]
    assert table.labels.tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 0], [1, 0, 0], [2, 1, 1], [2, 1, 1]]
    assert table.label_words(4) == ["Leek", "Leek", "Roots"]
    assert table.source.read(0).size == (32, 24)


@pytest.mark.parametrize("place", ["dataset", "zip", "zip with a leading folder"])
def test_pictures_may_lie_elsewhere(example: Path, tmp_path: Path, place: str) -> None:
    before = Grocery(example).split("test")
    picture = before.source.read(5).tobytes()
    if place == "dataset":
        example.rename(tmp_path / "dataset")
        root = tmp_path
    else:
        root = tmp_path / "zipped"
        root.mkdir()
        base = "." if place == "zip" else "grocery"
        shutil.make_archive(str(root / "pictures"), "zip", example if place == "zip" else tmp_path, base)
        for name in ("train.txt", "val.txt", "test.txt", "classes.csv"):
            shutil.copy(example / name, root / name)
    table = Grocery(root).split("test")
    assert table.fingerprint() == before.fingerprint()
    assert table.source.read(5).tobytes() == picture


def test_missing_pictures_are_named(example: Path) -> None:
    (example / "val/Fruit/Apple/Fuji/Fuji_001.png").unlink()
    with pytest.raises(DataError, match=r"1 of 6 listed pictures are missing .*val/Fruit/Apple/Fuji/Fuji_001\.png"):
        Grocery(example).split("val")
    assert len(Grocery(example).split("train")) == 6


def test_missing_files_are_named(example: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="root must be the folder"):
        Grocery(None)
    with pytest.raises(DataError, match="nowhere"):
        Grocery(tmp_path / "nowhere")
    (example / "classes.csv").unlink()
    with pytest.raises(DataError, match=r"classes\.csv is missing"):
        Grocery(example)
    with pytest.raises(DataError, match=r"no train\.txt, val\.txt or test\.txt"):
        Grocery(tmp_path)


def test_unknown_split_suggests(example: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'train'"):
        Grocery(example).split("trian")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("val.txt", "Gala_000.png, 0, 0", "Gala_000.png, 0", r"val\.txt line 1: expected"),
        ("val.txt", "Gala_000.png, 0, 0", "Gala_000.png, x, 0", r"val\.txt line 1: expected"),
        ("val.txt", "Gala_000.png, 0, 0", "Gala_000.png, 7, 0", "no fine id 7"),
        ("val.txt", "Gala_000.png, 0, 0", "Gala_000.png, 0, 1", "'Gala' is under kind 'Leek' here and under 'Apple'"),
        ("val.txt", "val/Roots/Leek/Leek/Leek_000", "val/Fruit/Leek/Leek/Leek_000", "'Leek' is under two classes of g"),
        ("val.txt", "val/Fruit/Apple/Gala/Gala_001.png", "val/Fruit/Apple/Gala/Gala_000.png", "not unique"),
        ("val.txt", "val/Fruit/Apple/Gala/Gala_000.png", "val/Fruit/../../../Gala_000.png", "leads out of"),
        ("classes.csv", "Fuji,1", "Fuji,3", "must be 0, 1, 2"),
        ("classes.csv", "Fuji,1", "Gala,1", "each have its own name"),
        ("classes.csv", "Fuji,1", "Fuji,0", "has two names"),
        ("classes.csv", "Class ID (int),Coarse", "Id,Coarse", "expected columns Class Name"),
    ],
)
def test_wrong_lines_are_named(example: Path, file: str, old: str, new: str, message: str) -> None:
    _change(example / file, old, new)
    with pytest.raises(DataError, match=message):
        Grocery(example).split("val")


def test_an_empty_list_is_refused(example: Path) -> None:
    (example / "val.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"val\.txt lists no pictures"):
        Grocery(example)


def test_a_damaged_zip_is_named(example: Path) -> None:
    shutil.rmtree(example / "train")
    (example / "pictures.zip").write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(DataError, match=r"pictures\.zip: not a readable zip file"):
        Grocery(example).split("train")
