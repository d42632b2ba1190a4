"""Folder reader: depths, splits by class, by image and by folder, and every refused layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pertinent.data.datasets._parts import hold_out, write_example_picture
from pertinent.data.datasets.folder import Folder
from pertinent.errors import DataError, InputError, UnknownNameError


def _write(root: Path, *paths: str) -> Path:
    for number, path in enumerate(paths):
        write_example_picture(root / path, number)
    return root


def test_tree(tmp_path: Path) -> None:
    Folder.example(tmp_path)
    data = Folder(tmp_path)
    table = data.split("all")
    assert list(data.splits) == ["train", "val", "test", "all"]
    assert table.kind == "tree"
    assert list(table.level_names) == ["class", "parent"]
    assert [list(names) for names in table.class_names] == [
        ["cat", "dog", "fern", "moss", "owl", "palm"],
        ["animal", "plant"],
    ]
    assert table.ids[0] == "animal/cat/0.png"
    assert table.label_words(0) == ["cat", "animal"]
    assert table.labels.dtype == np.int64


def test_depth_gives_classes_or_nothing_or_a_deep_tree(tmp_path: Path) -> None:
    classes = Folder(_write(tmp_path / "one", "a/1.png", "b/1.png", "c/1.png")).split("all")
    assert (classes.kind, classes.labels.tolist(), list(classes.level_names)) == ("classes", [0, 1, 2], ["class"])
    flat = Folder(_write(tmp_path / "flat", "1.png", "2.jpg"))
    assert list(flat.splits) == ["all"]
    assert flat.split("all").kind == "none"
    deep = Folder(_write(tmp_path / "deep", "k/g/s/1.png", "k/g/t/1.png", "k/h/u/1.png")).split("all")
    assert deep.labels.shape == (3, 3)
    assert list(deep.level_names) == ["class", "parent", "parent 2"]
    assert deep.label_words(2) == ["u", "h", "k"]


def test_split_by_class_keeps_classes_apart(tmp_path: Path) -> None:
    Folder.example(tmp_path)
    data = Folder(tmp_path, holdout=0.2)
    seen = {name: set(data.split(name).labels[:, 0].tolist()) for name in ("train", "val", "test")}
    assert [len(seen[name]) for name in ("train", "val", "test")] == [4, 1, 1]
    assert set.union(*seen.values()) == set(range(6))
    assert data.split("test").fingerprint() == Folder(tmp_path).split("test").fingerprint()


def test_split_by_image_deals_every_class(tmp_path: Path) -> None:
    Folder.example(tmp_path)
    data = Folder(tmp_path, holdout=0.3, split_by="image")
    for name in ("train", "val", "test"):
        assert np.bincount(data.split(name).labels[:, 0]).tolist() == [1] * 6
    assert sorted(path for name in ("train", "val", "test") for path in data.split(name).ids) == data.split("all").ids


def test_holding_out_is_fixed_and_keeps_to_the_share() -> None:
    names = [f"class {number}" for number in range(50)]
    dealt = hold_out(names, 0.1)
    assert dealt == hold_out(names[::-1], 0.1)
    assert [list(dealt.values()).count(split) for split in ("train", "val", "test")] == [40, 5, 5]
    assert [name for name, split in dealt.items() if split == "test"] == [
        "class 8",
        "class 15",
        "class 27",
        "class 31",
        "class 34",
    ]


@pytest.mark.parametrize("share", [0.0, 0.5, -1.0])
def test_impossible_shares_are_refused(tmp_path: Path, share: float) -> None:
    Folder.example(tmp_path)
    with pytest.raises(InputError, match="above 0 and below"):
        Folder(tmp_path, holdout=share)


def test_split_folders_are_used(tmp_path: Path) -> None:
    _write(tmp_path, "train/a/1.png", "train/b/1.png", "test/b/2.png", "test/c/2.png")
    data = Folder(tmp_path)
    assert list(data.splits) == ["train", "test", "all"]
    assert data.split("all").ids == ["test/b/2.png", "test/c/2.png", "train/a/1.png", "train/b/1.png"]
    assert data.split("all").labels.tolist() == [1, 2, 0, 1]
    test = data.split("test")
    assert test.ids == ["test/b/2.png", "test/c/2.png"]
    assert test.labels.tolist() == [1, 2]
    assert list(data.split("train").class_names[0]) == ["a", "b", "c"]
    with pytest.raises(UnknownNameError, match="unknown split 'gallery'"):
        data.split("gallery")
    with pytest.raises(InputError, match="there are split folders"):
        Folder(tmp_path, split_by="class")
    (tmp_path / "val").mkdir()
    with pytest.raises(DataError, match="no pictures for val"):
        Folder(tmp_path).split("val")


def test_pictures_beside_split_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are pictures in extra"):
        Folder(_write(tmp_path, "train/a/1.png", "extra/a/2.png"))


def test_other_files_are_counted_not_read(tmp_path: Path) -> None:
    _write(tmp_path, "a/1.png", "a/.hidden.png", ".cache/2.png", "b/1.PNG")
    (tmp_path / "a" / "notes.txt").write_text("x", encoding="utf-8")
    data = Folder(tmp_path)
    assert data.split("all").ids == ["a/1.png", "b/1.PNG"]
    assert data.ignored == 2


def test_linked_folders_are_entered_once(tmp_path: Path) -> None:
    _write(tmp_path / "elsewhere", "1.png")
    root = _write(tmp_path / "root", "a/1.png")
    (root / "b").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "loop").symlink_to(root)
    assert Folder(root).split("all").ids == ["a/1.png", "b/1.png"]


def test_uneven_depth_names_the_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1 deep: dog; 2 deep: plant/fern, plant/moss.*same number of parents"):
        Folder(_write(tmp_path, "dog/1.png", "plant/fern/1.png", "plant/moss/1.png"))


def test_a_class_under_two_parents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"class 'cat' is under two classes of parent, 'animal' and 'machine'"):
        Folder(_write(tmp_path, "animal/cat/1.png", "machine/cat/1.png"))


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match=r"no pictures in .*\(1 other files\)"):
        Folder(tmp_path)
    with pytest.raises(DataError, match="root must be"):
        Folder(tmp_path / "none")


def test_options_that_cannot_be_followed(tmp_path: Path) -> None:
    _write(tmp_path, "1.png")
    with pytest.raises(InputError, match="no class folders"):
        Folder(tmp_path, holdout=0.1)
    with pytest.raises(InputError, match="'class' or 'image'"):
        Folder(tmp_path, split_by="person")  # type: ignore[arg-type]


def test_too_few_classes_to_hold_out(tmp_path: Path) -> None:
    data = Folder(_write(tmp_path, "a/1.png", "b/1.png"))
    assert len(data.split("train")) == 2
    with pytest.raises(DataError, match="no pictures for test"):
        data.split("test")


def test_without_labels_any_layout_will_do(tmp_path: Path) -> None:
    _write(tmp_path, "1.png", "dog/1.png", "plant/fern/1.png", "train/fern/1.png", ".hidden/1.png")
    table = Folder.unlabelled(tmp_path)
    assert table.ids == ["1.png", "dog/1.png", "plant/fern/1.png", "train/fern/1.png"]
    assert table.kind == "none"
    assert table.source.read(1).mode == "RGB"
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no pictures in"):
        Folder.unlabelled(tmp_path / "none")
