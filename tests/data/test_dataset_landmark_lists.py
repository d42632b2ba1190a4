"""Landmarks-clean and Landmarks18: their lists, common class numbers, and every error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pertinent.data.datasets.landmarks18 import Landmarks18
from pertinent.data.datasets.landmarks_clean import LandmarksClean
from pertinent.errors import DataError, UnknownNameError


def test_splits_and_kinds(tmp_path: Path) -> None:
    LandmarksClean.example(tmp_path / "landmarks")
    Landmarks18.example(tmp_path / "landmarks18")
    clean, later = LandmarksClean(tmp_path), Landmarks18(tmp_path)
    assert list(clean.splits) == ["train", "val", "extra"]
    assert [later.split(name).kind for name in later.splits] == ["classes"] * 7 + ["none"] * 5
    assert list(later.splits)[:7] == [
        *("train", "train_all", "train_lite", "train_mid", "train_5K"),
        *("val", "val_distractors"),
    ]
    assert list(later.splits)[7:] == ["index", "index_new", "test", "train_pca", "missing_index"]
    assert clean.split("extra").ids == [f"images/{number}.jpg" for number in range(8, 12)]


def test_numbers_are_common_and_by_appearance(tmp_path: Path) -> None:
    LandmarksClean.example(tmp_path)
    lists = tmp_path / "annotations"
    (lists / "annotation_clean_train.txt").write_text("images/0.jpg 9\nimages/1.jpg 4\n")
    (lists / "annotation_clean_val.txt").write_text("images/2.jpg 7\nimages/3.jpg 4\n")
    (lists / "extra_landmark_images.txt").unlink()
    data = LandmarksClean(tmp_path)
    assert list(data.splits) == ["train", "val"]
    assert data.split("val").labels.tolist() == [2, 1]
    assert data.split("train").class_names == [["9", "4", "7"]]
    with pytest.raises(DataError, match=r"extra_landmark_images\.txt is missing; the splits here are train, val"):
        data.split("extra")


def test_a_box_after_the_label_is_left_alone(tmp_path: Path) -> None:
    LandmarksClean.example(tmp_path)
    path = tmp_path / "annotations" / "annotation_clean_train.txt"
    path.write_text("images/0.jpg 9 0 100 12.5 80\nimages/1.jpg 4\n")
    assert LandmarksClean(tmp_path).split("train").labels.tolist() == [0, 1]
    path.write_text("images/0.jpg 9 0 100 12.5 x\n")
    with pytest.raises(DataError, match="line 1: expected 'path label'"):
        LandmarksClean(tmp_path).split("train")
    path.write_text("http://somewhere.org/0.jpg 9 0 100 12 80\n")
    with pytest.raises(DataError, match=r"http://somewhere.org/0\.jpg is an address; fetch the pictures"):
        LandmarksClean(tmp_path).split("train")


@pytest.mark.parametrize("reader", [LandmarksClean, Landmarks18])
def test_missing_files(reader: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.txt or .* is missing in .*Deep Image Retrieval"):
        reader(tmp_path)
    reader.example(tmp_path)
    with pytest.raises(UnknownNameError, match="did you mean 'train'"):
        reader(tmp_path).split("trian")
    (tmp_path / "images" / "1.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 4 listed pictures are missing .*images/1\.jpg.*Deep Image Retrieval"):
        reader(tmp_path).split("train")
    assert len(reader(tmp_path).split("val")) == 4
