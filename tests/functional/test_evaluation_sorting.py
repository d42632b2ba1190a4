from __future__ import annotations

import numpy as np
import pytest

from oracles.ranking import ranked_items
from pertinent.functional import sorting
from pertinent.functional.positives import Lists, Positives


def make(rng, n_items, lengths, dtype, ties):
    scores = rng.standard_normal((len(lengths), n_items)).astype(dtype)
    if ties:
        scores = np.round(scores * ties) * dtype(0.5)
        scores[scores == 0] *= rng.choice([-1.0, 1.0], int((scores == 0).sum())).astype(dtype)
    chosen = [rng.permutation(n_items)[: length + 2] for length in lengths]
    relevant = [np.sort(ids[2:]) for ids in chosen]
    levels = np.concatenate([rng.integers(1, 4, len(ids)) for ids in relevant])
    return scores, Positives(Lists.of(relevant), levels), Lists.of([np.sort(ids[:2]) for ids in chosen])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ties", [0, 1, 40])
@pytest.mark.parametrize("lengths", [[3] * 20, [60] * 20, [0, 1, 58, 0, 90, 98], [98]])
@pytest.mark.parametrize("few", [(32, 512), (0, 0)])
def test_ranks_agree_with_sorting_one_query_at_a_time(dtype, ties, lengths, few, monkeypatch):
    monkeypatch.setattr(sorting, "FEW_GROUPS", few[0])
    monkeypatch.setattr(sorting, "FEW_MEMBERS", few[1])
    scores, positives, ignored = make(np.random.default_rng(0), 100, lengths, dtype, ties)
    given, levels = positives.lists.ids.copy(), positives.levels.copy()
    literal = scores.tolist()
    stand = sorting.rank_rows(scores, positives, ignored)
    for row in range(len(lengths)):
        part = slice(positives.lists.offsets[row], positives.lists.offsets[row + 1])
        left_out = ignored.ids[ignored.offsets[row] : ignored.offsets[row + 1]].tolist()
        order = ranked_items(literal[row], left_out)
        level_of = dict(zip(given[part].tolist(), levels[part].tolist(), strict=True))
        want = [
            (
                item,
                level_of[item],
                rank,
                sum(literal[row][other] > literal[row][item] for other in order),
                sum(literal[row][other] == literal[row][item] for other in order),
            )
            for rank, item in enumerate(order, start=1)
            if item in level_of
        ]
        got = zip(*(values[part].tolist() for values in stand), strict=True)
        assert list(got) == want


def test_extreme_scores_keep_their_order():
    row = np.array([[0.0, -0.0, np.float32(3e38), -3e38, 1e-45, -1e-45]], np.float32)
    positives = Positives(Lists.of([np.arange(6)]), np.ones(6, np.int64))
    stand = sorting.rank_rows(row.copy(), positives, Lists.of([np.zeros(0, np.int64)]))
    assert stand.ids.tolist() == [2, 4, 0, 1, 5, 3]
    assert stand.tied.tolist() == [1, 1, 2, 2, 1, 1]


def test_finer_scores_settle_what_rounding_made_equal():
    finer = np.array([5.0, 7.0, 6.0, 7.0, 1.0])
    row = np.array([[2.0, 2.0, 2.0, 2.0, 1.0]], np.float32)
    positives = Positives(Lists.of([np.array([0, 2, 3])]), np.array([1, 2, 3]))
    stand = sorting.rank_rows(row, positives, Lists.of([np.zeros(0, np.int64)]), lambda _, items: finer[items])
    assert stand.ids.tolist() == [3, 2, 0]
    assert stand.levels.tolist() == [3, 2, 1]
    assert stand.ranks.tolist() == [2, 3, 4]
    assert stand.above.tolist() == [0, 2, 3]
    assert stand.tied.tolist() == [2, 1, 1]
