"""VOC: the genuine lists of 2007, annotations against lists, folders, splits of the papers, hostile and broken XML."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from pertinent.data.datasets._parts import write_example_picture
from pertinent.data.datasets._voc import CLASSES
from pertinent.data.datasets.voc2007 import VOC2007
from pertinent.data.datasets.voc2012 import VOC2012
from pertinent.engine.doctor import diagnose
from pertinent.errors import DataError, InputError, UnknownNameError


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    VOC2007.example(tmp_path)
    return tmp_path / "VOCdevkit" / "VOC2007"


@pytest.fixture(scope="module")
def genuine(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lists of all of VOC2007; an empty file lies in the place of each picture."""
    folder = tmp_path_factory.mktemp("voc")
    shutil.copytree(shared / "data" / "voc2007_lists" / "ImageSets", folder / "ImageSets")
    (folder / "JPEGImages").mkdir()
    (folder / "one").write_bytes(b"")
    for name in ("trainval", "test"):
        for number in (folder / f"ImageSets/Main/{name}.txt").read_text().split():
            (folder / "JPEGImages" / f"{number}.jpg").hardlink_to(folder / "one")
    return folder


def test_the_genuine_lists(genuine: Path) -> None:
    assert sorted(CLASSES) == CLASSES
    data, strict = VOC2007(genuine), VOC2007(genuine, difficult=False)
    assert data.splits == ["train", "val", "trainval", "test"]
    for name, most, difficult in (("trainval", 7306, 607), ("test", 7013, 619)):
        table, certain = data.split(name), strict.split(name)
        assert len(table) == VOC2007.expected[name]
        assert (table.kind, table.labels.shape, table.class_names) == ("tags", (len(table), 20), [CLASSES])
        assert int(certain.labels.sum()) == most
        assert int(table.labels.sum()) == most + difficult
        assert not (certain.labels & ~table.labels).any()
        assert table.labels.any(1).all()
        for column, label in ((0, "aeroplane"), (14, "person"), (19, "tvmonitor")):
            lines = (genuine / f"ImageSets/Main/{label}_{name}.txt").read_text().split("\n")
            listed = {words[0]: int(words[1]) for line in lines if (words := line.split())}
            assert table.labels[:, column].tolist() == [listed[identity] >= 0 for identity in table.ids]
            assert certain.labels[:, column].tolist() == [listed[identity] == 1 for identity in table.ids]


def test_the_genuine_splits_are_parts_of_each_other(genuine: Path) -> None:
    data = VOC2007(genuine)
    train, val = data.split("train"), data.split("val")
    assert {"train": len(train), "val": len(val)}.items() <= VOC2007.expected.items()
    both = (genuine / "ImageSets/Main/trainval.txt").read_text().split()
    assert sorted([*train.ids, *val.ids]) == both


def test_the_names_of_the_hashing_papers(devkit: Path) -> None:
    data = VOC2007(devkit)
    assert data.split("query").fingerprint() == data.split("test").fingerprint()
    for name in ("database", "gallery"):
        assert data.split(name).fingerprint() == data.split("trainval").fingerprint()
    assert diagnose("voc2007", devkit, pictures=True).problems == [
        f"{name}: {count} pictures, where {wanted:,} were published"
        for (name, wanted), count in zip(VOC2007.expected.items(), (4, 4, 8, 4), strict=True)
    ]


def write_both(folder: Path, flags: np.ndarray) -> None:
    """The same objects as lists of classes (1, 0, -1) and as annotations."""
    names = [f"{number:06}" for number in range(len(flags))]
    (folder / "ImageSets/Main").mkdir(parents=True)
    (folder / "Annotations").mkdir()
    (folder / "ImageSets/Main/train.txt").write_text("\n".join(names))
    for column, label in enumerate(CLASSES):
        lines = [f"{name} {flag:2}\r\n" for name, flag in zip(names, flags[:, column].tolist(), strict=True)]
        (folder / f"ImageSets/Main/{label}_train.txt").write_text("".join(lines))
    for name, row in zip(names, flags.tolist(), strict=True):
        items = []
        for label, flag in zip(CLASSES, row, strict=True):
            # A class of which one object is clear and another is difficult is clear.
            items += [(label, 0), (label, 1), (label, 0)] if flag == 1 else [(label, 1)] if flag == 0 else []
        random.Random(name).shuffle(items)
        text = "".join(
            f"<object><name>{label}</name><difficult>{hard}</difficult><part><name>head</name></part></object>"
            for label, hard in items
        )
        (folder / f"Annotations/{name}.xml").write_text(f"<annotation><folder>VOC</folder>{text}</annotation>")
        write_example_picture(folder / f"JPEGImages/{name}.jpg", 1)


@pytest.mark.parametrize("difficult", [True, False])
def test_annotations_and_lists_agree(difficult: bool, tmp_path: Path) -> None:
    flags = np.random.default_rng(0).choice([-1, -1, -1, 0, 1], (12, 20))
    flags[0], flags[1], flags[2] = -1, 1, 0
    write_both(tmp_path, flags)
    by_objects = VOC2007(tmp_path, difficult=difficult).split("train")
    shutil.rmtree(tmp_path / "Annotations")
    by_lists = VOC2007(tmp_path, difficult=difficult).split("train")
    assert by_objects.fingerprint() == by_lists.fingerprint()
    assert np.array_equal(by_objects.labels, flags >= (0 if difficult else 1))
    assert by_objects.labels.dtype == np.bool_


def test_difficult_is_no_when_it_is_not_said(devkit: Path) -> None:
    text = "<annotation><object><name>cat</name></object></annotation>"
    (devkit / "Annotations/000001.xml").write_text(text)
    assert VOC2007(devkit, difficult=False).split("train").label_words(0) == ["cat"]


def test_the_root_may_be_any_of_three_folders(devkit: Path) -> None:
    tables = [VOC2007(root).split("train") for root in (devkit, devkit.parent, devkit.parent.parent)]
    assert len({table.fingerprint() for table in tables}) == 1
    assert len({table.source.where(0) for table in tables}) == 1
    assert tables[0].ids == ["000001", "000002", "000003", "000004"]
    with pytest.raises(DataError, match=r"ImageSets/Main/train\.txt or .* is missing .*VOCtrainval_11-May-2012"):
        VOC2012(devkit.parent.parent)


def test_lists_that_are_not_there(devkit: Path) -> None:
    (devkit / "ImageSets/Main/test.txt").unlink()
    data = VOC2007(devkit)
    assert data.splits == ["train", "val", "trainval"]
    for name in ("test", "query"):
        with pytest.raises(DataError, match=r"test\.txt is missing; .*VOCtest_06-Nov-2007\.tar"):
            data.split(name)
    with pytest.raises(UnknownNameError, match="did you mean 'trainval'"):
        data.split("train_val")


def test_missing_parts_are_named(devkit: Path) -> None:
    (devkit / "Annotations/000001.xml").unlink()
    with pytest.raises(DataError, match=r"000001\.xml is missing"):
        VOC2007(devkit).split("train")
    (devkit / "JPEGImages/000005.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 4 listed pictures are missing .*000005\.jpg"):
        VOC2007(devkit).split("val")
    shutil.rmtree(devkit / "Annotations")
    with pytest.raises(DataError, match=r"aeroplane_train\.txt is missing; without the folder Annotations"):
        VOC2007(devkit).split("train")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("000001 1\n000002 2\n", r"dog_train\.txt line 2: expected 'picture flag', a flag of 1, 0 or -1"),
        ("000001\n", "line 1: expected 'picture flag'"),
        ("000001 1\n000001 1\n", "lists '000001' again"),
        ("000000 1\n", "does not list the pictures of its split: '000001' is missing"),
        ("000000 1\n000001 1\n000009 1\n", "it has 3 for 2"),
        ("", "'000000' is missing"),
    ],
)
def test_wrong_lists_are_named(text: str, said: str, tmp_path: Path) -> None:
    write_both(tmp_path, np.full((2, 20), -1))
    shutil.rmtree(tmp_path / "Annotations")
    (tmp_path / "ImageSets/Main/dog_train.txt").write_text(text)
    with pytest.raises(DataError, match=said):
        VOC2007(tmp_path).split("train")


LAUGHS = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
BODY = "<annotation><object><name>{}</name></object></annotation>"


@pytest.mark.parametrize(
    "content",
    [
        f'<!DOCTYPE x [<!ENTITY a0 "cat">{LAUGHS}]>{BODY.format("&a9;")}'.encode(),
        f'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>{BODY.format("&e;")}'.encode(),
        f'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">{BODY.format("cat")}'.encode(),
        f'<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE x [<!ENTITY e "cat">]>{BODY.format("&e;")}'.encode("utf-16"),
    ],
)
def test_document_types_are_refused(content: bytes, devkit: Path) -> None:
    (devkit / "Annotations/000001.xml").write_bytes(content)
    with pytest.raises(DataError, match=r"000001\.xml declares a document type"):
        VOC2007(devkit).split("train")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("<annotation><object>", "is not XML"),
        ("", "is not XML"),
        ("<annotation>&e;</annotation>", "is not XML"),
        ('<?xml version="1.0" encoding="no-such"?><a/>', "is not XML"),
        (BODY.format("catt"), "has an object 'catt'; did you mean 'cat'"),
        ("<annotation><object/></annotation>", "has an object ''"),
    ],
)
def test_broken_annotations_are_named(content: str, said: str, devkit: Path) -> None:
    (devkit / "Annotations/000001.xml").write_text(content)
    with pytest.raises(DataError, match=rf"voc2007: .*000001\.xml {said}"):
        VOC2007(devkit).split("train")


def test_2012_holds_pictures_out_of_train(tmp_path: Path) -> None:
    VOC2012.example(tmp_path)
    data, plain = VOC2012(tmp_path, held_out=0.34), VOC2012(tmp_path)
    assert plain.splits == ["train", "val", "trainval"]
    assert data.splits == ["train", "val", "trainval", "held_out"]
    whole = plain.split("train")
    train, held = data.split("train"), data.split("held_out")
    assert (len(train), len(held)) == (4, 2)
    assert sorted([*train.ids, *held.ids]) == whole.ids
    # The database stays that of the papers, and so do the queries.
    assert data.split("database").fingerprint() == data.split("gallery").fingerprint() == whole.fingerprint()
    assert data.split("query").ids == plain.split("val").ids == data.split("val").ids
    assert VOC2012.expected == plain.expected == {"train": 5717, "val": 5823, "trainval": 11_540}
    assert data.expected == {"val": 5823, "trainval": 11_540}
    with pytest.raises(InputError, match="nothing is held out"):
        plain.split("held_out")
    with pytest.raises(InputError, match="held_out is a share of train"):
        VOC2012(tmp_path, held_out=-1.0)
