from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pertinent.errors import InputError
from pertinent.functional import near_pairs as module
from pertinent.functional.components import join, roots
from pertinent.functional.near_pairs import near_codes, near_pairs
from pertinent.functional.packed import PackedCodes, pack_signs

Found = dict[tuple[int, int], float]


def literal(mine: NDArray[Any], theirs: NDArray[Any] | None, above: float) -> Found:
    """Every cosine one by one in float64."""
    others, found = mine if theirs is None else theirs, {}
    for i, x in enumerate(mine.astype(np.float64)):
        for j, y in enumerate(others.astype(np.float64)):
            if theirs is None and j <= i:
                continue
            size = np.sqrt((x * x).sum()) * np.sqrt((y * y).sum())
            cosine = round(min((x * y).sum() / size, 1.0), 9) if size else 0.0
            if cosine >= above:
                found[i, j] = cosine
    return found


def collect(steps: Any) -> tuple[Found, int]:
    found, compared = {}, 0
    for pairs, count in steps:
        compared += count
        new = dict(
            zip(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True), pairs.scores.tolist(), strict=True)
        )
        assert len(new) == len(pairs.first)
        assert not found.keys() & new.keys()
        found |= new
    return found, compared


def some(rows: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    """Vectors of a few directions, with copies, near copies, multiples and a row of zeros."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, dim)) / (1 + np.arange(dim))
    x[1::7] = x[::7][: len(x[1::7])]
    x[2::7] = 3 * x[::7][: len(x[2::7])] + 0.05 * rng.normal(size=(len(x[2::7]), dim))
    x[rows // 2] = 0
    return x.astype(np.float32)


@pytest.mark.parametrize("above", [0.2, 0.7, 0.95, 1.0])
@pytest.mark.parametrize(("rows", "dim"), [(1, 4), (2, 1), (60, 5), (90, 40)])
def test_the_pairs_of_a_full_matrix(rows: int, dim: int, above: float, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "ROWS", 16)
    monkeypatch.setattr(module, "COLUMNS", 24)
    x, y = some(rows, dim), some(33, dim, seed=1)
    y[0] = 2 * x[0]
    found, compared = collect(near_pairs(x, above=above))
    assert found == pytest.approx(literal(x, None, above), abs=2e-9)
    assert compared == rows * (rows - 1) // 2
    found, compared = collect(near_pairs(x, y, above=above))
    assert found == pytest.approx(literal(x, y, above), abs=2e-9)
    assert compared == rows * 33


@pytest.mark.parametrize("width", [8, 16, 32, None])
def test_the_bound_never_decides_what_is_found(width: int | None, monkeypatch: pytest.MonkeyPatch):
    x = some(150, 48)
    want = literal(x, None, 0.9)
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(48, 48)))[0]
    monkeypatch.setattr(module, "_bound", lambda *_, **__: None if width is None else turned[:, :width].copy())
    assert collect(near_pairs(x, above=0.9))[0] == pytest.approx(want, abs=2e-9)


def test_tiles_that_are_made_again(monkeypatch: pytest.MonkeyPatch):
    x = some(100, 32)
    want = collect(near_pairs(x, above=0.9))[0]
    monkeypatch.setattr(module, "CACHE_BYTES", 0)
    monkeypatch.setattr(module, "ROWS", 30)
    assert want == collect(near_pairs(x, above=0.9))[0] != {}


def test_a_pair_at_the_threshold_is_near():
    x = np.array([[3, 4], [4, 3], [0.0, 1.0]], np.float32)  # cosines 24/25, 4/5, 3/5
    assert set(collect(near_pairs(x, above=0.96))[0]) == {(0, 1)}
    assert set(collect(near_pairs(x, above=0.8))[0]) == {(0, 1), (0, 2)}
    assert collect(near_pairs(x, above=0.9600001))[0] == {}


def test_copies_reach_one_whatever_their_numbers():
    x = np.repeat(np.random.default_rng(0).normal(size=(40, 37)), 2, axis=0).astype(np.float32)
    assert collect(near_pairs(x, above=1.0))[0] == {(i, i + 1): 1.0 for i in range(0, 80, 2)}


def test_order_does_not_matter():
    x = some(80, 24)
    order = np.random.default_rng(1).permutation(80)
    found = {
        tuple(sorted((order[i], order[j]))): s for (i, j), s in collect(near_pairs(x[order], above=0.8))[0].items()
    }
    assert found == collect(near_pairs(x, above=0.8))[0]


def test_everything_is_near_everything():
    x = np.ones((300, 16), np.float32)
    found, compared = collect(near_pairs(x, above=0.95))
    assert len(found) == compared == 300 * 299 // 2


@pytest.mark.parametrize("kind", ["memory map", "float64", "float16", "integers"])
def test_vectors_of_every_kind(kind: str, tmp_path: Any):
    x = np.round(8 * some(50, 24))
    given: NDArray[Any] = {"float64": x.astype(np.float64), "float16": x.astype(np.float16)}.get(kind, x)
    if kind == "memory map":
        np.save(tmp_path / "x.npy", x)
        given = np.load(tmp_path / "x.npy", mmap_mode="r")
    if kind == "integers":
        given = x.astype(np.int64)
    assert collect(near_pairs(given, above=0.9))[0] == pytest.approx(literal(x, None, 0.9), abs=2e-9)


@given(st.integers(1, 70), st.integers(1, 40), st.integers(0, 5), st.booleans())
def test_codes_that_differ_in_few_bits(rows: int, dim: int, bits: int, own: bool):
    rng = np.random.default_rng(rows * dim)
    x, y = rng.normal(size=(rows, dim)), rng.normal(size=(9, dim))
    mine, theirs = (PackedCodes.of(pack_signs(part), dim) for part in (x, y))
    found, compared = collect(near_codes(mine, bits=bits) if own else near_codes(mine, theirs, bits=bits))
    apart = ((x > 0)[:, None] != ((x if own else y) > 0)[None]).sum(2)
    want = {(i, j): 1 - 2 * d / dim for (i, j), d in np.ndenumerate(apart) if d <= bits and (not own or i < j)}
    assert found == pytest.approx(want)
    assert compared == (rows * (rows - 1) // 2 if own else 9 * rows)


def test_codes_block_by_block(monkeypatch: pytest.MonkeyPatch):
    x = np.random.default_rng(0).normal(size=(400, 10))
    codes = PackedCodes.of(pack_signs(x), 10)
    want = collect(near_codes(codes, bits=1))
    monkeypatch.setattr(module, "ROOM", 1)
    assert collect(near_codes(codes, bits=1)) == want


@pytest.mark.parametrize("above", [0, -0.5, 1.01, float("nan")])
def test_a_threshold_out_of_range(above: float):
    with pytest.raises(InputError, match="lies above 0 and is at most 1"):
        near_pairs(some(4, 3), above=above)


def test_what_cannot_be_compared():
    with pytest.raises(InputError, match="the vectors have 3 and 4 numbers; embed with one encoder"):
        near_pairs(some(4, 3), some(4, 4), above=0.9)
    codes = [PackedCodes.of(pack_signs(some(4, dim)), dim) for dim in (9, 10)]
    with pytest.raises(InputError, match="the codes have 9 and 10 bits"):
        near_codes(*codes, bits=1)
    with pytest.raises(InputError, match="at least 0 bits"):
        near_codes(codes[0], bits=-1)


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30), st.integers(0, 30))
def test_components_of_edges_in_parts(edges: list[tuple[int, int]], cut: int):
    parents = np.arange(20)
    for part in (edges[:cut], edges[cut:]):
        ends = np.array(part, np.int64).reshape(-1, 2)
        join(parents, ends[:, 0].copy(), ends[:, 1].copy())
    reach = np.eye(20, dtype=bool)
    for a, b in edges:
        reach[a, b] = reach[b, a] = True
    for _ in range(5):
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    assert roots(parents).tolist() == reach.argmax(1).tolist()
