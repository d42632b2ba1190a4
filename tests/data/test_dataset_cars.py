"""Cars196 reader: the three layouts, boxes, and the published order of the models."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from pertinent.data.datasets import Cars
from pertinent.errors import DataError, InputError

EDGES = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Cars.example(tmp_path / "cars")
    return tmp_path / "cars"


def records(root: Path) -> list[dict[str, Any]]:
    rows = loadmat(root / "cars_annos.mat", squeeze_me=True)["annotations"]
    return [{name: row[name] for name in rows.dtype.names} for row in rows]


def save(path: Path, rows: list[dict[str, Any]], fields: tuple[str, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = np.array(
        [tuple(row[field] for field in fields) for row in rows], dtype=[(field, object) for field in fields]
    )
    savemat(path, {"annotations": table[None]})


@pytest.fixture
def devkit(root: Path, tmp_path: Path) -> Path:
    """The example in the layout of the devkit."""
    folder = tmp_path / "stanford_cars"
    rows = records(root)
    for part, test in (("train", 0), ("test", 1)):
        mine = [{**row, "fname": Path(row["relative_im_path"]).name} for row in rows if row["test"] == test]
        file = folder / ("devkit/cars_train_annos.mat" if part == "train" else "cars_test_annos_withlabels.mat")
        save(file, mine, (*EDGES, "class", "fname"))
        (folder / f"cars_{part}").mkdir()
        for row in mine:
            shutil.copy(root / row["relative_im_path"], folder / f"cars_{part}")
    names = loadmat(root / "cars_annos.mat", squeeze_me=True)["class_names"]
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": names[None]})
    return folder


def test_the_first_98_classes_train(root: Path) -> None:
    data = Cars(root)
    train, test = data.split("train"), data.split("test")
    assert train.labels.tolist() == [0, 0, 1, 1, 49, 49, 97, 97]
    assert test.labels.tolist() == [98, 98, 195, 195]
    assert len(train.class_names[0]) == 196
    assert test.label_words(0) == ["Maker Model 99 2012"]
    assert train.ids[0] == "car_ims/000001.png"
    assert dict(data.expected) == {"train": 8054, "test": 8131}


def test_classes_can_be_held_out(root: Path) -> None:
    data = Cars(root, holdout=0.5)
    train, val, both = (data.split(name) for name in ("train", "val", "trainval"))
    assert len(set(train.labels.tolist())) == len(set(val.labels.tolist())) == 2
    assert set(train.labels.tolist()) | set(val.labels.tolist()) == {0, 1, 49, 97} == set(both.labels.tolist())
    with pytest.raises(InputError, match="0 to below 1"):
        Cars(root, holdout=1)


def test_boxes_cut_to_the_car(root: Path) -> None:
    table = Cars(root, boxes=True).split("train")
    # Published are the first and last pixel from 1: columns 3 to 19 and rows 2 to 14 of the fourth picture.
    assert table.boxes[3] == (2.0, 1.0, 19.0, 14.0)
    assert table.read(3).size == (17, 13)


def test_the_layout_of_the_devkit(root: Path, devkit: Path) -> None:
    mine, theirs = Cars(root, boxes=True), Cars(devkit, boxes=True)
    for split in ("train", "test"):
        first, second = mine.split(split), theirs.split(split)
        rows = {Path(name).name: row for row, name in enumerate(second.ids)}
        order = [rows[Path(name).name] for name in first.ids]
        assert second.labels[order].tolist() == first.labels.tolist()
        assert [second.boxes[row] for row in order] == [first.boxes[row] for row in range(len(first))]
    assert theirs.split("train").ids[0] == "cars_train/000001.png"
    # Found also from the folder around, and with the labels of test in the devkit.
    shutil.move(devkit / "cars_test_annos_withlabels.mat", devkit / "devkit")
    around = devkit.parent / "around"
    shutil.copytree(devkit, around / "stanford_cars")
    assert Cars(around).split("test").fingerprint() == Cars(devkit).split("test").fingerprint()


def test_a_copy_with_pictures_one_folder_deeper(root: Path, devkit: Path) -> None:
    """Cars as unpacked from kaggle.com: a devkit beside, and the one file of a layout that is not there."""
    flat = Cars(devkit, boxes=True).split("train")
    size = flat.read(3).size
    for part in ("cars_train", "cars_test"):
        (devkit / part).rename(devkit / "inner")
        (devkit / part).mkdir()
        (devkit / "inner").rename(devkit / part / part)
    shutil.copy(root / "cars_annos.mat", devkit)
    deep = Cars(devkit, boxes=True).split("train")
    assert [Path(name).name for name in deep.ids] == [Path(name).name for name in flat.ids]
    assert deep.ids[0] == "cars_train/cars_train/000001.png"
    assert deep.labels.tolist() == flat.labels.tolist()
    assert deep.read(3).size == size
    shutil.rmtree(devkit / "devkit")
    with pytest.raises(DataError, match=r"cars: .*devkit.cars_meta\.mat is missing"):
        Cars(devkit)


def test_the_layout_of_folders(root: Path, tmp_path: Path) -> None:
    folder, names = (
        tmp_path / "folders",
        ["Zed One 2012", "Ram C/V Van 2012", *(f"Other {n}" for n in range(96)), "Acura A"],
    )
    for place, name in (("train", names[0]), ("test", names[0]), ("train", "Ram C-V Van 2012"), ("test", names[98])):
        there = folder / "car_data" / "car_data" / place / name
        there.mkdir(parents=True)
        shutil.copy(root / "car_ims" / "000001.png", there)
    (folder / "names.csv").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    data = Cars(folder)
    train, test = data.split("train"), data.split("test")
    # Sorting the folders would put Acura, the 99th, first.
    assert sorted(train.labels.tolist()) == [0, 0, 1]
    assert test.labels.tolist() == [98]
    assert test.ids == ["car_data/car_data/test/Acura A/000001.png"]
    with pytest.raises(DataError, match=r"boxes=true needs the boxes of cars_annos\.mat"):
        Cars(folder, boxes=True)
    (folder / "names.csv").write_text("Zed One 2012\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"folder 'Acura A' in .* is none of the 1 models"):
        Cars(folder)
    shutil.rmtree(folder / "car_data")
    with pytest.raises(DataError, match="no folders of models"):
        Cars(folder)
    (folder / "names.csv").unlink()
    with pytest.raises(DataError, match=r"neither cars_annos\.mat nor devkit.*no longer offers"):
        Cars(folder)


def test_wrong_files_are_named(root: Path, devkit: Path) -> None:
    (root / "car_ims" / "000001.png").unlink()
    with pytest.raises(DataError, match=r"cars: 1 of 8 listed pictures.*000001\.png"):
        Cars(root).split("train")
    rows = records(root)
    save(root / "cars_annos.mat", rows, ("relative_im_path", "class"))
    with pytest.raises(DataError, match=r"cars_annos\.mat has no class_names"):
        Cars(root)
    (root / "cars_annos.mat").write_bytes(b"no such file")
    with pytest.raises(DataError, match="no readable MATLAB file"):
        Cars(root)
    save(devkit / "cars_test_annos_withlabels.mat", [{**row, "fname": "x"} for row in rows], (*EDGES, "fname"))
    with pytest.raises(DataError, match=r"annotations of .*withlabels\.mat have no class"):
        Cars(devkit)
    (devkit / "cars_test_annos_withlabels.mat").unlink()
    with pytest.raises(DataError, match=r"cars_test_annos_withlabels\.mat is missing"):
        Cars(devkit)


def test_a_class_without_a_name_is_refused(devkit: Path) -> None:
    savemat(devkit / "devkit" / "cars_meta.mat", {"class_names": np.array(["One", "Two"], dtype=object)[None]})
    with pytest.raises(DataError, match="has class 196, of 2 named ones"):
        Cars(devkit)
