"""Joining tables: what each picture is before and after must be the same."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from pertinent.data.concatenation import concatenate, queries_and_items
from pertinent.data.images import ArraySource
from pertinent.data.table import ImageTable, Judgement
from pertinent.errors import DataError, InputError
from pertinent.relevance import Relevance


def pictures(first: int, count: int) -> ArraySource:
    """Pictures whose pixels are their number."""
    return ArraySource(np.stack([np.full((4, 4, 3), first + row, np.uint8) for row in range(count)]))


def table(ids: str, first: int, **fields: Any) -> ImageTable:
    return ImageTable(list(ids), pictures(first, len(ids)), **fields)


def classes(ids: str, first: int, words: str, names: str, **fields: Any) -> ImageTable:
    labels = np.array([names.index(word) if word in names else -1 for word in words], np.int64)
    return table(ids, first, kind="classes", labels=labels, level_names=["kind"], class_names=[list(names)], **fields)


def tree(ids: str, first: int, rows: list[tuple[str, str]]) -> ImageTable:
    names = [sorted({row[level] for row in rows}) for level in range(2)]
    labels = np.array([[names[level].index(row[level]) for level in range(2)] for row in rows], np.int64)
    return table(ids, first, kind="tree", labels=labels, level_names=["kind", "group"], class_names=names)


BENCHMARK = table(
    "abcdq",
    0,
    kind="judged",
    judgements=[Judgement(4, easy=(0, 2), hard=(1,), junk=(3,))],
    probes=1,
    boxes={4: (0, 0, 2, 3), 1: (1, 1, 2, 2)},
)


def test_labels_are_joined_by_name():
    joined = concatenate([classes("ab", 0, "yx", "xy"), classes("cde", 2, "zy-", "yz")])
    assert joined.ids == list("abcde")
    assert [joined.label_words(row)[0] for row in range(5)] == ["y", "x", "z", "y", ""]
    assert [list(names) for names in joined.class_names] == [["x", "y", "z"]]
    assert [np.asarray(joined.read(row)).max() for row in range(5)] == [0, 1, 2, 3, 4]


def test_trees_and_tags_too():
    joined = concatenate([tree("ab", 0, [("p", "P"), ("q", "Q")]), tree("c", 2, [("r", "Q")]), table("d", 3)])
    assert joined.kind == "tree"
    assert [joined.label_words(row) for row in range(4)] == [["p", "P"], ["q", "Q"], ["r", "Q"], ["", ""]]
    tagged = [
        table("ab", 0, kind="tags", labels=np.array([[1, 0], [1, 1]], bool), class_names=[["red", "blue"]]),
        table("c", 2),
        table("d", 3, kind="tags", labels=np.array([[1, 0, 1]], bool), class_names=[["green", "dark", "red"]]),
    ]
    joined = concatenate(tagged)
    assert [joined.label_words(row) for row in range(4)] == [["red"], ["red", "blue"], [], ["red", "green"]]
    assert joined.labels.shape == (4, 4)


@pytest.mark.parametrize("distractors_first", [False, True])
def test_distractors_join_the_gallery_and_queries_stay_last(distractors_first):
    distractors = table("xyz", 10, boxes={2: (0, 0, 1, 1)})
    joined = concatenate([distractors, BENCHMARK] if distractors_first else [BENCHMARK, distractors])
    assert joined.ids == (list("xyzabcdq") if distractors_first else list("abcdxyzq"))
    (judged,) = joined.judgements
    found = {word: [joined.ids[row] for row in getattr(judged, word)] for word in ("easy", "hard", "junk")}
    assert found == {"easy": ["a", "c"], "hard": ["b"], "junk": ["d"]}
    assert (joined.ids[judged.query], joined.probes) == ("q", 1)
    assert {joined.ids[row]: box for row, box in joined.boxes.items()} == {
        "q": (0, 0, 2, 3),
        "b": (1, 1, 2, 2),
        "z": (0, 0, 1, 1),
    }
    numbers = dict(zip("abcdqxyz", [0, 1, 2, 3, 4, 10, 11, 12], strict=True))
    assert all(np.asarray(joined.read(row)).max() == numbers[name] for row, name in enumerate(joined.ids))
    assert joined.read(joined.ids.index("q")).size == (2, 3)
    rel = Relevance.judged(joined.judgements, "medium", n_items=7, query_positions=[-1])
    assert rel.counts(slice(None)).tolist() == [[3, 3]]


def test_two_benchmarks_keep_their_own_judgements():
    other = table("efr", 20, kind="judged", judgements=[Judgement(2, easy=(1,))], probes=1)
    joined = concatenate([BENCHMARK, other])
    assert joined.ids == list("abcdefqr")
    assert [(joined.ids[asked.query], [joined.ids[row] for row in asked.easy]) for asked in joined.judgements] == [
        ("q", ["a", "c"]),
        ("r", ["f"]),
    ]
    assert joined.probes == 2


def test_ids_of_several_tables_get_the_number_of_their_table():
    joined = concatenate([table("ab", 0), table("bc", 2), table("b", 4)])
    assert joined.ids == ["a", "0/b", "1/b", "c", "2/b"]
    with pytest.raises(DataError, match="not unique"):
        concatenate([ImageTable(["a", "0/a"], pictures(0, 2)), table("a", 2)])


def test_one_table_is_itself():
    for only in (BENCHMARK, table("ab", 0), classes("ab", 0, "yx", "xy")):
        assert concatenate([only]).fingerprint() == only.fingerprint()


def test_a_joined_table_goes_to_workers():
    joined = concatenate([table("ab", 0), table("c", 2)])
    there = pickle.loads(pickle.dumps(joined))
    assert [there.source.where(row) for row in range(3)] == [f"picture {row} of an array" for row in (0, 1, 0)]
    assert np.asarray(there.read(2)).max() == 2


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ([BENCHMARK, classes("e", 9, "x", "x")], "kind judged and classes cannot be joined"),
        ([tree("a", 0, [("p", "P")]), classes("e", 9, "x", "x")], "kind tree and classes"),
        ([tree("a", 0, [("p", "P")]), tree("b", 1, [("p", "Q")])], "class 'p' is under different parents"),
        (
            [BENCHMARK, table("ef", 9, kind="judged", judgements=[Judgement(1, ok=(0,))], probes=1)],
            "classic and revisited",
        ),
        ([table("a", 0, kind="classes", labels=np.array([0]), level_names=["kind"])], "give class_names"),
        (
            [
                classes("a", 0, "x", "x"),
                table("b", 1, kind="classes", labels=np.array([0]), level_names=["sort"], class_names=[["x"]]),
            ],
            "levels kind and sort",
        ),
    ],
)
def test_what_cannot_be_joined_is_named(tables, says):
    with pytest.raises(DataError, match=says):
        concatenate(tables)


def test_nothing_cannot_be_joined():
    with pytest.raises(InputError, match="at least one table"):
        concatenate([])


def test_queries_stand_behind_their_items_and_are_no_items():
    items = kinds(["a", "b", "c", "d"], [0, 1, 1, 0])
    queries = kinds(["x", "b"], [1, 1])
    both = queries_and_items(queries, items)
    assert (both.ids, both.probes) == (["a", "0/b", "c", "d", "x", "1/b"], 2)
    assert [both.label_words(row) for row in range(6)] == [["k0"], ["k1"], ["k1"], ["k0"], ["k1"], ["k1"]]
    # The picture is an item for the other queries; only the query that it is does not find it.
    assert both.judgements == [Judgement(5, junk=(1,))]
    with pytest.raises(DataError, match="tells its queries from its items already"):
        queries_and_items(queries, both)
    judged = ImageTable(["a"], ArraySource(np.zeros((1, 4, 4, 3), np.uint8)), "judged", judgements=[])
    with pytest.raises(DataError, match="tells its queries from its items already"):
        queries_and_items(judged, judged)


def kinds(ids: list[str], labels: list[int]) -> ImageTable:
    pixels = np.zeros((len(ids), 4, 4, 3), np.uint8)
    return ImageTable(ids, ArraySource(pixels), "classes", np.array(labels), ["kind"], [["k0", "k1"]])
