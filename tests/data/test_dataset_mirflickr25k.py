"""MIRFlickr-25k: HyP²'s lists and permutation, the published annotation files, the split of ours, every wrong file."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pertinent.data.audit import audit
from pertinent.data.datasets._parts import write_example_picture
from pertinent.data.datasets.mirflickr25k import MIRFlickr25k
from pertinent.data.sources import source
from pertinent.engine.doctor import diagnose
from pertinent.errors import DataError, InputError, UnknownNameError

POTENTIAL = (
    "animals baby bird car clouds dog female flower food indoor lake male night people plant_life portrait river sea "
    "sky structures sunset transport tree water"
)
STRICT = "baby bird car clouds dog female flower male night people portrait river sea tree"
TAGS = sorted([*POTENTIAL.split(), *(f"{word}_r1" for word in STRICT.split())])


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    MIRFlickr25k.example(tmp_path)
    return tmp_path


def opened(root: Path, queries: int = 2, training: int = 4, held_out: float = 0.0) -> MIRFlickr25k:
    return MIRFlickr25k(root, queries=queries, training=training, held_out=held_out)


def by_hash(names: list[str]) -> list[str]:
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())


def test_the_split_of_hyp2(lists: Path) -> None:
    names = (lists / "img.txt").read_text().split()
    flags = [[int(word) for word in line.split()] for line in (lists / "targets.txt").read_text().splitlines()]
    order = json.loads((lists / "flickr.txt").read_text())
    data = opened(lists)
    assert data.splits == ["train", "query", "database"]
    for name, rows in (("query", order[:2]), ("train", order[2:6]), ("database", order[6:])):
        table = data.split(name)
        assert table.ids == [names[row] for row in rows]
        assert table.labels.astype(int).tolist() == [flags[row] for row in rows]
        assert table.labels.dtype == np.bool_
        assert table.class_names == [TAGS]
        assert table.source.where(0) == str(lists / "mirflickr" / table.ids[0])
    assert data.split("test").ids == data.split("query").ids
    assert data.split("gallery").ids == data.split("database").ids
    with pytest.raises(UnknownNameError, match="unknown split 'val'"):
        data.split("val")


def test_the_split_of_ours(lists: Path) -> None:
    names = by_hash((lists / "img.txt").read_text().split())
    (lists / "flickr.txt").unlink()
    data = opened(lists)
    assert [data.split(name).ids for name in ("query", "train", "database")] == [names[:2], names[2:6], names[6:]]


def write_annotations(root: Path, folder: str, numbers: dict[str, list[int]]) -> None:
    (root / folder).mkdir(parents=True, exist_ok=True)
    for tag in TAGS:
        text = "".join(f"{number}\r\n" for number in numbers.get(tag, []))
        (root / folder / f"{tag}.txt").write_text(text)


@pytest.mark.parametrize("folder", ["", "annotations", "mirflickr25k_annotations_v080"])
def test_the_published_annotation_files(folder: str, tmp_path: Path) -> None:
    numbers = {"animals": [2, 5, 14], "baby": [5], "baby_r1": [5], "water": [1, 2, 3, 7, 11, 12]}
    write_annotations(tmp_path, folder, numbers)
    for number in range(1, 16):
        write_example_picture(tmp_path / f"mirflickr/im{number}.jpg", number)
    data = opened(tmp_path)
    names = by_hash([f"im{number}.jpg" for number in (1, 2, 3, 5, 7, 11, 12, 14)])
    tables = [data.split(name) for name in ("query", "train", "database")]
    assert [table.ids for table in tables] == [names[:2], names[2:6], names[6:]]
    for table in tables:
        for row, name in enumerate(table.ids):
            wanted = [tag for tag in TAGS if int(name[2:-4]) in numbers.get(tag, [])]
            assert table.label_words(row) == wanted != []


def test_both_layouts_give_one_split(lists: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The split of ours depends on names alone."""
    other = tmp_path_factory.mktemp("other") / "mirflickr25k"
    shutil.copytree(lists / "mirflickr", other / "mirflickr")
    flags = [line.split() for line in (lists / "targets.txt").read_text().splitlines()]
    numbers = {tag: [row + 1 for row in range(12) if flags[row][column] == "1"] for column, tag in enumerate(TAGS)}
    write_annotations(other, "annotations", numbers)
    (lists / "flickr.txt").unlink()
    for name in ("query", "train", "database"):
        assert opened(lists).split(name).fingerprint() == opened(other.parent).split(name).fingerprint()


def test_pictures_without_a_tag_stay_where_they_are_listed(lists: Path) -> None:
    lines = (lists / "targets.txt").read_text().splitlines()
    lines[3], lines[8] = " ".join("0" * 38), " ".join("1" * 38)
    (lists / "targets.txt").write_text("\n".join(lines))
    query = opened(lists).split("query")
    assert query.ids == ["im4.jpg", "im9.jpg"]
    assert [query.label_words(row) for row in range(2)] == [[], TAGS]
    assert diagnose("mirflickr25k", lists, {"queries": 2, "training": 4}).healthy


def test_held_out_and_other_counts(lists: Path) -> None:
    whole, data = opened(lists), opened(lists, held_out=0.25)
    assert data.splits == ["train", "query", "database", "held_out"]
    train, held = data.split("train"), data.split("held_out")
    assert held.ids == by_hash(list(whole.split("train").ids))[:1]
    assert train.ids == [name for name in whole.split("train").ids if name not in held.ids]
    assert data.split("database").ids == whole.split("database").ids
    assert len(opened(lists, queries=1, training=1).split("database")) == 10
    with pytest.raises(DataError, match="12 pictures cannot be dealt to 1,000 queries, 4,000 training pictures"):
        MIRFlickr25k(lists).split("train")
    with pytest.raises(InputError, match="must be at least 1"):
        opened(lists, queries=0).split("train")
    with pytest.raises(InputError, match="held_out is a share"):
        opened(lists, held_out=1.5)


def test_counts_are_those_of_the_paper_unless_others_are_asked_for(lists: Path) -> None:
    assert MIRFlickr25k(lists).expected == {"train": 4000, "query": 1000, "database": 19_581}
    assert sum(MIRFlickr25k.expected.values()) == 24_581
    assert opened(lists).expected == {}


def replace_line(file: str, text: str) -> Callable[[Path], object]:
    def change(root: Path) -> None:
        lines = (root / file).read_text().splitlines()
        (root / file).write_text("\n".join([*lines[:-1], text]))

    return change


ORDER_SAID = r"flickr\.txt must be a list of each number from 0 to 11 once, one a line of img\.txt"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (replace_line("img.txt", ""), r"img\.txt names 11 pictures, and targets\.txt has 12 rows"),
        (replace_line("img.txt", "im1.jpg"), "line 12 lists 'im1.jpg' again"),
        (replace_line("targets.txt", "1 0"), r"targets\.txt line 12: expected 38 zeros and ones"),
        (replace_line("targets.txt", " ".join("2" * 38)), "line 12: a tag is 1 or 0"),
        (lambda root: (root / "targets.txt").unlink(), r"targets\.txt is missing; .*HyP2-Loss"),
        (lambda root: (root / "flickr.txt").write_text("[0, 1"), r"flickr\.txt is not JSON"),
        (lambda root: (root / "flickr.txt").write_text("[0, 1]"), ORDER_SAID),
        (lambda root: (root / "flickr.txt").write_text(json.dumps([*range(11), 0])), ORDER_SAID),
        (lambda root: (root / "flickr.txt").write_text(json.dumps([*range(11), True])), ORDER_SAID),
        (lambda root: (root / "flickr.txt").write_text(json.dumps([*range(11), 11.0])), ORDER_SAID),
        (lambda root: (root / "flickr.txt").write_text("{}"), ORDER_SAID),
        (lambda root: (root / "mirflickr/im4.jpg").unlink(), r"1 of 2 listed pictures are missing .*im4\.jpg"),
        (lambda root: shutil.rmtree(root / "mirflickr"), r"no folder 'mirflickr' of pictures, .*press\.liacs\.nl"),
    ],
)
def test_wrong_lists_are_named(change: Callable[[Path], object], said: str, lists: Path) -> None:
    change(lists)
    with pytest.raises(DataError, match=said):
        opened(lists).split("query")


def test_wrong_annotations_are_named(lists: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("annotated")
    with pytest.raises(DataError, match=r"img\.txt or annotations/animals\.txt or .* is missing in .*press\.liacs\.nl"):
        opened(root)
    write_annotations(root, "annotations", {"animals": [1, 2, 3]})
    with pytest.raises(DataError, match="3 pictures cannot be dealt"):
        opened(root).split("train")
    for text in ("1\nim2\n", "1\n0\n", "1\n-4\n", "1\n99999999999\n"):
        (root / "annotations/sea.txt").write_text(text)
        with pytest.raises(DataError, match=r"sea\.txt line 2: expected a picture's number"):
            opened(root).split("train")
    (root / "annotations/sea.txt").unlink()
    with pytest.raises(DataError, match=r"sea\.txt is missing"):
        opened(root).split("train")
    write_annotations(root, "annotations", {})
    shutil.copy(lists / "flickr.txt", root)
    with pytest.raises(DataError, match=r"flickr\.txt numbers the lines of img\.txt, which is missing"):
        opened(root).split("train")
    (root / "flickr.txt").unlink()
    with pytest.raises(DataError, match="0 pictures cannot be dealt"):
        opened(root).split("train")


def test_the_order_lies_where_a_checkout_of_hyp2_has_it(lists: Path, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    inner = checkout / "data" / "flickr25k"
    inner.parent.mkdir(parents=True)
    want = opened(lists).split("query").ids
    for name in ("mirflickr", "img.txt", "targets.txt"):
        (inner / name).parent.mkdir(exist_ok=True)
        (lists / name).rename(inner / name)
    (lists / "flickr.txt").rename(checkout / "flickr.txt")
    for root in (checkout, inner.parent, inner):
        assert opened(root).split("query").ids == want
        assert opened(root).notes == []
    # One folder higher is no place of theirs.
    (checkout / "flickr.txt").rename(tmp_path / "flickr.txt")
    assert opened(inner).split("query").ids != want


def test_the_split_of_ours_is_told(lists: Path) -> None:
    options = {"queries": 2, "training": 4}
    assert diagnose("mirflickr25k", lists, options).notes == audit_of(lists)
    (lists / "flickr.txt").unlink()
    (said,) = opened(lists).notes
    assert said.startswith("mirflickr25k: the split is ours and not that of HyP² or another paper")
    assert diagnose("mirflickr25k", lists, options).notes == [said, *audit_of(lists)]


def audit_of(root: Path) -> list[str]:
    data = opened(root)
    return audit({name: data.split(name) for name in data.splits}, False, MIRFlickr25k.galleries)


def test_the_published_lists_are_among_the_downloads() -> None:
    files = {file.name: file for file in source("mirflickr25k").files}
    for name in ("flickr.txt", "img.txt", "targets.txt"):
        assert "/JerryXu0129/HyP2-Loss/e9c1c24c74d306d867f5d1d3505f5c791871534e/" in files[name].url
