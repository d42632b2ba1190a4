from __future__ import annotations

import numpy as np
import pytest

from pertinent.functional.counting import Targets, Tile, count_tile, exact_scores, leave_out, transpose
from pertinent.functional.positives import Lists


def literal_counts(scores, lists, row, item):
    mine, others = scores[row, item], np.delete(scores[row], item)
    before = [j for j in range(scores.shape[1]) if scores[row, j] == mine and j < item]
    return int((others > mine).sum()), 1 + int((others == mine).sum()), len(before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("data", ["random", "ties", "collapsed", "duplicates"])
def test_counts_are_those_of_the_exact_scores(dtype, data):
    rng = np.random.default_rng(0)
    queries, items = rng.standard_normal((9, 37)), rng.standard_normal((53, 37))
    if data == "ties":
        queries, items = np.sign(queries), np.sign(items)
    if data == "collapsed":
        items = items[:1] + 1e-7 * items
    if data == "duplicates":
        items[20:40] = items[:20]
    queries, items = queries.astype(dtype), items.astype(dtype)
    ids = [np.sort(rng.permutation(53)[: rng.integers(0, 8)]) for _ in range(9)]
    lists = Lists.of(ids)
    exact = exact_scores(queries, items, lists.rows, lists.ids)
    np.testing.assert_allclose(exact, (queries.astype(float) @ items.astype(float).T)[lists.rows, lists.ids])
    targets = Targets.start(lists, exact)
    margins = np.full(9, 1e-4 if dtype == np.float32 else 1e-12) * np.linalg.norm(queries, axis=1) * 10
    for first in range(0, 53, 20):
        tile = items[first : first + 20]
        # Noise as large as the error that a product may have must not change anything.
        noise = margins[:, None] * rng.uniform(-0.45, 0.45, (9, len(tile)))
        product = (queries.astype(float) @ tile.T.astype(float) + noise).astype(dtype)
        for start in (0, 4):
            part = slice(start, 4 if start == 0 else 9)
            count_tile(Tile(product[part].copy(), queries[part], tile, margins[part]), start, first, targets)
    rows, columns = np.divmod(np.arange(9 * 53), 53)
    all_exact = exact_scores(queries, items, rows, columns).reshape(9, 53)
    for place, (row, item) in enumerate(zip(lists.rows.tolist(), lists.ids.tolist(), strict=True)):
        want = literal_counts(all_exact, lists, row, item)
        assert (targets.above[place], targets.tied[place], targets.before[place]) == want


def test_ignored_items_leave_the_counts():
    scores = np.array([[3.0, 3.0, 2.0, 3.0, 5.0]])
    lists = Lists.of([np.array([1, 2])])
    targets = Targets.start(lists, scores[0, [1, 2]])
    targets = targets._replace(above=np.array([1, 4]), tied=np.array([3, 1]), before=np.array([1, 0]))
    leave_out(targets, Lists.of([np.array([0, 4])]), np.array([3.0, 5.0]))
    assert targets.above.tolist() == [0, 2]
    assert targets.tied.tolist() == [2, 1]
    assert targets.before.tolist() == [0, 0]


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (33, 50)])
def test_transpose(shape):
    x = np.random.default_rng(0).standard_normal((40, 60)).astype(np.float32)
    out = np.zeros((60, 40), np.float32)
    transpose(x, shape, out)
    np.testing.assert_array_equal(out[: shape[1], : shape[0]], x[: shape[0], : shape[1]].T)
    assert not out[shape[1] :].any()
