"""CSV reader: trees, classes, tags, splits, and every refused file."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pertinent.data.datasets._parts import write_example_picture
from pertinent.data.datasets.csv import CSVFile
from pertinent.errors import DataError, InputError, UnknownNameError


def _write(root: Path, text: str, name: str = "labels.csv", pictures: int = 4) -> Path:
    for number in range(pictures):
        write_example_picture(root / f"{number}.png", number)
    (root / name).write_text(text, encoding="utf-8")
    return root


def test_example_is_a_tree_with_splits(tmp_path: Path) -> None:
    CSVFile.example(tmp_path)
    data = CSVFile(tmp_path)
    table = data.split("test")
    assert list(data.splits) == ["train", "test"]
    assert table.kind == "tree"
    assert list(table.level_names) == ["product", "kind"]
    assert table.labels.tolist() == [[1, 0], [0, 0], [2, 1], [1, 0], [0, 0], [2, 1]]
    assert table.label_words(2) == ["leek", "vegetable"]
    assert table.source.read(3).size == (32, 24)


def test_class_ids_are_shared_by_splits(tmp_path: Path) -> None:
    data = CSVFile(_write(tmp_path, "path,name,split\n0.png,b,query\n1.png,a,gallery\n2.png,b,gallery\n"))
    assert data.split("query").kind == "classes"
    assert data.split("query").labels.tolist() == [1]
    assert data.split("gallery").labels.tolist() == [0, 1]


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    text = "file,kind,set,product,note\n0.png,k,one,p,x\n1.png,k,two,q,y\n"
    data = CSVFile(
        _write(tmp_path, text, "my.csv"),
        file="my.csv",
        path_column="file",
        label_columns=["product", "kind"],
        split_column="set",
    )
    assert list(data.splits) == ["one", "two"]
    assert data.split("two").label_words(0) == ["q", "k"]


def test_paths_alone_and_a_byte_order_mark(tmp_path: Path) -> None:
    data = CSVFile(_write(tmp_path, "\ufeffpath\n0.png\n\n3.png\n"))
    assert list(data.splits) == ["all"]
    assert data.split("all").kind == "none"
    assert data.split("all").ids == ["0.png", "3.png"]


def test_empty_labels_are_minus_one(tmp_path: Path) -> None:
    table = CSVFile(_write(tmp_path, "path,name,group\n0.png,a,g\n1.png,,g\n2.png,,\n")).split("all")
    assert table.labels.tolist() == [[0, 0], [-1, 0], [-1, -1]]
    assert [list(names) for names in table.class_names] == [["a"], ["g"]]


def test_tags(tmp_path: Path) -> None:
    text = "path,tags,split\n0.png,sea | sky,train\n1.png,,train\n2.png,tree|sky,test\n"
    data = CSVFile(_write(tmp_path, text), tag_column="tags", tag_separator="|")
    train, test = data.split("train"), data.split("test")
    assert train.kind == "tags"
    assert list(train.class_names[0]) == ["sea", "sky", "tree"]
    assert train.labels.tolist() == [[True, True, False], [False, False, False]]
    assert train.labels.dtype == np.bool_
    assert test.label_words(0) == ["sky", "tree"]


def test_pictures_in_a_zip(tmp_path: Path) -> None:
    CSVFile.example(tmp_path / "a")
    (tmp_path / "b").mkdir()
    shutil.make_archive(str(tmp_path / "b" / "pictures"), "zip", tmp_path / "a", "images")
    shutil.copy(tmp_path / "a" / "labels.csv", tmp_path / "b")
    folder, archive = CSVFile(tmp_path / "a").split("train"), CSVFile(tmp_path / "b").split("train")
    assert folder.fingerprint() == archive.fingerprint()
    assert folder.source.read(2).tobytes() == archive.source.read(2).tobytes()


def test_a_picture_may_be_in_two_splits_but_not_twice_in_one(tmp_path: Path) -> None:
    assert len(CSVFile(_write(tmp_path, "path,split\n0.png,query\n0.png,gallery\n")).split("query")) == 1
    with pytest.raises(DataError, match=r"lists '0\.png' twice in split 'all', in lines 2 and 4"):
        CSVFile(_write(tmp_path, "path,name\n0.png,a\n1.png,a\n0.png,b\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pth,name\n0.png,a\n", "no column 'path'; did you mean 'pth'"),
        ("path,name,split\n0.png,a,\n", "line 2: split is empty"),
        ("path,name\n,a\n", "line 2: path is empty"),
        ("path,name\n0.png,a,b\n", "line 2 has 3 cells for 2 columns"),
        ("path,name\n", "needs a header and at least one row"),
        ("", "needs a header"),
        ("path,name,name\n0.png,a,b\n", "every column needs a name of its own"),
        ('path,name\n0.png,"a\n', "not a comma-separated file"),
        ("path,name\n../0.png,a\n", "leads out of"),
        ("path,name\n0.png,a\n9.png,a\n8.png,a\n", r"2 of 3 listed pictures are missing .*9\.png, 8\.png"),
        ("path,name,kind\n0.png,cat,animal\n1.png,cat,machine\n", "name 'cat' is under two .* 'animal' and 'machine'"),
        ("path,name,kind\n0.png,cat,animal\n1.png,cat,\n", "'animal' and ''"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        CSVFile(_write(tmp_path, text)).split("all")


def test_missing_file_suggests_the_near_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.csv is missing; there is no CSV file"):
        CSVFile(tmp_path)
    _write(tmp_path, "path\n0.png\n")
    with pytest.raises(DataError, match=r"label\.csv is missing; did you mean 'labels\.csv'"):
        CSVFile(tmp_path, file="label.csv")


def test_wrong_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes("path,name\n0.png,é\n".encode("latin-1"))
    with pytest.raises(DataError, match="not a comma-separated file in UTF-8"):
        CSVFile(tmp_path)


def test_options_that_exclude_each_other(tmp_path: Path) -> None:
    _write(tmp_path, "path,name\n0.png,a\n")
    with pytest.raises(InputError, match="not both"):
        CSVFile(tmp_path, label_columns=["name"], tag_column="name")
    with pytest.raises(InputError, match="list of names"):
        CSVFile(tmp_path, label_columns="name")
    with pytest.raises(DataError, match="no column 'nmae'; did you mean 'name'"):
        CSVFile(tmp_path, label_columns=["nmae"])
    with pytest.raises(DataError, match="no column 'set'"):
        CSVFile(tmp_path, split_column="set")
    with pytest.raises(UnknownNameError, match="known: all"):
        CSVFile(tmp_path).split("train")
