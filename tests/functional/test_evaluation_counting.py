from __future__ import annotations

import numpy as np
import pytest

from oracles.ranking import ranked_items
from pertinent.functional import counting
from pertinent.functional.positives import Lists, Positives


def make(rng, n_items, lengths, dtype, ties):
    scores = rng.standard_normal((len(lengths), n_items)).astype(dtype)
    if ties:
        scores = np.round(scores) * dtype(0.5)
        scores[scores == 0] *= rng.choice([-1.0, 1.0], int((scores == 0).sum())).astype(dtype)
    chosen = [rng.permutation(n_items)[: length + 2] for length in lengths]
    relevant = [np.sort(ids[2:]) for ids in chosen]
    levels = np.concatenate([rng.integers(1, 4, len(ids)) for ids in relevant])
    return scores, Positives(Lists.of(relevant), levels), Lists.of([np.sort(ids[:2]) for ids in chosen])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("lengths", [[3] * 20, [60] * 20, [0, 1, 58, 0, 90, 98], [98]])
def test_ranks_agree_with_sorting_one_query_at_a_time(dtype, ties, lengths):
    scores, positives, ignored = make(np.random.default_rng(0), 100, lengths, dtype, ties)
    given, levels = positives.lists.ids.copy(), positives.levels.copy()
    literal = scores.tolist()
    ranks = counting.rank_positives(scores, positives, ignored)
    for row in range(len(lengths)):
        part = slice(positives.lists.offsets[row], positives.lists.offsets[row + 1])
        order = ranked_items(literal[row], ignored.ids[ignored.offsets[row] : ignored.offsets[row + 1]].tolist())
        level_of = dict(zip(given[part].tolist(), levels[part].tolist(), strict=True))
        want = [(rank, item, level_of[item]) for rank, item in enumerate(order, start=1) if item in level_of]
        got = zip(
            ranks[part].tolist(), positives.lists.ids[part].tolist(), positives.levels[part].tolist(), strict=True
        )
        assert list(got) == want


def test_extreme_scores_keep_their_order():
    row = np.array([[0.0, -0.0, np.float32(3e38), -3e38, 1e-45, -1e-45]], np.float32)
    for few in (0, 40):
        positives = Positives(Lists.of([np.arange(6)]), np.ones(6, np.int64))
        counting_few, counting.FEW = counting.FEW, few
        try:
            counting.rank_positives(row.copy(), positives, Lists.of([np.zeros(0, np.int64)]))
        finally:
            counting.FEW = counting_few
        assert positives.lists.ids.tolist() == [2, 4, 0, 1, 5, 3]
