from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from oracles.ranking import map_gains, pop_gains, tree_level
from pertinent.data.table import Judgement
from pertinent.errors import InputError, UnknownNameError
from pertinent.relevance import Relevance

ALL = slice(None)
GND = [
    {"easy": [0, 2], "hard": np.array([5]), "junk": [1]},
    {"easy": [], "hard": [3], "junk": []},
    {"easy": [4], "hard": [], "junk": [0, 1]},
]


def literal_tree(mine, theirs):
    return np.array([[tree_level(a, b) for b in theirs.tolist()] for a in mine.tolist()])


@pytest.mark.parametrize("nested", [True, False])
def test_tree_levels_are_the_number_of_equal_columns(nested):
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 5, (40, 3))
    if nested:
        fine = rng.integers(0, 12, 40)
        labels = np.stack([fine, fine // 3, fine // 6], 1)
    want = literal_tree(labels, labels)
    np.fill_diagonal(want, -1)
    rel = Relevance.tree(torch.from_numpy(labels))
    np.testing.assert_array_equal(rel.block(ALL, ALL), want)
    np.testing.assert_array_equal(rel.block(slice(7, 19), slice(3, 11)), want[7:19, 3:11])
    assert (rel.n_queries, rel.n_items, rel.levels, rel.kind) == (40, 40, 3, "tree")


def test_tree_against_another_gallery_excludes_nothing():
    rng = np.random.default_rng(1)
    mine, theirs = rng.integers(0, 3, (9, 2)), rng.integers(0, 3, (14, 2))
    np.testing.assert_array_equal(Relevance.tree(mine, theirs).block(ALL, ALL), literal_tree(mine, theirs))


def test_query_positions_exclude_the_query_from_a_gallery_that_holds_it():
    rel = Relevance.classes([1, 2, 1], [2, 1, 1, 1], query_positions=[3, 0, -1])
    np.testing.assert_array_equal(rel.block(ALL, ALL), [[0, 1, 1, -1], [-1, 0, 0, 0], [0, 1, 1, 1]])


def test_huge_ids_stay_apart_and_minus_one_is_unlabelled():
    big = 2**62
    labels = np.array([big, big + 1, big, -1, -1, -(2**63)])
    block = Relevance.classes(labels).block(ALL, ALL)
    want = np.zeros((6, 6), int)
    want[0, 2] = want[2, 0] = 1
    np.fill_diagonal(want, -1)
    np.testing.assert_array_equal(block, want)


@pytest.mark.parametrize("graded", [True, False])
def test_tags_share(graded):
    rng = np.random.default_rng(2)
    tags = rng.random((30, 6)) < 0.25
    gallery = rng.random((20, 6)) < 0.25
    shared = tags.astype(int) @ gallery.astype(int).T
    rel = Relevance.tags(torch.from_numpy(tags), gallery.astype(np.int8), graded=graded)
    np.testing.assert_array_equal(rel.block(ALL, ALL), shared if graded else np.minimum(shared, 1))
    if graded:
        assert rel.levels >= shared.max()
    own = Relevance.tags(tags, graded=graded).block(ALL, ALL)
    assert (np.diag(own) == -1).all()


@pytest.mark.parametrize(
    ("protocol", "want"),
    [
        ("easy", [[1, -1, 1, 0, 0, -1], [0, 0, 0, -1, 0, 0], [-1, -1, 0, 0, 1, 0]]),
        ("medium", [[1, -1, 1, 0, 0, 1], [0, 0, 0, 1, 0, 0], [-1, -1, 0, 0, 1, 0]]),
        ("hard", [[-1, -1, -1, 0, 0, 1], [0, 0, 0, 1, 0, 0], [-1, -1, 0, 0, -1, 0]]),
    ],
)
def test_judged_protocols(protocol, want):
    np.testing.assert_array_equal(Relevance.judged(GND, protocol, n_items=6).block(ALL, ALL), want)
    whole = {"gnd": GND, "imlist": list("abcdef")}
    np.testing.assert_array_equal(Relevance.judged(whole, protocol).block(ALL, ALL), want)


def test_judged_classic_keeps_the_query_that_its_record_names():
    gnd = [SimpleNamespace(query=0, ok=[0, 1], junk=[2]), SimpleNamespace(query=3, ok=[1], junk=[])]
    block = Relevance.judged(gnd, "classic", n_items=4).block(ALL, ALL)
    np.testing.assert_array_equal(block, [[1, 1, -1, 0], [0, 1, 0, -1]])


def test_judgement_objects_leave_their_query_out():
    rel = Relevance.judged([Judgement(query=2, easy=(0,), junk=(1,)), Judgement(query=1, hard=(3,))], n_items=4)
    np.testing.assert_array_equal(rel.block(ALL, ALL), [[1, -1, -1, 0], [0, -1, 0, 1]])
    np.testing.assert_array_equal(rel.query_positions, [2, 1])


def test_judged_without_a_size_fits_any_larger_gallery():
    rel = Relevance.judged(GND)
    assert rel.n_items == 6
    grown = rel.for_gallery(9)
    assert grown.n_items == 9
    np.testing.assert_array_equal(grown.block(ALL, slice(6, 9)), np.zeros((3, 3)))
    with pytest.raises(InputError, match="at least 6 items, the gallery has 5"):
        rel.for_gallery(5)


def test_positives_ascend_and_agree_with_the_block():
    rng = np.random.default_rng(3)
    for rel in (Relevance.tree(rng.integers(0, 4, (25, 3))), Relevance.tags(rng.random((25, 5)) < 0.3, graded=True)):
        found = rel.positives(slice(5, 20))
        block = rel.block(slice(5, 20), ALL)
        for row in range(15):
            part = slice(found.lists.offsets[row], found.lists.offsets[row + 1])
            np.testing.assert_array_equal(found.lists.ids[part], np.flatnonzero(block[row] > 0))
            np.testing.assert_array_equal(found.levels[part], block[row][block[row] > 0])


@pytest.mark.parametrize("count_self", [False, True])
@pytest.mark.parametrize(("weights", "alpha"), [("pop", 1.0), ("pop", 0.0), ("pop", 3), ("map", [0.2, 0.3, 0.5])])
def test_counts_and_gains(weights, alpha, count_self):
    rng = np.random.default_rng(4)
    labels = rng.integers(-1, 3, (20, 3))
    rel = Relevance.tree(labels, weights=weights, alpha=alpha, count_self=count_self)
    block = rel.block(ALL, ALL)
    counts, gains = rel.counts(slice(3, 20)), rel.gains(slice(3, 20))
    for row in range(3, 20):
        listed = [int(level) for level in block[row] if level >= 0]
        assert counts[row - 3].tolist() == [listed.count(level) for level in range(4)]
        own = int((labels[row] != -1).sum())
        if weights == "pop":
            want = pop_gains(listed, 3, alpha, own if count_self else None)
        else:
            want = map_gains([*listed, own] if count_self else listed, alpha)
        np.testing.assert_allclose(gains[row - 3], want, rtol=1e-14)


def test_count_self_leaves_queries_outside_the_gallery_alone():
    rel = Relevance.tree([[1, 1]], [[1, 1], [2, 1]], count_self=True)
    np.testing.assert_allclose(rel.gains(ALL), [[0.0, 0.5, 1.0]])


def test_at_is_one_column_alone():
    rng = np.random.default_rng(5)
    labels = rng.integers(-1, 3, (15, 2))
    rel = Relevance.tree(labels)
    for level in range(2):
        want = literal_tree(labels[:, [level]], labels[:, [level]])
        np.fill_diagonal(want, -1)
        np.testing.assert_array_equal(rel.at(level).block(ALL, ALL), want)
        found = rel.positives(ALL).lists
        kept = rel.same_label(ALL, found, level)
        np.testing.assert_array_equal(want[found.rows, found.ids] == 1, kept)


def test_empty_ranges_and_lists():
    rel = Relevance.classes([1, 1])
    assert rel.block(slice(1, 1), ALL).shape == (0, 2)
    assert len(Relevance.classes([-1, -1]).positives(ALL).levels) == 0
    assert Relevance.tags(np.zeros((3, 2), bool)).levels == 1


def test_describe_says_what_counts():
    assert Relevance.tree([[1, 2]], alpha=2).describe() == {
        "kind": "tree", "levels": 2, "weights": "pop", "alpha": 2.0, "count_self": False, "queries_in_gallery": 1,
    }  # fmt: skip
    assert Relevance.judged(GND, "hard").describe()["protocol"] == "hard"


def test_labels_and_how_many_share_them():
    rng = np.random.default_rng(20)
    mine, theirs = rng.integers(-1, 4, (12, 2)), rng.integers(-1, 3, (30, 2))
    theirs[5], theirs[9] = mine[0], mine[1]
    own = np.full(12, -1)
    own[:2] = 5, 9
    rel = Relevance.tree(mine, theirs, query_positions=own)
    for level in (0, 1):
        np.testing.assert_array_equal(rel.labels(level)[0], mine[:, level])
        np.testing.assert_array_equal(rel.labels(level)[1], theirs[:, level])
        np.testing.assert_array_equal(rel.totals(level), rel.at(level).counts(slice(None))[:, 1])
    assert Relevance.classes([0, 1], [-1, -1]).totals(0).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Relevance.classes([0.5, 1.0]), InputError, "whole numbers"),
        (lambda: Relevance.classes(["a", "b"]), InputError, "return_inverse"),
        (lambda: Relevance.classes(np.array([2**63], np.uint64)), InputError, "int64"),
        (lambda: Relevance.classes([[1, 2]]), InputError, "make Relevance.tree"),
        (lambda: Relevance.tree(np.zeros((2, 2, 2), int)), InputError, "got shape"),
        (lambda: Relevance.tree(np.zeros((2, 0), int)), InputError, "no column"),
        (lambda: Relevance.tree([[1, 2]], [[1, 2, 3]]), InputError, "2 label columns and items 3"),
        (lambda: Relevance.tree([[1, 2]], weights="map"), InputError, "list of level weights"),
        (lambda: Relevance.tree([[1, 2]], alpha=[1, 2]), InputError, "one number"),
        (lambda: Relevance.tree([[1, 2]], weights="map", alpha=[1.0]), InputError, "each of 2 levels"),
        (lambda: Relevance.tree([[1, 2]], weights="half"), InputError, "'pop' or 'map'"),
        (lambda: Relevance.tags([1, 0]), InputError, "one column a tag"),
        (lambda: Relevance.tags([[2, 0]]), InputError, "only 0 and 1"),
        (lambda: Relevance.tags([[1, 0]], [[1, 0, 0]]), InputError, "2 tags and items 3"),
        (lambda: Relevance.classes([1], query_positions=[0]), InputError, "labels of the gallery"),
        (lambda: Relevance.classes([1], [1, 2], query_positions=[2]), InputError, "-1..1"),
        (lambda: Relevance.classes([1], [1, 2], query_positions=[0, 1]), InputError, "one a query"),
        (lambda: Relevance.judged(GND, "mediun"), UnknownNameError, "medium"),
        (lambda: Relevance.judged({"imlist": []}), InputError, "'gnd'"),
        (lambda: Relevance.judged(GND, "classic"), InputError, "'ok', which is missing"),
        (lambda: Relevance.judged(GND, n_items=5), InputError, "names item 5"),
        (lambda: Relevance.judged([{"easy": [1], "hard": [1], "junk": []}]), InputError, "item 1 is judged twice"),
        (lambda: Relevance.judged([{"easy": [1], "hard": [], "junk": [1]}]), InputError, "relevant and as ignored"),
        (lambda: Relevance.judged([{"easy": [-1], "hard": [], "junk": []}]), InputError, "start at 0"),
        (lambda: Relevance.classes([1, 2]).at(0).at(1), InputError, "no level 1"),
        (lambda: Relevance.tags([[1, 0]]).at(0), InputError, "no label columns"),
        (lambda: Relevance.classes([1, 2]).positives(slice(0, 2, 2)), InputError, "consecutive"),
        (lambda: Relevance.classes([1, 2]).for_gallery(3), InputError, "made for 2 items, the gallery has 3"),
    ],
)  # fmt: skip
def test_errors_say_what_is_wrong(make, error, says):
    with pytest.raises(error, match=says):
        make()
