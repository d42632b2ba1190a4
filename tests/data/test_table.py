from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pertinent.data.images import ArraySource
from pertinent.data.table import ImageTable, Judgement
from pertinent.errors import DataError, ImageError

PICTURES = ArraySource(np.arange(4 * 2 * 2 * 3, dtype=np.uint8).reshape(4, 2, 2, 3))
IDS = ["a", "b", "c", "d"]
TREE = np.array([[0, 0], [1, 0], [-1, 1], [2, -1]])
LEVELS = (["kind", "group"], [["ka", "kb", "kc"], ["ga", "gb"]])


def tree(**changes: Any) -> ImageTable:
    fields: dict[str, Any] = {"ids": IDS, "source": PICTURES, "kind": "tree", "labels": TREE}
    return ImageTable(**{**fields, "level_names": LEVELS[0], "class_names": LEVELS[1], **changes})


def test_words_of_a_tree_are_fine_first_and_empty_where_unlabelled():
    assert [tree().label_words(row) for row in range(4)] == [["ka", "ga"], ["kb", "ga"], ["", "gb"], ["kc", ""]]


def test_words_of_the_other_kinds():
    classes = tree(kind="classes", labels=np.array([1, 0, -1, 1]), class_names=[["x", "y"]])
    assert [classes.label_words(row) for row in range(4)] == [["y"], ["x"], [""], ["y"]]
    tags = tree(kind="tags", labels=np.array([[1, 0], [1, 1], [0, 0], [0, 1]], bool), class_names=[["red", "blue"]])
    assert [tags.label_words(row) for row in range(4)] == [["red"], ["red", "blue"], [], ["blue"]]
    assert ImageTable(IDS, PICTURES).label_words(0) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ids": IDS[:3]}, "3 ids for 4 pictures"),
        ({"ids": ["a", "b", "c", "a"]}, "picture ids are not unique"),
        ({"labels": TREE[:, 0]}, r"labels of kind tree have shape \(4,\) for 4 pictures"),
        ({"labels": TREE[:3]}, r"labels of kind tree have shape \(3, 2\) for 4 pictures"),
        ({"kind": "classes"}, r"labels of kind classes have shape \(4, 2\)"),
        ({"kind": "tags", "labels": np.zeros(4, bool)}, r"labels of kind tags have shape \(4,\)"),
    ],
)
def test_what_does_not_fit_together(changes: dict[str, Any], said: str):
    with pytest.raises(DataError, match=said):
        tree(**changes)


def test_a_subset_keeps_ids_labels_and_pictures_together():
    part = tree().subset([3, 0])
    assert (list(part.ids), part.labels.tolist(), len(part)) == (["d", "a"], [[2, -1], [0, 0]], 2)
    assert part.label_words(0) == ["kc", ""]
    assert np.array_equal(np.asarray(part.source.read(0)), PICTURES.pixels[3])
    assert part.source.where(1) == PICTURES.where(0)
    again = part.subset(np.array([1]))
    assert (list(again.ids), again.source.where(0)) == (["a"], PICTURES.where(0))
    assert len(tree().subset([])) == 0


def test_a_subset_without_labels_and_of_judgements():
    assert list(ImageTable(IDS, PICTURES).subset([1]).ids) == ["b"]
    judged = ImageTable(IDS, PICTURES, "judged", judgements=[Judgement(0, (1,))])
    with pytest.raises(DataError, match="a table of judgements, or of queries and items, cannot be cut"):
        judged.subset([0])


def test_fingerprint_changes_with_what_is_ranked_and_with_nothing_else():
    first = tree().fingerprint()
    assert tree().fingerprint() == first
    assert tree(level_names=["x", "y"]).fingerprint() == first
    other = np.where(TREE == 2, 1, TREE)
    changed = [
        tree(ids=["a", "b", "c", "e"]),
        tree(labels=other),
        tree().subset([0, 1, 2]),
        tree().subset([1, 0, 2, 3]),
        ImageTable(IDS, PICTURES),
        ImageTable(IDS, PICTURES, "judged", judgements=[Judgement(0, (1,))]),
        ImageTable(IDS, PICTURES, "judged", judgements=[Judgement(0, (2,))]),
    ]
    prints = {first, *(table.fingerprint() for table in changed)}
    assert len(prints) == 1 + len(changed)


def test_a_box_cuts_the_picture_wherever_its_row_goes():
    ramp = np.arange(4 * 6 * 8 * 3, dtype=np.uint8).reshape(4, 6, 8, 3)
    table = ImageTable(IDS, ArraySource(ramp), boxes={2: (1.4, 2, 5, 99), 3: (8, 0, 9, 2)})
    np.testing.assert_array_equal(np.asarray(table.read(2)), ramp[2, 2:6, 1:5])
    np.testing.assert_array_equal(np.asarray(table.read(0)), ramp[0])
    np.testing.assert_array_equal(np.asarray(table.subset([1, 2]).read(1)), ramp[2, 2:6, 1:5])
    with pytest.raises(ImageError, match=r"8 x 6 pixels have no part in the box \(8, 0, 9, 2\)"):
        table.read(3)
    assert (
        len({ImageTable(IDS, ArraySource(ramp), boxes=boxes).fingerprint() for boxes in ({}, {0: (0, 0, 4, 4)})}) == 2
    )


def test_queries_that_are_not_items():
    assert ImageTable(IDS, PICTURES, "judged", judgements=[Judgement(3, (1,))], probes=1).probes == 1
    parted = tree(probes=2)
    with pytest.raises(DataError, match="of queries and items, cannot be cut"):
        parted.subset([0])
    assert parted.fingerprint() != tree().fingerprint()
    with pytest.raises(DataError, match="5 pictures cannot be queries only in a table of 4"):
        ImageTable(IDS, PICTURES, probes=5)
