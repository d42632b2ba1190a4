"""Levels of pairs and graded relevance (`functional/relevance.py`), against literal definitions."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from oracles.ranking import map_gains, pop_gains, tree_level
from pertinent.errors import InputError
from pertinent.functional.relevance import (
    level_counts,
    level_weights,
    map_weights,
    pop_weights,
    tag_levels,
    tree_levels,
)

RNG = np.random.default_rng(0)


def labels(rows: int, columns: int = 3) -> torch.Tensor:
    return torch.from_numpy(RNG.integers(-1, 3, (rows, columns)))


def test_tree_levels_count_equal_columns():
    mine, theirs = labels(7), labels(9)
    want = [[tree_level(a, b) for b in theirs.tolist()] for a in mine.tolist()]
    assert tree_levels(mine, theirs).tolist() == want
    assert tree_levels(mine, theirs).dtype == torch.int64
    assert torch.equal(tree_levels(theirs, mine), tree_levels(mine, theirs).T)


def test_one_column_may_be_written_flat_and_large_ids_stay_apart():
    big = 2**62
    flat = torch.tensor([big, big + 1, big, -1, -1])
    want = [[1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [1, 0, 1, 0, 0], [0] * 5, [0] * 5]
    assert tree_levels(flat, flat).tolist() == want
    assert tree_levels(flat[:, None], flat).tolist() == want


def test_tree_levels_of_nothing():
    assert tree_levels(labels(0), labels(4)).shape == (0, 4)
    assert tree_levels(labels(4), labels(0)).shape == (4, 0)


@pytest.mark.parametrize(
    ("mine", "theirs", "said"),
    [
        (labels(2, 3), labels(2, 2), "queries have 3 label columns and items 2; give both the same"),
        (labels(2, 3), labels(2, 1)[:, 0], "queries have 3 label columns and items 1"),
        (torch.zeros(2, 2, 2), labels(2), r"labels must be (N,) or (N, L), got shape (2, 2, 2)"),
        (torch.tensor(3), labels(2), r"labels must be (N,) or (N, L), got shape ()"),
    ],
)
def test_shapes_that_do_not_fit(mine, theirs, said):
    with pytest.raises(InputError, match=re.escape(said)):
        tree_levels(mine, theirs)


@pytest.mark.parametrize("kind", [torch.bool, torch.int64, torch.float32])
def test_tag_levels(kind):
    mine, theirs = RNG.random((6, 5)) < 0.4, RNG.random((8, 5)) < 0.4
    shared = [[sum(a & b) for b in theirs] for a in mine]
    given_tags = torch.from_numpy(mine).to(kind), torch.from_numpy(theirs).to(kind)
    assert tag_levels(*given_tags, graded=True).tolist() == shared
    assert tag_levels(*given_tags).tolist() == [[min(count, 1) for count in row] for row in shared]


def test_level_counts_leave_ignored_items_out():
    levels = torch.tensor([[0, 2, 1, 2, -1], [-1, -1, 0, 0, 0]])
    assert level_counts(levels, 3).tolist() == [[1, 1, 2, 0], [3, 0, 0, 0]]


population = st.lists(st.integers(0, 4), min_size=1, max_size=12)


@given(population, st.floats(0, 5))
def test_pop_weights(levels: list[int], alpha: float):
    counts = level_counts(torch.tensor([levels]), 4)
    want = pop_gains(levels, 4, alpha)
    np.testing.assert_allclose(pop_weights(counts, alpha)[0], want, rtol=1e-12)


@given(population, st.lists(st.floats(0, 5), min_size=4, max_size=4))
def test_map_weights(levels: list[int], weights: list[float]):
    counts = level_counts(torch.tensor([levels]), 4)
    found = map_weights(counts, weights)[0]
    np.testing.assert_allclose(found, map_gains(levels, weights), rtol=1e-12)
    assert found[0] == 0
    assert (found.diff() >= 0).all()


def test_pop_shares_the_mass_of_a_level_and_gives_the_unrelated_nothing():
    counts = torch.tensor([[10, 4, 2], [10, 0, 5], [7, 3, 0]])
    weights = pop_weights(counts, alpha=1.0)
    torch.testing.assert_close(weights * counts, torch.tensor([[0, 0.5, 1], [0, 0, 1], [0, 0.5, 0]]).double())
    assert pop_weights(counts, alpha=0.0)[:, 0].tolist() == [0, 0, 0]


def test_level_weights_chooses():
    counts = torch.tensor([[3, 2, 1]])
    assert torch.equal(level_weights(counts), pop_weights(counts, 1.0))
    assert torch.equal(level_weights(counts, "pop", 2), pop_weights(counts, 2.0))
    assert torch.equal(level_weights(counts, "map", [0.3, 0.7]), map_weights(counts, [0.3, 0.7]))


@pytest.mark.parametrize(
    ("weighting", "alpha", "said"),
    [
        ("pop", [0.5, 0.5], "pop relevance takes one number as alpha"),
        ("map", 1.0, "map relevance takes a list of level weights"),
        ("map", [1.0], "one weight for each of 2 levels, got 1"),
        ("mean", 1.0, "must be 'pop' or 'map', got 'mean'"),
    ],
)
def test_weightings_that_do_not_fit(weighting: Any, alpha: Any, said: str):
    with pytest.raises(InputError, match=re.escape(said)):
        level_weights(torch.tensor([[3, 2, 1]]), weighting, alpha)
