"""iNaturalist readers: two levels and seven, species never seen in training, and names that stand for two things."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pertinent.data.datasets import INatBase, INatFull
from pertinent.errors import DataError, InputError

RANKS = ["species", "genus", "family", "order", "class", "phylum", "kingdom"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    INatFull.example(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def folder(root: Path) -> Path:
    return root / "Inaturalist"


def categories(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / "train2018.json").read_text())["categories"]
    return rows


def test_two_levels(root: Path) -> None:
    data = INatBase(root)
    train, test = data.split("train"), data.split("test")
    assert list(train.level_names) == ["species", "super-category"]
    assert [list(names) for names in train.class_names] == [
        ["Apis mellifera", "Apis cerana", "Pica pica", "Corvus corax", "Bellis perennis", "Pica alba"],
        ["Aves", "Insecta", "Plantae"],
    ]
    assert train.labels.tolist() == [[0, 1], [0, 1], [2, 0], [2, 0], [3, 0], [3, 0], [4, 2], [4, 2]]
    assert test.labels.tolist() == [[1, 1], [1, 1], [5, 2], [5, 2]]
    assert train.ids[0] == f"Insecta/3/{0:032x}.png"
    assert dict(data.expected) == {"train": 325846, "test": 136093}


def test_seven_levels(root: Path) -> None:
    data = INatFull(root)
    train, test = data.split("train"), data.split("test")
    assert list(train.level_names) == RANKS
    assert test.label_words(2) == [
        "Pica alba", "Pica (Asteraceae)", "Asteraceae", "Asterales", "Magnoliopsida", "Chlorophyta", "Plantae",
    ]  # fmt: skip
    # The genus of magpies and that of these flowers have one name and are two classes.
    assert list(train.class_names[1]) == ["Apis", "Bellis", "Corvus", "Pica (Asteraceae)", "Pica (Corvidae)"]
    assert train.labels[:, 1].tolist() == [0, 0, 4, 4, 2, 2, 1, 1]
    assert test.labels.tolist() == [[1, 0, 0, 1, 1, 0, 0]] * 2 + [[5, 3, 1, 0, 2, 1, 1]] * 2
    assert dict(INatFull.expected) == dict(INatBase.expected)


@pytest.mark.parametrize("reader", [INatBase, INatFull])
def test_species_are_held_out(root: Path, reader: Any) -> None:
    data = reader(root, holdout=0.25)
    assert list(data.splits) == ["train", "val", "trainval", "test"]
    train, val, both, test = (data.split(name) for name in data.splits)
    assert (len(train), len(val), len(both)) == (6, 2, 8)
    seen = [set(table.labels[:, 0].tolist()) for table in (train, val, test)]
    assert not seen[0] & seen[1]
    assert not (seen[0] | seen[1]) & seen[2]
    assert dict(data.expected) == {"trainval": 325846, "test": 136093}
    with pytest.raises(InputError, match="0 to below 1"):
        reader(root, holdout=1)


def test_both_hold_the_same_species_out(root: Path) -> None:
    assert list(INatBase(root, holdout=0.5).split("val").ids) == list(INatFull(root, holdout=0.5).split("val").ids)


def test_other_places(root: Path, folder: Path, tmp_path: Path) -> None:
    published = INatFull(root).split("train").fingerprint()
    assert INatFull(folder).split("train").fingerprint() == published
    copy = tmp_path / "copy"
    shutil.copytree(folder / "train_val2018", copy)
    for split in ("train", "test"):
        name = f"Inaturalist_{split}_set1.txt"
        # Another prefix, and no line break at the end.
        text = (folder / "Inat_dataset_splits" / name).read_text().replace("train_val2018/", "/data/inat/").rstrip("\n")
        (copy / name).write_text(text)
    (copy / "categories.json").write_text("\n" + json.dumps(categories(folder)))
    assert INatFull(copy).split("train").fingerprint() == published


def test_only_the_species_of_the_large_file_are_parsed(root: Path, folder: Path) -> None:
    published = INatFull(root).split("train").fingerprint()
    (folder / "train2018.json").write_text('{"images": [not JSON], "categories" : ' + json.dumps(categories(folder)))
    assert INatFull(root).split("train").fingerprint() == published


def test_what_is_missing_is_named(root: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"inat_base: categories\.json or train2018\.json is missing.*inat_comp"):
        INatBase(tmp_path)
    shutil.rmtree(folder / "train_val2018" / "Aves" / "20")
    with pytest.raises(DataError, match=r"inat_full: 2 of 8 listed pictures.*Aves/20.*inat_comp"):
        INatFull(root).split("train")
    (folder / "Inat_dataset_splits" / "Inaturalist_test_set1.txt").unlink()
    with pytest.raises(DataError, match=r"inat_full: .*Inaturalist_test_set1\.txt is missing.*Smooth_AP"):
        INatFull(root)
    (folder / "Inat_dataset_splits" / "Inaturalist_train_set1.txt").unlink()
    with pytest.raises(DataError, match=r"Inaturalist_train_set1\.txt or .* is missing.*Smooth_AP"):
        INatFull(root)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "lists no pictures"),
        ("a.jpg\n", "picture 1: expected 'Group/number/picture', got 'a.jpg'"),
        ("Aves/8/a.jpg\nAves/x/a.jpg\n", "picture 2: expected 'Group/number/picture'"),
        ("Aves/9/a.jpg\n", "the lists name species 9, which categories.json and train2018.json lack"),
        ("Aves/99/a.jpg\n", "the lists name species 99"),
        ("Insecta/3/a.jpg\n", "'Apis mellifera' in the lists of train and of test"),
        ("Insecta/8/a.jpg\nAves/8/b.jpg\n", "species 'Apis cerana' is under two classes of super-category"),
    ],
)
def test_wrong_lists_are_refused(root: Path, folder: Path, text: str, said: str) -> None:
    (folder / "Inat_dataset_splits" / "Inaturalist_test_set1.txt").write_text(text)
    with pytest.raises(DataError, match=said):
        INatBase(root)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no JSON", "is not JSON"),
        ('{"images": []}', "has no list of categories"),
        ('{"categories": []}', "has no list of categories"),
        ('{"categories": [{"id": 1, "name": "a"}]}', "a species without genus, family, order, class, phylum, kingdom"),
        (
            json.dumps({"categories": [dict.fromkeys(["name", *RANKS[1:]], "a") | {"id": "7"}]}),
            "a species whose id is '7', no number",
        ),
        ('{"categories": [1]}', "a species without id, name"),
    ],
)
def test_wrong_species_are_refused(root: Path, folder: Path, text: str, said: str) -> None:
    (folder / "train2018.json").write_text(text)
    with pytest.raises(DataError, match=said):
        INatFull(root)


def test_a_picture_that_is_listed_twice_is_refused(root: Path, folder: Path) -> None:
    (folder / "Inat_dataset_splits" / "Inaturalist_test_set1.txt").write_text("Insecta/8/a.png\nx/Insecta/8/a.png\n")
    with pytest.raises(DataError, match=r"inat_full: test lists 'Insecta/8/a\.png' twice"):
        INatFull(root).split("test")


def test_two_species_of_one_number_are_refused(root: Path, folder: Path) -> None:
    rows = categories(folder)
    (folder / "categories.json").write_text(json.dumps([*rows, rows[0]]))
    with pytest.raises(DataError, match=r"categories\.json has two species of one number"):
        INatFull(root)


def test_labels_of_many_pictures_agree_with_a_slow_reading(root: Path, folder: Path) -> None:
    rng, rows = np.random.default_rng(0), categories(folder)
    chosen = rng.choice([row["id"] for row in rows if row["id"] not in (8, 41)], 3000)
    group = {row["id"]: row["supercategory"] for row in rows}
    lines = [f"train_val2018/{group[number]}/{number}/{row}.png" for row, number in enumerate(chosen.tolist())]
    (folder / "Inat_dataset_splits" / "Inaturalist_train_set1.txt").write_text("\n".join(lines))
    for line in lines:
        (folder / line).touch()
    table = INatFull(root).split("train")
    by_id = {row["id"]: row for row in rows}
    for row, number in enumerate(chosen.tolist()):
        words = [word.partition(" (")[0] for word in table.label_words(row)]
        assert words == [by_id[number]["name"], *(by_id[number][rank] for rank in RANKS[1:])]
