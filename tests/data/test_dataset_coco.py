"""COCO: a literal oracle over its JSON, one split for both issues, crowded and empty pictures, every wrong file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pertinent.data.datasets.coco import COCO
from pertinent.engine.doctor import diagnose
from pertinent.errors import DataError, InputError

OPTIONS = {"queries": 2, "training": 4}
NAMES = {1: "person", 3: "car", 18: "dog", 90: "toothbrush"}


def write(root: Path, part: str, shown: dict[int, list[int]], **changes: Any) -> Path:
    """One annotation file: which categories each picture shows, in an order that is not that of their numbers."""
    objects = [
        {"id": 100 * key + row, "image_id": key, "category_id": kind, "iscrowd": row % 2, "segmentation": {"size": [1]}}
        for key, kinds in shown.items()
        for row, kind in enumerate(kinds)
    ]
    year = int(part[-4:])
    stem = f"COCO_{part}_" if year == 2014 else ""
    content = {
        "info": {"year": year},
        "images": [{"id": key, "file_name": f"{stem}{key:012}.jpg", "license": 1} for key in reversed(shown)],
        "annotations": objects[::-1],
        "categories": [{"id": key, "name": name, "supercategory": "x"} for key, name in reversed(NAMES.items())],
        **changes,
    }
    path = root / f"annotations/instances_{part}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    (root / part).mkdir(exist_ok=True)
    for key in shown:
        (root / part / f"{stem}{key:012}.jpg").write_bytes(b"x")
    return path


_KINDS = [[1], [1, 1, 3], [], [90], [3, 18, 1, 90], [18], [], [3, 3], [1, 90], [18, 1], [3], [1], [90, 18]]
SHOWN = dict(enumerate(_KINDS, 139))


def halves(root: Path, year: int, cut: int) -> Path:
    write(root, f"train{year}", {key: kinds for key, kinds in SHOWN.items() if key >= cut})
    write(root, f"val{year}", {key: kinds for key, kinds in SHOWN.items() if key < cut})
    return root


def test_splits_and_tags_of_a_literal_oracle(tmp_path: Path) -> None:
    data = COCO(halves(tmp_path, 2017, 144), **OPTIONS)
    order = [key for key, kinds in SHOWN.items() if kinds]
    order.sort(key=lambda key: hashlib.sha256(str(key).encode()).hexdigest())
    assert data.splits == ["train", "query", "database"]
    for name, keys in (("query", order[:2]), ("train", order[2:6]), ("database", order[2:])):
        table = data.split(name)
        assert table.ids == [f"{'val' if key < 144 else 'train'}2017/{key:012}.jpg" for key in keys]
        assert table.class_names == [["person", "car", "dog", "toothbrush"]]
        assert table.labels.dtype == np.bool_
        for row, key in enumerate(keys):
            assert table.label_words(row) == [NAMES[kind] for kind in sorted(set(SHOWN[key]))]
    assert data.split("test").ids == data.split("query").ids
    assert data.split("gallery").ids == data.split("database").ids


def test_both_issues_have_one_split(tmp_path: Path) -> None:
    """They have the same pictures, in other halves and under other names."""
    new, old = COCO(halves(tmp_path, 2017, 141), **OPTIONS), COCO(halves(tmp_path, 2014, 148), year=2014, **OPTIONS)
    for name in new.splits:
        mine, theirs = new.split(name), old.split(name)
        assert [path[-16:] for path in mine.ids] == [path[-16:] for path in theirs.ids]
        assert all(path.split("/")[1].startswith("COCO_") for path in theirs.ids)
        assert np.array_equal(mine.labels, theirs.labels)


def test_folders_around(tmp_path: Path) -> None:
    COCO.example(tmp_path / "coco")
    (tmp_path / "coco/images").mkdir()
    first = COCO(tmp_path, **OPTIONS).split("train")
    for part in ("train2017", "val2017"):
        (tmp_path / "coco" / part).rename(tmp_path / "coco/images" / part)
    moved = COCO(tmp_path / "coco", **OPTIONS).split("train")
    assert moved.fingerprint() == first.fingerprint()
    assert moved.read(0).size == (32, 24)
    with pytest.raises(DataError, match=r"instances_train2014\.json or .* is missing .*year= chooses the issue"):
        COCO(tmp_path, year=2014)


def test_held_out_stays_in_the_database(tmp_path: Path) -> None:
    COCO.example(tmp_path)
    whole, data = COCO(tmp_path, **OPTIONS), COCO(tmp_path, held_out=0.5, **OPTIONS)
    train, held = data.split("train"), data.split("held_out")
    assert (len(train), len(held)) == (2, 2)
    assert {*train.ids, *held.ids} == set(whole.split("train").ids)
    assert data.split("database").fingerprint() == whole.split("database").fingerprint()
    assert set(whole.split("train").ids) < set(whole.split("database").ids)
    with pytest.raises(InputError, match="nothing is held out"):
        whole.split("held_out")


def test_counts_are_those_of_the_papers_unless_others_are_asked_for(tmp_path: Path) -> None:
    COCO.example(tmp_path)
    assert COCO(tmp_path).expected == {"train": 10_000, "query": 5000, "database": 117_218}
    assert COCO(tmp_path, **OPTIONS).expected == {}
    assert diagnose("coco", tmp_path, {"queries": 2, "training": 4}, pictures=True).healthy
    with pytest.raises(DataError, match="12 pictures cannot be dealt to 5,000 queries"):
        COCO(tmp_path).split("query")
    with pytest.raises(InputError, match="year must be 2014 or 2017, got 2015"):
        COCO(tmp_path, year=2015)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="held_out is a share"):
        COCO(tmp_path, held_out=1.0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": None}, "is no list of COCO's images, categories and annotations .*TypeError"),
        ({"categories": [{"id": 1}]}, "KeyError: 'name'"),
        ({"categories": [{"id": 1, "name": "person"}]}, "differ in their categories"),
        ({"annotations": [{"image_id": 7, "category_id": 1}]}, "is of picture 7 and category 1, which are not both"),
        ({"annotations": [{"image_id": 139, "category_id": 2}]}, "is of picture 139 and category 2"),
        ({"annotations": [{"category_id": 1}]}, "KeyError: 'image_id'"),
        ({"annotations": [{"image_id": 139}]}, "is no list of COCO's images"),
        ({"annotations": [{"image_id": 139, "category_id": "dog"}]}, "is no list of COCO's images"),
    ],
)
def test_wrong_files_are_named(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    halves(tmp_path, 2017, 144)
    write(tmp_path, "val2017", {key: SHOWN[key] for key in range(139, 144)}, **changes)
    with pytest.raises(DataError, match=said):
        COCO(tmp_path, **OPTIONS).split("train")


def test_broken_and_missing_files(tmp_path: Path) -> None:
    lost = COCO(halves(tmp_path, 2017, 144), **OPTIONS).split("database").ids[-1]
    (tmp_path / lost).unlink()
    with pytest.raises(
        DataError, match=rf"1 of 9 listed pictures are missing .*{lost}.*; annotations_trainval2017\.zip"
    ):
        COCO(tmp_path, **OPTIONS).split("database")
    path = tmp_path / "annotations/instances_val2017.json"
    path.write_text("{")
    with pytest.raises(DataError, match=r"instances_val2017\.json is no list of COCO's .*JSONDecodeError"):
        COCO(tmp_path, **OPTIONS).split("train")
    path.unlink()
    with pytest.raises(DataError, match=r"instances_val2017\.json is missing"):
        COCO(tmp_path, **OPTIONS).split("train")
