"""Omniglot reader: the real drawings, folders and zips alike, and the split by characters."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pertinent.data.datasets.omniglot import Omniglot
from pertinent.errors import DataError, UnknownNameError


@pytest.fixture
def example(tmp_path: Path) -> Path:
    root = tmp_path / "omniglot"
    Omniglot.example(root)
    return root


def test_real_data(shared: Path) -> None:
    data = Omniglot(shared / "data" / "omniglot_small")
    tables = {name: data.split(name) for name in data.splits}
    assert [len(tables[name]) for name in ("train", "val", "test")] == [82 * 20, 27 * 20, 27 * 20]
    test = tables["test"]
    assert [len(names) for names in test.class_names] == [136, 5]
    assert list(test.level_names) == ["character", "alphabet"]
    seen = {name: set(table.labels[:, 0].tolist()) for name, table in tables.items()}
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["val"]
    assert not seen["val"] & seen["test"]
    assert all((np.bincount(table.labels[:, 0])[list(seen[name])] == 20).all() for name, table in tables.items())
    assert test.source.read(0).size == (105, 105)
    assert test.label_words(0)[0].startswith(test.label_words(0)[1] + "/character")
    assert test.fingerprint() == Omniglot(shared / "data" / "omniglot_small").split("test").fingerprint()


def test_zip_and_folder_read_alike(example: Path, tmp_path: Path) -> None:
    zipped = tmp_path / "zipped"
    zipped.mkdir()
    shutil.make_archive(str(zipped / "images_background"), "zip", example, "images_background")
    for name in ("train", "val", "test"):
        folder, archive = Omniglot(example).split(name), Omniglot(zipped).split(name)
        assert folder.fingerprint() == archive.fingerprint()
        assert folder.source.read(1).tobytes() == archive.source.read(1).tobytes()


def test_official_parts(example: Path) -> None:
    data = Omniglot(example, official=True)
    train, test = data.split("train"), data.split("test")
    assert list(data.splits) == ["train", "test"]
    assert list(test.class_names[1]) == ["Avesta", "Greek", "Latin", "Tibetan"]
    assert {train.label_words(row)[1] for row in range(len(train))} == {"Greek", "Latin"}
    assert {test.label_words(row)[1] for row in range(len(test))} == {"Avesta", "Tibetan"}
    with pytest.raises(UnknownNameError, match="val"):
        data.split("val")


def test_missing_parts_are_named(example: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="root must be"):
        Omniglot(None)
    with pytest.raises(DataError, match="none of images_background"):
        Omniglot(tmp_path)
    shutil.rmtree(example / "images_evaluation")
    with pytest.raises(DataError, match="images_evaluation is missing"):
        Omniglot(example, official=True)
    (example / "images_evaluation").mkdir()
    with pytest.raises(DataError, match="no drawings in images_evaluation"):
        Omniglot(example, official=True)


def test_hidden_files_are_left_out_and_wrong_names_refused(example: Path) -> None:
    before = Omniglot(example).split("train").fingerprint()
    folder = example / "images_background" / "Greek" / "character01"
    shutil.copy(folder / "0101_01.png", folder / "._0101_01.png")
    assert Omniglot(example).split("train").fingerprint() == before
    shutil.copy(folder / "0101_01.png", folder / "alpha.png")
    with pytest.raises(DataError, match=r"alpha\.png' in images_background: expected alphabet/characterNN"):
        Omniglot(example)


def test_too_few_characters_to_deal(example: Path) -> None:
    shutil.rmtree(example / "images_background" / "Greek")
    for number in (2, 3):
        shutil.rmtree(example / "images_background" / "Latin" / f"character{number:02}")
    data = Omniglot(example)
    assert len(data.split("train")) == 2
    with pytest.raises(DataError, match="1 characters are too few"):
        data.split("test")
