"""DyML readers: the header that holds a picture, one benchmark a level, and queries that the gallery holds."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pertinent.data.datasets import DyMLAnimal, DyMLProduct, DyMLVehicle
from pertinent.data.datasets._dyml import read_labels
from pertinent.errors import DataError, InputError, UnknownNameError

TREE = "fname, coarse_id, middle_id, fine_id"
READERS = [DyMLAnimal, DyMLVehicle, DyMLProduct]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    DyMLVehicle.example(tmp_path / "data")
    return tmp_path / "data"


def literal(text: str) -> list[list[str]]:
    """The original's way: what follows the header's last name is the first row."""
    for name in ("labels", "fine_id"):
        head, found, rest = text.partition(name)
        if found and head.count(",") == (1 if name == "labels" else 3):
            return [[cell.strip() for cell in line.split(",")] for line in rest.strip("\n").split("\n")]
    raise AssertionError(text)


@pytest.mark.parametrize("line_break", ["", "\n"])
@pytest.mark.parametrize("columns", [1, 3])
def test_the_picture_in_the_header_is_kept(tmp_path: Path, columns: int, line_break: str) -> None:
    rng = np.random.default_rng(columns)
    header = TREE if columns == 3 else "fname, labels"
    rows = [", ".join([f"{n}.jpg", *map(str, rng.integers(0, 9, columns).tolist())]) for n in range(20)]
    text = header + line_break + "\n".join(rows) + "\n"
    (tmp_path / "label.csv").write_text(text)
    found = read_labels(tmp_path / "label.csv", columns, "dyml_animal")
    slow = literal(text)
    assert list(found.names) == [row[0] for row in slow] == [f"{n}.jpg" for n in range(20)]
    assert found.numbers.tolist() == [[int(cell) for cell in reversed(row[1:])] for row in slow]


@pytest.mark.parametrize("header", ["fname, label", "fname, label_id", "fname, fine_id", "fname,coarse_id"])
def test_other_words_for_a_label(tmp_path: Path, header: str) -> None:
    (tmp_path / "query.csv").write_text(f"{header}0.jpg, 7\n1.jpg, 5\n")
    found = read_labels(tmp_path / "query.csv", 1, "dyml_animal")
    assert (list(found.names), found.numbers.tolist()) == (["0.jpg", "1.jpg"], [[7], [5]])


def test_columns_are_read_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "label.csv").write_text("fname, fine_id, coarse_id, middle_id0.jpg, 1, 2, 3\n1.jpg, 4, 5, 6\n")
    assert read_labels(tmp_path / "label.csv", 3, "dyml_animal").numbers.tolist() == [[1, 3, 2], [4, 6, 5]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must begin with 'fname, coarse_id, middle_id, fine_id', got ''"),
        ("0.jpg, 1, 2, 3\n", "must begin with"),
        ("fname, coarse_id, fine_id\n", "must begin with"),
        ("fname, coarse_id, coarse_id, fine_id\n", "must begin with"),
        (f"{TREE}0.jpg\n1.jpg, 1, 2, 3\n", "must begin with"),
        (f"{TREE}\n", "lists no pictures"),
        (f"{TREE}0.jpg, 1, 2\n", "line 1: expected 'fname, coarse_id, middle_id, fine_id', got '0.jpg, 1, 2'"),
        (f"{TREE}0.jpg, 1, 2, 3\n1.jpg, 1, 2, x\n", "line 2: expected"),
        (f"{TREE}\n, 1, 2, 3\n", "line 2: expected"),
        (f"{TREE}0.jpg, 1, 2, 3\n\n0.jpg, 1, 2, 3\n", "line 3 lists '0.jpg' again, as line 1 does"),
        (f"{TREE}0.jpg, 1, 2, 3\n1.jpg, 0, 2, 3\n", "middle '2' is under two classes of coarse, '0' and '1'"),
        (f"{TREE}0.jpg, 1, 2, 3\n1.jpg, 1, 4, 3\n", "fine '3' is under two classes of middle, '2' and '4'"),
    ],
)
@pytest.mark.parametrize("reader", READERS)
def test_wrong_labels_are_refused(tmp_path: Path, reader: Any, text: str, said: str) -> None:
    reader.example(tmp_path)
    (tmp_path / "train" / "label.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        reader(tmp_path)


@pytest.mark.parametrize("reader", READERS)
def test_training_pictures_have_three_levels(tmp_path: Path, reader: Any) -> None:
    reader.example(tmp_path)
    train = reader(tmp_path).split("train")
    assert list(train.level_names) == ["fine", "middle", "coarse"]
    # Published numbers 3, 4, 7, 10 of fine, 0, 2, 5 of middle and 0, 1 of coarse.
    assert [list(names) for names in train.class_names] == [["3", "4", "7", "10"], ["0", "2", "5"], ["0", "1"]]
    assert train.labels.tolist() == [[2, 0, 0]] * 2 + [[3, 0, 0]] * 2 + [[0, 1, 0]] * 2 + [[1, 2, 1]] * 2
    assert list(train.ids) == [f"{number}.jpg" for number in range(8)]


@pytest.mark.parametrize("reader", READERS)
def test_fine_classes_can_be_held_out(tmp_path: Path, reader: Any) -> None:
    reader.example(tmp_path)
    data = reader(tmp_path, holdout=0.25)
    assert list(data.splits[:3]) == ["train", "val", "trainval"]
    train, val, both = (data.split(name) for name in data.splits[:3])
    assert (len(train), len(val), len(both)) == (6, 2, 8)
    assert not set(train.labels[:, 0].tolist()) & set(val.labels[:, 0].tolist())
    with pytest.raises(InputError, match="0 to below 1"):
        reader(tmp_path, holdout=1)


def test_each_level_has_queries_and_a_gallery(root: Path) -> None:
    data = DyMLVehicle(root)
    assert list(data.splits) == [
        "train", "query_fine", "gallery_fine", "query_middle", "gallery_middle", "query_coarse", "gallery_coarse",
    ]  # fmt: skip
    for level in ("fine", "middle", "coarse"):
        query, gallery = data.split(f"query_{level}"), data.split(f"gallery_{level}")
        assert query.kind == gallery.kind == "tree"
        assert list(query.level_names) == list(gallery.level_names) == [level]
        assert (
            list(query.class_names[0])
            == list(gallery.class_names[0])
            == [f"bmk_{level}/{number}" for number in (4, 9, 11)]
        )
        assert query.labels.tolist() == [[0], [2]]
        assert gallery.labels.tolist() == [[0], [0], [0], [2], [2], [1]]
        # The queries are the gallery's 1 and 3.
        assert list(gallery.ids) == [f"bmk_{level}/gallery/{number}.jpg" for number in range(6)]
        assert list(query.ids) == [gallery.ids[1], gallery.ids[3]]
        assert query.source.where(0).endswith(f"bmk_{level}/query/0.jpg")
        assert query.read(1).tobytes() == gallery.read(3).tobytes()
    with pytest.raises(UnknownNameError, match="test"):
        data.split("test")


def test_a_copy_in_the_gallery_is_used_once(root: Path) -> None:
    folder = root / "bmk_fine"
    shutil.copy(folder / "gallery" / "1.jpg", folder / "gallery" / "2.jpg")
    (folder / "query.csv").write_text("fname, labels0.jpg, 4\n1.jpg, 4\n2.jpg, 4\n3.jpg, 11\n")
    for name in ("1.jpg", "2.jpg"):
        shutil.copy(folder / "gallery" / "1.jpg", folder / "query" / name)
    shutil.copy(root / "train" / "imgs" / "5.jpg", folder / "query" / "3.jpg")
    ids = list(DyMLVehicle(root).split("query_fine").ids)
    assert ids == ["bmk_fine/gallery/1.jpg", "bmk_fine/gallery/2.jpg", "bmk_fine/query/2.jpg", "bmk_fine/query/3.jpg"]


def test_copies_are_found_in_a_zip_file_too(root: Path, tmp_path: Path) -> None:
    expected = list(DyMLVehicle(root).split("query_fine").ids)
    zipped = tmp_path / "zipped"
    shutil.copytree(root, zipped)
    for side in ("query", "gallery"):
        shutil.rmtree(zipped / "bmk_fine" / side)
    shutil.make_archive(str(zipped / "pictures"), "zip", root, "bmk_fine")
    assert list(DyMLVehicle(zipped).split("query_fine").ids) == expected


def test_product_is_tested_with_a_tree(tmp_path: Path) -> None:
    DyMLProduct.example(tmp_path)
    data = DyMLProduct(tmp_path)
    assert list(data.splits) == ["train", "test"]
    test = data.split("test")
    assert test.labels.tolist() == [[0, 0, 0]] * 2 + [[1, 1, 0]] * 2 + [[2, 2, 1]] * 2
    assert test.label_words(5) == ["test/9", "test/2", "test/3"]


def test_what_is_missing_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"dyml_vehicle: train/label\.csv is missing in .*DyML-vehicle.*DynamicMetricLearning"
    ):
        DyMLVehicle(tmp_path)
    around = tmp_path / "around"
    shutil.copytree(root, around / "DyML-vehicle")
    assert DyMLVehicle(around).split("train").fingerprint() == DyMLVehicle(root).split("train").fingerprint()
    (root / "bmk_middle" / "gallery" / "5.jpg").unlink()
    with pytest.raises(DataError, match=r"dyml_vehicle: 1 of 6 listed pictures.*bmk_middle/gallery/5\.jpg"):
        DyMLVehicle(root).split("gallery_middle")
    (root / "bmk_coarse" / "query.csv").unlink()
    with pytest.raises(DataError, match=r"bmk_coarse/query\.csv is missing.*DynamicMetricLearning"):
        DyMLVehicle(root)


def test_the_papers_protocol_leaves_a_query_out_of_its_own_ranking(root: Path) -> None:
    from pertinent.engine.protocols import evaluate_protocol

    data = DyMLVehicle(root)
    query, gallery = data.split("query_fine"), data.split("gallery_fine")
    vectors = np.eye(6, dtype=np.float32) + 0.1
    own = np.array([list(gallery.ids).index(name) for name in query.ids])
    reports = evaluate_protocol(
        "happier/dyml",
        vectors[[1, 3]],
        vectors,
        labels=query.labels,
        gallery_labels=gallery.labels,
        query_positions=own,
    )
    # All others are as near; without leaving the copy out the first hit would always be right.
    assert reports[""].mean["r@10.0"] == 1
    assert reports[""].mean["r@1.0"] < 1
