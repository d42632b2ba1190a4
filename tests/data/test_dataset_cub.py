"""CUB reader: the published split by class, copies of it, boxes and holding classes out."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from pertinent.data.datasets import CUB
from pertinent.errors import DataError, InputError

NAMES = ["001.Albatross", "002.Ani", "050.Grebe", "100.Pelican", "101.Pelican_White", "200.Yellowthroat"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    CUB.example(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def folder(root: Path) -> Path:
    return root / "CUB_200_2011"


def test_the_first_hundred_classes_train(root: Path) -> None:
    data = CUB(root)
    assert list(data.splits) == ["train", "test"]
    train, test = data.split("train"), data.split("test")
    assert train.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert test.labels.tolist() == [4, 4, 5, 5]
    assert list(train.class_names[0]) == list(test.class_names[0]) == NAMES
    assert list(train.level_names) == ["species"]
    assert train.ids[0] == "001.Albatross/Albatross_0001.png"
    assert train.read(0).size == (32, 24)
    assert dict(CUB.expected) == {"train": 5864, "test": 5924}
    assert dict(data.expected) == {"train": 5864, "test": 5924}


def test_classes_can_be_held_out_to_choose_by(root: Path) -> None:
    data = CUB(root, holdout=0.25)
    assert list(data.splits) == ["train", "val", "trainval", "test"]
    first = min(NAMES[:4], key=lambda name: hashlib.sha256(name.encode()).digest())
    val, train, both = (data.split(name) for name in ("val", "train", "trainval"))
    assert {val.label_words(row)[0] for row in range(len(val))} == {first}
    assert len(val) == 2
    assert sorted([*train.ids, *val.ids]) == sorted(both.ids) == sorted(CUB(root).split("train").ids)
    assert not set(train.labels.tolist()) & set(val.labels.tolist())
    assert data.split("test").fingerprint() == CUB(root).split("test").fingerprint()
    assert dict(data.expected) == {"trainval": 5864, "test": 5924}


@pytest.mark.parametrize("holdout", [-0.1, 1.0, 2])
def test_a_share_out_of_range_is_refused(root: Path, holdout: float) -> None:
    with pytest.raises(InputError, match="0 to below 1"):
        CUB(root, holdout=holdout)


@pytest.mark.parametrize("holdout", [0.01, 0.99])
def test_a_share_that_leaves_nothing_is_refused(root: Path, holdout: float) -> None:
    with pytest.raises(DataError, match="of 4 training classes leaves train or val without"):
        CUB(root, holdout=holdout)


def test_boxes_cut_to_the_bird(root: Path) -> None:
    test = CUB(root, boxes=True).split("test")
    # The first test picture is image 9, with the box 9.0 2.0 16.0 12.0 of left, top, width and height.
    assert test.boxes[0] == (9.0, 2.0, 25.0, 14.0)
    assert test.read(0).size == (16, 12)
    whole = CUB(root).split("test")
    assert test.read(0).tobytes() == whole.read(0).crop((9, 2, 25, 14)).tobytes()
    assert test.fingerprint() != whole.fingerprint()


def test_all_places_read_alike(root: Path, folder: Path, tmp_path: Path) -> None:
    published = CUB(root).split("train").fingerprint()
    assert CUB(folder).split("train").fingerprint() == published
    plain = tmp_path / "copy"
    shutil.copytree(folder / "images", plain / "images")
    assert CUB(plain).split("train").fingerprint() == published
    assert CUB(plain / "images").split("train").fingerprint() == published
    (plain / "images" / "001.Albatross" / "._hidden.png").write_bytes(b"")
    assert CUB(plain).split("train").fingerprint() == published
    archive = tmp_path / "zipped"
    archive.mkdir()
    for name in ("images.txt", "image_class_labels.txt"):
        shutil.copy(folder / name, archive)
    shutil.make_archive(str(archive / "images"), "zip", folder, "images")
    assert CUB(archive).split("train").fingerprint() == published
    assert CUB(archive).split("test").read(3).tobytes() == CUB(root).split("test").read(3).tobytes()


def test_a_copy_that_is_split_by_picture_is_split_by_class_all_the_same(folder: Path, tmp_path: Path) -> None:
    for number, path in enumerate(sorted((folder / "images").glob("*/*.png"))):
        there = tmp_path / "copy" / ("train", "test")[number % 2] / path.parent.name
        there.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, there)
    data = CUB(tmp_path / "copy")
    assert np.bincount(data.split("train").labels).tolist() == [2, 2, 2, 2]
    assert np.bincount(data.split("test").labels).tolist() == [0, 0, 0, 0, 2, 2]


def test_what_is_missing_is_named(root: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="root must be the folder"):
        CUB(None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"neither images\.txt nor folders.*data\.caltech\.edu"):
        CUB(tmp_path / "empty")
    with pytest.raises(InputError, match="cub has no val unless"):
        CUB(root).split("val")
    (folder / "images" / "001.Albatross" / "Albatross_0001.png").unlink()
    with pytest.raises(DataError, match=r"cub: 1 of 8 listed pictures.*Albatross_0001\.png.*data\.caltech\.edu"):
        CUB(root).split("train")
    (folder / "bounding_boxes.txt").unlink()
    with pytest.raises(DataError, match=r"bounding_boxes\.txt is missing"):
        CUB(root, boxes=True)
    (folder / "image_class_labels.txt").unlink()
    with pytest.raises(DataError, match=r"image_class_labels\.txt is missing"):
        CUB(root)
    (folder / "images.txt").unlink()
    with pytest.raises(DataError, match=r"boxes=true needs images\.txt"):
        CUB(root, boxes=True)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("images.txt", "", "lists nothing"),
        ("images.txt", "1 a/b.png\n1 a/c.png\n", r"images\.txt line 2: expected a new image number"),
        ("images.txt", "x a/b.png\n", r"images\.txt line 1: expected a new image number"),
        ("images.txt", "1\n", r"images\.txt line 1: expected a new image number"),
        ("images.txt", "1 b.png\n", "expected 001.Name/picture"),
        ("image_class_labels.txt", "1 1\n", "do not name the same images, see image 2"),
        ("bounding_boxes.txt", "".join(f"{n} 5.0\n" for n in range(1, 13)), "image 1: expected 4 numbers, got '5.0'"),
        ("bounding_boxes.txt", "".join(f"{n} 1 2 3 x\n" for n in range(1, 13)), "image 1: expected 4 numbers"),
    ],
)
def test_wrong_lists_are_refused(root: Path, folder: Path, file: str, text: str, said: str) -> None:
    (folder / file).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        CUB(root, boxes=True)


def test_a_split_without_pictures_is_refused(root: Path, folder: Path) -> None:
    (folder / "images.txt").write_text("1 001.A/a.png\n", encoding="utf-8")
    (folder / "image_class_labels.txt").write_text("1 1\n", encoding="utf-8")
    with pytest.raises(DataError, match="cub: test has none of the 1 pictures"):
        CUB(root).split("test")
