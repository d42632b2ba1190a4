"""Stanford Online Products reader: the tree, its levels, and the published lists."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pertinent.data.datasets import SOP
from pertinent.errors import DataError, InputError

HEADER = "image_id class_id super_class_id path\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    SOP.example(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def folder(root: Path) -> Path:
    return root / "Stanford_Online_Products"


def test_products_lie_in_categories(root: Path) -> None:
    data = SOP(root)
    train, test = data.split("train"), data.split("test")
    assert list(train.level_names) == ["product", "category"]
    assert train.labels.tolist() == [[0, 1], [0, 1], [1, 0], [1, 0], [2, 1], [2, 1], [3, 0], [3, 0]]
    assert test.labels.tolist() == [[4, 1], [4, 1], [5, 0], [5, 0]]
    assert test.label_words(0) == ["sofa 5", "sofa"]
    assert train.ids[0] == "sofa_final/1001_0.png"
    assert dict(data.expected) == {"train": 59551, "test": 60502}
    assert test.class_names == train.class_names


def test_one_level_gives_classes(root: Path) -> None:
    fine, coarse = SOP(root, level="fine").split("test"), SOP(root, level="coarse").split("test")
    assert (fine.kind, fine.labels.tolist(), list(fine.level_names)) == ("classes", [4, 4, 5, 5], ["product"])
    assert (coarse.kind, coarse.labels.tolist(), list(coarse.level_names)) == ("classes", [1, 1, 0, 0], ["category"])
    with pytest.raises(InputError, match="'fine' or 'coarse'"):
        SOP(root, level="super")  # type: ignore[arg-type]


@pytest.mark.parametrize("level", [None, "coarse"])
def test_products_are_held_out_whatever_the_level(root: Path, level: str | None) -> None:
    data = SOP(root, level=level, holdout=0.5)  # type: ignore[arg-type]
    train, val, both = (data.split(name) for name in ("train", "val", "trainval"))
    names = {name: {path.split("_")[1] for path in table.ids} for name, table in (("train", train), ("val", val))}
    assert len(names["train"]) == len(names["val"]) == 2
    assert not names["train"] & names["val"]
    assert len(both) == len(train) + len(val) == 8
    assert dict(data.expected) == {"trainval": 59551, "test": 60502}
    with pytest.raises(InputError, match="0 to below 1"):
        SOP(root, holdout=-1)


def test_other_places(root: Path, folder: Path, tmp_path: Path) -> None:
    published = SOP(root).split("train").fingerprint()
    assert SOP(folder).split("train").fingerprint() == published
    copy = tmp_path / "copy"
    (copy / "Info_Files").mkdir(parents=True)
    for file in ("Ebay_train.txt", "Ebay_test.txt"):
        shutil.copy(folder / file, copy / "Info_Files")
    for category in ("bicycle_final", "sofa_final"):
        shutil.copytree(folder / category, copy / "images" / category)
    assert SOP(copy).split("train").fingerprint() == published


def test_what_is_missing_is_named(root: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Ebay_train\.txt or Ebay_test\.txt is missing.*lifted_struct"):
        SOP(tmp_path)
    (folder / "sofa_final" / "1001_0.png").unlink()
    with pytest.raises(DataError, match=r"sop: 1 of 8 listed pictures.*1001_0\.png.*lifted_struct"):
        SOP(root).split("train")
    (folder / "Ebay_test.txt").unlink()
    with pytest.raises(DataError, match=r"Ebay_test\.txt is missing"):
        SOP(root)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 5 1 a_final/b.png\n", "must begin with the line 'image_id class_id"),
        ("", "must begin with the line"),
        (HEADER, "lists no pictures"),
        (HEADER + "1 5 1\n", "line 2: expected 'image_id"),
        (HEADER + "\n1 5 x a_final/b.png\n", "line 3: expected 'image_id"),
        (HEADER + "1 4 1 bicycle_final/b.png\n", "bicycle 4 in train and in test"),
        (HEADER + "1 5 1 bicycle_final/b.png\n2 5 2 sofa_final/c.png\n", "product .* is under two classes of category"),
        (HEADER + "1 5 3 sofa_final/b.png\n", "3 categories lie in folders bicycle, sofa"),
    ],
)
def test_wrong_lists_are_refused(root: Path, folder: Path, text: str, said: str) -> None:
    (folder / "Ebay_test.txt").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        SOP(root)


def test_a_picture_that_is_listed_twice_is_refused(root: Path, folder: Path) -> None:
    with (folder / "Ebay_test.txt").open("a", encoding="utf-8") as file:
        file.write("99 5 2 sofa_final/1005_0.png\n")
    with pytest.raises(DataError, match=r"sop: test lists 'sofa_final/1005_0\.png' twice"):
        SOP(root).split("test")
