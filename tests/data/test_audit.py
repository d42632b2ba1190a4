"""Audit: each problem is found once, named, and nothing is found in clean data."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pertinent.data.audit import audit
from pertinent.data.datasets._parts import write_example_picture
from pertinent.data.datasets.grocery import Grocery
from pertinent.data.images import ArraySource, FolderSource
from pertinent.data.table import ImageTable


def _table(labels: list[int], names: list[str], first: int = 0) -> ImageTable:
    pixels = np.arange(first, first + len(labels), dtype=np.uint8)[:, None, None, None] * np.ones(
        (1, 2, 2, 3), np.uint8
    )
    ids = [f"p{first + row}" for row in range(len(labels))]
    return ImageTable(ids, ArraySource(pixels), "classes", np.array(labels), ["kind"], [names])


def test_clean_data_has_no_problems() -> None:
    assert audit(_table([0, 0, 1, 1], ["a", "b"])) == []
    assert audit({"train": _table([0, 0], ["a", "b"]), "test": _table([1, 1], ["a", "b"], 5)}) == []


def test_single_and_missing_labels_are_named_with_their_meaning() -> None:
    problems = audit(_table([0, 0, 1, 2, -1], ["a", "b", "c", "unused"]))
    assert len(problems) == 2
    assert problems[0].startswith("1 of 5 pictures have no kind")
    assert problems[1].startswith("2 of 3 labels of kind appear once (b, c)")
    assert "no positive" in problems[1]


def test_every_level_of_a_tree_is_looked_at() -> None:
    source = ArraySource(np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8))
    labels = np.array([[0, 0], [1, 0], [2, 1]])
    tree = ImageTable(["x", "y", "z"], source, "tree", labels, ["fine", "coarse"], [["a", "b", "c"], ["A", "B"]])
    assert [text.split(" appear")[0] for text in audit(tree)] == [
        "3 of 3 labels of fine",
        "1 of 2 labels of coarse",
    ]


def test_tags() -> None:
    tags = np.array([[1, 0], [1, 1], [0, 0]], dtype=np.bool_)
    source = ArraySource(np.zeros((3, 2, 2, 3), np.uint8))
    problems = audit(ImageTable(["x", "y", "z"], source, "tags", tags, ["tag"], [["sea", "sky"]]), check_pictures=False)
    assert [text.split(" (")[0] for text in problems] == [
        "1 of 3 pictures have no tag; they are relevant to nothing by it",
        "1 of 2 labels of tag appear once",
    ]


def test_long_lists_are_cut_with_their_count() -> None:
    problems = audit(_table(list(range(14)), [f"c{label}" for label in range(14)]), check_pictures=False)
    assert "c9 and 4 more" in problems[0]


def test_classes_in_two_splits() -> None:
    splits = {"train": _table([0, 0, 1, 1], ["a", "b"]), "test": _table([1, 1], ["a", "b"], 7)}
    problems = audit(splits)
    assert len(problems) == 1
    assert problems[0].startswith("train and test share 1 of 2 classes of kind (b)")


def test_unreadable_and_duplicate_pictures(tmp_path: Path) -> None:
    write_example_picture(tmp_path / "a.png", 1)
    write_example_picture(tmp_path / "b.bmp", 1)
    write_example_picture(tmp_path / "c.png", 2)
    (tmp_path / "d.png").write_bytes((tmp_path / "c.png").read_bytes()[:60])
    train = ImageTable(["a", "d"], FolderSource(tmp_path, ["a.png", "d.png"]))
    test = ImageTable(["b", "c"], FolderSource(tmp_path, ["b.bmp", "c.png"]))
    problems = audit({"train": train, "test": test})
    assert len(problems) == 2
    assert problems[0].startswith(f"train: cannot read {tmp_path / 'd.png'}: truncated or damaged")
    assert problems[1] == "2 pictures are exactly the same: train:a, test:b"
    assert audit({"train": train, "test": test}, check_pictures=False) == []
    twice = ImageTable(["a", "b"], FolderSource(tmp_path, ["a.png", "b.bmp"]))
    assert audit(twice) == ["2 pictures are exactly the same: a, b"]


def test_real_labels(shared: Path) -> None:
    data = Grocery(shared / "data" / "grocery_store")
    problems = audit({name: data.split(name) for name in data.splits}, check_pictures=False)
    assert any(text.startswith("train and val share") for text in problems)


def test_queries_that_search_in_a_gallery() -> None:
    queries, gallery = _table([0, 1, 2], ["a", "b", "c"]), _table([0, 0, 1], ["a", "b"], 5)
    pair = {"query": queries, "gallery": gallery}
    apart = audit(pair, check_pictures=False)
    assert any("query: 3 of 3 labels of kind appear once" in text for text in apart)
    assert any("query and gallery share 2 of 3 classes" in text for text in apart)
    told = audit(pair, check_pictures=False, galleries={"query": "gallery"})
    assert told[0] == (
        "query: 1 of 3 labels of kind are not in gallery, in which it searches (c): nothing is relevant by them"
    )
    assert [text.split(":")[0] for text in told[1:]] == ["gallery"], "what is alone in the gallery"
    assert audit(pair, check_pictures=False, galleries={"query": "elsewhere"}) == apart


def test_splits_with_pictures_in_common_share_classes_on_purpose() -> None:
    train = _table([0, 0, 1, 1], ["a", "b"])
    splits = {"train": train.subset([0, 1]), "trainval": train}
    assert audit(splits, check_pictures=False) == []
    assert audit(splits) == []


def test_pictures_in_two_splits_are_told_whether_opened_or_not() -> None:
    table = _table([0, 0, 1, 1], ["a", "b"])
    for splits in (
        {"train": table, "test": table},
        {"train": table.subset([0, 1, 2]), "test": table.subset([1, 2, 3])},
    ):
        for pictures in (False, True):
            told = audit(splits, check_pictures=pictures)
            assert any("train and test share" in text for text in told)
            assert any("train and test have" in text and "pictures in common" in text for text in told)
