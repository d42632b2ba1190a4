"""Packed codes and their search against numpy's own unpacking and sorting."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pertinent.errors import InputError
from pertinent.functional.hamming import Codes, half_distances
from pertinent.functional.hamming_lists import NONE, CodeLists, nearest_in_lists
from pertinent.functional.hamming_search import (
    RUN,
    TILE,
    CodeNeighbours,
    codes_within,
    nearest_codes,
    nearest_codes_all_ties,
)
from pertinent.functional.packed import PackedCodes, check_codes, pack_signs, unpack_signs


def oracle(queries: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances `(Q, N)` bit by bit, and every item of each query in order."""
    distances = ((queries > 0)[:, None] != (items > 0)[None]).sum(2)
    return distances, np.argsort(distances, axis=1, kind="stable")


def packed(outputs: np.ndarray) -> PackedCodes:
    return PackedCodes.of(pack_signs(outputs), outputs.shape[1])


def lists(found: CodeNeighbours) -> list[list[tuple[int, int]]]:
    pairs = list(zip(found.distances.tolist(), found.positions.tolist(), strict=True))
    return [pairs[start:stop] for start, stop in zip(found.offsets[:-1], found.offsets[1:], strict=True)]


def outputs(n_items: int, bits: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n_items, bits))


# --- packing


def test_the_first_sign_is_the_highest_bit_and_zero_is_no_sign():
    codes = pack_signs(np.array([[0.5, -1, 0, 2, -0.0, 1e-30, -3, 4, 7], [-1] * 9]))
    assert codes.tolist() == [[0b10010101, 0b10000000], [0, 0]]
    assert unpack_signs(codes, 9).tolist() == [[1, -1, -1, 1, -1, 1, -1, 1, 1], [-1] * 9]


@pytest.mark.parametrize("bits", [1, 7, 8, 13, 64, 65, 128, 1000])
def test_what_is_packed_is_unpacked(bits: int):
    x = outputs(5, bits)
    assert pack_signs(x).shape == (5, -(-bits // 8))
    np.testing.assert_array_equal(unpack_signs(pack_signs(x), bits), np.where(x > 0, 1, -1))
    assert packed(x).words.shape == (-(-bits // 64), 5)


def test_codes_of_whole_words_are_not_copied():
    codes = pack_signs(outputs(10, 64))
    assert np.shares_memory(PackedCodes.of(codes, 64).words, codes)


@pytest.mark.parametrize("shape", [(3,), (3, 0), (2, 40_000)])
def test_what_cannot_be_packed(shape: tuple[int, ...]):
    with pytest.raises(InputError, match=r"expected outputs \(N, K\) of 1 to 32767 bits, got shape"):
        pack_signs(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("codes", "bits", "said"),
    [
        (np.zeros((3, 2), np.uint8), 8, r"codes of 8 bits are uint8 of shape \(N, 1\), got uint8 \(3, 2\)"),
        (np.zeros((3, 1), np.int64), 8, r"got int64 \(3, 1\)"),
        (np.zeros(3, np.uint8), 8, r"got uint8 \(3,\)"),
        (np.zeros((3, 0), np.uint8), 0, "codes of 0 bits"),
        (np.full((3, 1), 255, np.uint8), 7, "must be 0 after the last bit"),
    ],
)
def test_bytes_that_are_no_codes(codes: np.ndarray, bits: int, said: str):
    with pytest.raises(InputError, match=said):
        check_codes(codes, bits)


# --- search


@pytest.mark.parametrize("bits", [1, 5, 8, 63, 64, 65, 200, 1000])
@pytest.mark.parametrize("n_items", [1, RUN - 1, RUN, 2 * RUN + 3])
def test_the_nearest_and_all_that_tie(bits: int, n_items: int):
    items, queries = outputs(n_items, bits), outputs(TILE + 2, bits, 1)
    distances, order = oracle(queries, items)
    for k in (1, 10, n_items, n_items + 5):
        kept = min(k, n_items)
        found, places = nearest_codes(packed(queries), packed(items), k)
        np.testing.assert_array_equal(places, order[:, :kept])
        np.testing.assert_array_equal(found, np.take_along_axis(distances, order[:, :kept], axis=1))
        assert (found.dtype, places.dtype) == (np.int32, np.int64)
        for row, hits in enumerate(lists(nearest_codes_all_ties(packed(queries), packed(items), k))):
            last = distances[row, order[row, kept - 1]]
            want = [(distances[row, place], place) for place in order[row] if distances[row, place] <= last]
            assert hits == want


@pytest.mark.parametrize("bits", [3, 64, 100])
def test_everything_within_a_radius(bits: int):
    items, queries = outputs(700, bits), outputs(9, bits, 1)
    distances, order = oracle(queries, items)
    for radius in (0, 1, bits // 3, bits, bits + 9):
        for row, hits in enumerate(lists(codes_within(packed(queries), packed(items), radius))):
            want = [(distances[row, place], place) for place in order[row] if distances[row, place] <= radius]
            assert hits == want


@given(st.integers(0, 2**32), st.integers(1, 70), st.integers(1, 600), st.integers(1, 40))
def test_many_equal_codes(seed: int, bits: int, n_items: int, k: int):
    rng = np.random.default_rng(seed)
    kinds = rng.standard_normal((3, bits))
    items, queries = kinds[rng.integers(0, 3, n_items)], kinds[rng.integers(0, 3, 4)]
    _, order = oracle(queries, items)
    _, places = nearest_codes(packed(queries), packed(items), k)
    np.testing.assert_array_equal(places, order[:, : min(k, n_items)])


def test_sorted_clusters_whose_neighbours_lie_in_one_run():
    rng = np.random.default_rng(0)
    items = np.repeat(rng.standard_normal((5, 64)), RUN, axis=0) * np.where(rng.random((5 * RUN, 64)) < 0.1, -1, 1)
    _, order = oracle(items[::100], items)
    _, places = nearest_codes(packed(items[::100]), packed(items), 150)
    np.testing.assert_array_equal(places, order[:, :150])


def test_distances_are_those_of_evaluation():
    items, queries = outputs(300, 48), outputs(3, 48, 1)
    found, places = nearest_codes(packed(queries), packed(items), 300)
    for row in range(3):
        halves = half_distances(Codes.of(queries, "queries"), Codes.of(items, "items"), row)
        np.testing.assert_array_equal(2 * found[row], halves[places[row]])


@pytest.mark.parametrize("bits", [5, 64, 100])
@pytest.mark.parametrize("k", [1, 20, 400])
@pytest.mark.parametrize("threads", [1, 3])
def test_the_nearest_in_some_lists(monkeypatch: pytest.MonkeyPatch, bits: int, k: int, threads: int):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    centres, items, queries = outputs(6, bits), outputs(900, bits, 1), outputs(300, bits, 2)
    # The last list is empty, and the others need not hold what is near their centres.
    members = np.random.default_rng(3).integers(0, 5, 900)
    order = np.argsort(members, kind="stable")
    starts = np.searchsorted(members[order], np.arange(7))
    lists_of = CodeLists(packed(centres), starts, packed(items[order]), order)
    found, places = nearest_in_lists(packed(queries), lists_of, k, 2)
    distances, _ = oracle(queries, items)
    _, chosen = oracle(queries, centres)
    for row in range(300):
        held = np.isin(members, chosen[row, :2])
        want = np.sort(distances[row, held])[:k]
        kept = places[row] != NONE
        assert kept.sum() == len(want) == len(set(places[row, kept].tolist()))
        assert held[places[row, kept]].all()
        np.testing.assert_array_equal(np.sort(found[row, kept]), want)
        np.testing.assert_array_equal(found[row, kept], distances[row, places[row, kept]])


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch):
    items, queries = packed(outputs(1000, 20)), packed(outputs(5 * TILE + 1, 20, 1))
    alone = nearest_codes_all_ties(queries, items, 7)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for ours, theirs in zip(alone, nearest_codes_all_ties(queries, items, 7), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_no_query_and_no_item():
    some, none = packed(outputs(5, 20)), packed(np.zeros((0, 20)))
    assert [part.shape for part in nearest_codes(none, some, 3)] == [(0, 3), (0, 3)]
    assert [part.shape for part in nearest_codes(some, none, 3)] == [(5, 0), (5, 0)]
    assert nearest_codes_all_ties(none, some, 3).offsets.tolist() == [0]
    assert codes_within(some, none, 20).offsets.tolist() == [0] * 6


def test_what_cannot_be_searched_for():
    some = packed(outputs(5, 20))
    with pytest.raises(InputError, match="queries have 21 bits, the items 20"):
        nearest_codes(packed(outputs(5, 21)), some, 1)
    with pytest.raises(InputError, match="k must be at least 1, got 0"):
        nearest_codes_all_ties(some, some, 0)
    with pytest.raises(InputError, match="radius must be at least 0 bits, got -1"):
        codes_within(some, some, -1)
