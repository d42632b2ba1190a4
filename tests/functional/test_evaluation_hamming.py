from __future__ import annotations

import numpy as np
import pytest
import torch

from pertinent.errors import InputError
from pertinent.functional import hamming
from pertinent.functional.hamming import Codes, half_distances, rank_codes, rank_tagged_codes
from pertinent.functional.positives import Lists, Positives
from pertinent.relevance import Relevance


def literal(queries, items):
    """Twice (K - q.g) / 2, the distance that the hashing papers' code computes; two zeros count half a bit."""
    return (queries.shape[1] - np.sign(queries) @ np.sign(items).T).astype(int)


@pytest.mark.parametrize("bits", [1, 8, 48, 64, 65, 130])
@pytest.mark.parametrize("zeros", [False, True])
def test_half_distances(bits, zeros, monkeypatch):
    monkeypatch.setattr(hamming, "PACKED_ROWS", 7)
    rng = np.random.default_rng(bits)
    queries, items = rng.standard_normal((3, bits)), rng.standard_normal((20, bits)).astype(np.float32)
    if zeros:
        queries[rng.random(queries.shape) < 0.3] = 0
        items[rng.random(items.shape) < 0.3] = -0.0
    packed = Codes.of(queries, "queries"), Codes.of(torch.from_numpy(items), "gallery")
    assert packed[0].bits == bits
    for row in range(3):
        np.testing.assert_array_equal(half_distances(*packed, row), literal(queries, items)[row])


def test_bool_counts_as_minus_one_and_one():
    bits = np.random.default_rng(0).random((6, 12)) < 0.5
    codes = Codes.of(bits, "queries")
    np.testing.assert_array_equal(half_distances(codes, codes, 2), 2 * (bits[2] != bits).sum(1))


@pytest.mark.parametrize("depth", [None, 1, 9, 30])
def test_ranks(depth):
    rng = np.random.default_rng(1)
    queries, items = rng.choice([-1.0, 0.0, 1.0], (8, 5)), rng.choice([-1.0, 0.0, 1.0], (30, 5))
    ids = [np.sort(rng.permutation(30)[: rng.integers(0, 20)]) for _ in range(8)]
    levels = [rng.integers(1, 4, len(some)) for some in ids]
    ignored = [np.setdiff1d(rng.permutation(30)[:5], some)[::-1] for some in ids]
    offsets, stand = rank_codes(
        Codes.of(queries, "queries"), Codes.of(items, "gallery"),
        Positives(Lists.of(ids), np.concatenate(levels)), Lists.of(ignored), depth,
    )  # fmt: skip
    far = literal(queries, items)
    for row in range(8):
        kept = [item for item in range(30) if item not in ignored[row]]
        order = sorted(kept, key=lambda item, row=row: (far[row, item], item))
        want = []
        for rank, item in enumerate(order, start=1):
            above = sum(far[row, other] < far[row, item] for other in kept)
            tied = sum(far[row, other] == far[row, item] for other in kept)
            if item in ids[row] and (depth is None or above < depth):
                want.append((item, levels[row][ids[row].tolist().index(item)], rank, above, tied))
        part = slice(offsets[row], offsets[row + 1])
        assert list(zip(*(values[part].tolist() for values in stand), strict=True)) == want


def test_nan_is_refused():
    x = np.ones((4, 3))
    x[2, 1] = np.nan
    with pytest.raises(InputError, match="queries row 2 holds NaN"):
        Codes.of(x, "queries")
    Codes.of(np.full((2, 3), np.inf), "queries")


def test_too_many_bits_are_refused():
    with pytest.raises(InputError, match="at most 32767"):
        Codes.of(np.ones((1, 32768)), "queries")


@pytest.mark.parametrize("n_tags", [3, 70])
@pytest.mark.parametrize("depth", [None, 7])
@pytest.mark.parametrize("among_themselves", [False, True])
def test_shared_tags_need_no_list_of_relevant_items(n_tags: int, depth: int | None, among_themselves: bool):
    rng = np.random.default_rng(n_tags)
    tags = rng.random((40, n_tags)) < (0.4 if n_tags == 3 else 0.02)
    outputs = np.sign(rng.standard_normal((40, 5)))
    outputs[3, 2] = 0.0
    codes = Codes.of(outputs, "codes")
    mine, asked = (tags, codes) if among_themselves else (tags[:9], codes.cut(0, 9))
    relevance = Relevance.tags(tags) if among_themselves else Relevance.tags(mine, tags)
    rows = slice(0, len(mine))
    words = relevance.tag_words(rows)
    assert words is not None
    # The graded relevance lists its relevant items, found tag by tag.
    listed = (
        Relevance.tags(tags, graded=True) if among_themselves else Relevance.tags(mine, tags, graded=True)
    ).positives(rows)
    want_offsets, want = rank_codes(asked, codes, listed, relevance.ignored(rows), depth)
    offsets, found, relevant = rank_tagged_codes(
        asked, codes, words[0], relevance.ignored(rows), most=words[1], depth=depth
    )
    np.testing.assert_array_equal(offsets, want_offsets)
    for name in ("ids", "ranks", "above", "tied"):
        np.testing.assert_array_equal(getattr(found, name), getattr(want, name), err_msg=name)
    assert set(found.levels.tolist()) <= {1}
    np.testing.assert_array_equal(relevant, listed.lists.lengths)
    binary = relevance.positives(rows)
    np.testing.assert_array_equal(binary.lists.ids, listed.lists.ids)
    np.testing.assert_array_equal(binary.lists.offsets, listed.lists.offsets)
