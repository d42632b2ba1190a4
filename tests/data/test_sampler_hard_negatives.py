"""HardNegativesSampler against brute force, and what it promises of pairs, pools and refreshes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pertinent.data.samplers import HardNegativesSampler, _hardest
from pertinent.data.samplers._hardest import hard_triplets, hardest_negatives
from pertinent.errors import InputError

LABELS = np.random.default_rng(1).permutation(np.repeat(np.arange(12) * 5, 6))
VECTORS = np.random.default_rng(2).normal(size=(len(LABELS), 7)).astype(np.float32)


class Embedding:
    """Gives fixed vectors, and keeps what it was asked for."""

    def __init__(self, vectors: np.ndarray = VECTORS) -> None:
        self.vectors, self.asked = vectors, []  # type: ignore[var-annotated]

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        self.asked.append(rows)
        return self.vectors[rows]


def mined(labels: np.ndarray = LABELS, batch_size: int = 12, **options: Any) -> tuple[HardNegativesSampler, np.ndarray]:
    """A sampler with all its batches, and these as tuples `(T, 2 + negatives)`."""
    sampler = HardNegativesSampler(labels, batch_size, **options)
    while len(sampler.mined) < len(sampler):
        sampler.mine(Embedding())
    return sampler, np.array(list(sampler)).reshape(-1, 2 + sampler.negatives)


def by_hand(query: int, pool: list[int], labels: np.ndarray, vectors: np.ndarray, count: int) -> list[int]:
    """Walk down the ranking of the pool and take an image when its class is new."""
    unit = vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    found: list[int] = []
    classes = {labels[query]}
    for image in sorted(pool, key=lambda image: -float(unit[query] @ unit[image])):
        if labels[image] not in classes and len(found) < count:
            found.append(image)
            classes.add(labels[image])
    return found


@pytest.mark.parametrize("negatives", [1, 4])
def test_the_negatives_are_those_found_by_hand(negatives: int) -> None:
    _, tuples = mined(batch_size=2 + negatives, negatives=negatives, queries=40)
    assert len(tuples) == 40
    for query, _, *far in tuples.tolist():
        assert far == by_hand(query, list(range(len(LABELS))), LABELS, VECTORS, negatives)


@given(pool=st.integers(1, 80), seed=st.integers(0, 9), refresh=st.none() | st.integers(1, 4))
def test_of_a_part_of_the_images_they_are_the_hardest(pool: int, seed: int, refresh: int | None) -> None:
    sampler, embed = HardNegativesSampler(LABELS, 10, 3, 20, pool=pool, seed=seed, refresh=refresh), Embedding()
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    done = 0
    while done < len(sampler):
        sampler.mine(embed)
        rows, tuples = embed.asked[-1], sampler.mined[done:].reshape(-1, 5)
        assert (np.diff(rows) > 0).all(), "each image once, ascending"
        # What was embedded is the pool and the queries, which may be in the pool as well.
        surely = np.setdiff1d(rows, tuples[:, 0])
        assert min(pool, len(LABELS)) <= len(rows)
        assert pool < 30 or len(surely) <= pool
        for query, _, *far in tuples.tolist():
            assert np.isin([query, *far], rows).all()
            assert len(set(LABELS[[query, *far]].tolist())) == 4
            scores, others = unit[far] @ unit[query], surely[LABELS[surely] != LABELS[query]]
            assert (np.diff(scores) <= 1e-6).all()
            for image in others.tolist():
                same = scores[LABELS[far] == LABELS[image]]
                assert unit[image] @ unit[query] <= (same[0] if len(same) else scores[-1]) + 1e-6
        done = len(sampler.mined)
    assert len(embed.asked) == (1 if refresh is None else -(-len(sampler) // refresh))


@given(st.integers(1, 5), st.integers(1, 30), st.sampled_from([1, 40, 2**24]), st.integers(0, 99))
def test_ranking_a_pool(count: int, queries: int, block: int, seed: int) -> None:
    """However many scores are computed at once; of equally similar images the first."""
    rng = np.random.default_rng(seed)
    classes, pool_classes = rng.integers(0, 9, queries), rng.permutation(np.arange(25) % 7)
    asked, pool = (rng.integers(-1, 2, (n, 3)).astype(np.float32) for n in (queries, 25))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_hardest, "BLOCK", block)
        found = hardest_negatives(asked, classes, pool, pool_classes, count)
    for row, query, own in zip(found.tolist(), asked, classes, strict=True):
        expected: list[int] = []
        for image in sorted(range(25), key=lambda image: (-float(query @ pool[image]), image)):
            if pool_classes[image] not in {own, *pool_classes[expected]} and len(expected) < count:
                expected.append(image)
        assert row == expected


# --- triplets among the hardest


def triplets_by_hand(query: int, vectors: np.ndarray, labels: np.ndarray) -> dict[tuple[int, int], float]:
    """|q - p|^2 - |q - n|^2 of every triplet of a query."""
    apart = np.square(vectors.astype(np.float64) - vectors[query]).sum(1)
    mates = [image for image in np.flatnonzero(labels == labels[query]).tolist() if image != query]
    others = np.flatnonzero(labels != labels[query]).tolist()
    return {(near, far): float(apart[near] - apart[far]) for near in mates for far in others}


@given(st.integers(1, 40), st.sampled_from([1, 300, 2**24]), st.integers(0, 99))
def test_triplets_are_among_the_hardest(count: int, block: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(20) % 4)
    vectors = _hardest.unit(rng.normal(size=(20, 3)).astype(np.float32))
    queries = rng.integers(0, 20, 30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_hardest, "BLOCK", block)
        near, far = hard_triplets(vectors, labels, queries, count, rng)
    for query, pair in zip(queries.tolist(), zip(near.tolist(), far.tolist(), strict=True), strict=True):
        losses = triplets_by_hand(query, vectors, labels)
        assert losses[pair] >= sorted(losses.values())[-min(count, len(losses))] - 1e-5


@pytest.mark.parametrize(("count", "found"), [(1, 1), (7, 7), (25, 25), (64, 60), (1000, 60)])
def test_each_of_the_hardest_may_be_drawn(count: int, found: int) -> None:
    labels = np.arange(20) // 5
    vectors = _hardest.unit(VECTORS[:20])
    near, far = hard_triplets(vectors, labels, np.full(2000, 6), count, np.random.default_rng(0))
    losses = triplets_by_hand(6, vectors, labels)
    expected = set(sorted(losses, key=lambda pair: -losses[pair])[:found])
    assert set(zip(near.tolist(), far.tolist(), strict=True)) == expected


def test_an_epoch_of_triplets() -> None:
    embed = Embedding()
    sampler = HardNegativesSampler(LABELS, 12, 1, 40, pool=30, refresh=4, hardest=3)
    assert len(sampler) == 10
    while len(sampler.mined) < 10:
        done = len(sampler.mined)
        sampler.mine(embed)
        pool, tuples = embed.asked[-1], sampler.mined[done:].reshape(-1, 3)
        assert len(pool) == 30
        assert np.isin(tuples, pool).all()
        assert len(np.unique(tuples[:, 0])) > 5
        place = np.searchsorted(pool, tuples)
        vectors = _hardest.unit(VECTORS[pool])
        for query, near, far in place.tolist():
            losses = triplets_by_hand(query, vectors, LABELS[pool])
            assert losses[near, far] >= sorted(losses.values())[-min(3, len(losses))] - 1e-5
    assert len(embed.asked) == 3


def test_a_pool_for_triplets_grows_until_it_has_one() -> None:
    labels = np.repeat(np.arange(50), [2] * 49 + [3])
    for seed in range(20):
        sampler, embed = HardNegativesSampler(labels, 6, 1, pool=1, hardest=2, seed=seed), Embedding(np.eye(101))
        sampler.mine(embed)
        counts = np.unique(labels[embed.asked[0]], return_counts=True)[1]
        assert len(counts) >= 2
        assert sorted(counts.tolist())[-1] == 2


def test_damaged_pictures_are_in_no_triplet() -> None:
    vectors = VECTORS.copy()
    vectors[::3] = np.nan
    sampler = HardNegativesSampler(LABELS, 6, 1, hardest=5)
    sampler.mine(Embedding(vectors))
    assert (sampler.mined % 3 > 0).all()
    vectors[:] = np.nan
    first, second = np.flatnonzero(LABELS == 0)[0], np.flatnonzero(LABELS == 5)[0]
    vectors[[first, second]] = 1
    sampler.set_epoch(1)
    with pytest.raises(InputError, match="no two of the 2 images of the pool that can be read are of one class"):
        sampler.mine(Embedding(vectors))
    vectors[second] = np.nan
    with pytest.raises(InputError, match=r"1 of 72 images of the pool can be read, of 1 classes; .* needs 2"):
        sampler.mine(Embedding(vectors))


# --- queries and positives


def test_pairs_are_of_one_class_and_no_image_is_a_query_twice() -> None:
    labels = LABELS.copy()
    labels[:3] = [100, 101, -1]
    sampler, tuples = mined(labels, batch_size=21, queries=60)
    assert len(sampler) == 20
    assert (labels[tuples[:, 0]] == labels[tuples[:, 1]]).all()
    assert (tuples[:, 0] != tuples[:, 1]).all()
    assert len(np.unique(tuples[:, 0])) == 60
    assert not np.isin([0, 1], tuples[:, :2]).any(), "alone in their classes"
    assert 2 not in tuples, "unlabelled"


def test_there_are_at_most_as_many_queries_as_images_with_a_mate() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2, 3, -1, -1])
    sampler, tuples = mined(labels, batch_size=4, negatives=2)
    assert len(sampler) == 5
    assert sorted(tuples[:, 0].tolist()) == [0, 1, 2, 3, 4]
    assert {5, 6} & set(tuples[:, 2:].ravel().tolist())


def test_every_mate_may_be_the_positive() -> None:
    seen = set()
    for seed in range(40):
        _, tuples = mined(batch_size=3, negatives=1, seed=seed)
        seen |= {(query, near) for query, near, _ in tuples.tolist()}
    assert len(seen) == len(LABELS) * 5


def test_what_fills_no_batch_is_left_out() -> None:
    sampler, tuples = mined(batch_size=12, negatives=1, queries=19)
    assert len(sampler) == 4
    assert sampler.mined.shape == (4, 12)
    assert len(tuples) == 16


def test_a_batch_is_one_tuple_after_the_other() -> None:
    sampler, tuples = mined(batch_size=12, negatives=4, queries=10)
    first = next(iter(sampler))
    assert first == tuples[:2].ravel().tolist()


# --- pools


def test_pools_differ_and_grow_where_they_hold_too_few_classes() -> None:
    embed = Embedding()
    sampler = HardNegativesSampler(LABELS, 7, 5, queries=3, pool=2, refresh=1)
    for _ in range(3):
        sampler.mine(embed)
    for rows in embed.asked:
        assert len(np.unique(LABELS[rows])) >= 6
        assert len(rows) < 30
    assert len({tuple(rows.tolist()) for rows in embed.asked}) == 3


def test_each_refresh_asks_the_network_anew() -> None:
    sampler = HardNegativesSampler(LABELS, 12, 4, queries=20, refresh=4)
    assert len(sampler) == 10
    done = []
    for seed in range(3):
        sampler.mine(Embedding(np.random.default_rng(seed).normal(size=VECTORS.shape).astype(np.float32)))
        done.append(len(list(sampler)))
    assert done == [4, 8, 10]
    for query, _, *far in sampler.mined[4:8].reshape(-1, 6).tolist():
        assert far == by_hand(query, list(range(72)), LABELS, np.random.default_rng(1).normal(size=VECTORS.shape), 4)
    with pytest.raises(InputError, match=r"all 10 batches of epoch 0 are mined; go to the next one with set_epoch"):
        sampler.mine(Embedding())


def test_the_queries_of_an_epoch_do_not_depend_on_the_refresh() -> None:
    assert (mined(refresh=2, negatives=4)[1][:, :2] == mined(negatives=4)[1][:, :2]).all()


def test_the_length_of_embeddings_does_not_count() -> None:
    sampler, plain = HardNegativesSampler(LABELS, 12, 4), mined(negatives=4)[0]
    sampler.mine(Embedding(VECTORS * np.linspace(0.1, 9, len(VECTORS), dtype=np.float32)[:, None]))
    assert list(sampler) == list(plain)


# --- its state


def test_what_was_mined_can_be_put_back() -> None:
    whole, _ = mined(negatives=4, refresh=2)
    first, second = (HardNegativesSampler(LABELS, 12, 4, refresh=2) for _ in range(2))
    first.mine(Embedding())
    second.mined = first.mined
    second.set_epoch(0)
    assert list(second) == list(whole)[:2]
    second.mine(Embedding())
    assert list(second) == list(whole)[:4]


def test_another_epoch_begins_with_nothing() -> None:
    sampler, tuples = mined(negatives=4)
    sampler.set_epoch(3)
    with pytest.raises(InputError, match=r"no batches for epoch 3 yet; call mine\(embed\) after set_epoch"):
        iter(sampler)
    sampler.mine(Embedding())
    assert sampler.mined[:, 0].tolist() != tuples[:: sampler.tuples, 0].tolist()


# --- pictures that cannot be read


def test_a_damaged_picture_is_nobodys_negative() -> None:
    vectors = VECTORS.copy()
    vectors[[3, 30, 60]] = np.nan
    sampler = HardNegativesSampler(LABELS, 6, 4)
    sampler.mine(Embedding(vectors))
    tuples = sampler.mined.reshape(-1, 6)
    assert not np.isin([3, 30, 60], tuples[:, 2:]).any()
    good = [image for image in range(72) if image not in (3, 30, 60)]
    for query, _, *far in tuples.tolist():
        assert len(set(LABELS[[query, *far]].tolist())) == 5
        assert query not in good or far == by_hand(query, good, LABELS, VECTORS, 4)


def test_too_few_pictures_can_be_read() -> None:
    vectors = np.full_like(VECTORS, np.nan)
    vectors[:2] = 1
    found = len(set(LABELS[:2].tolist()))
    sampler = HardNegativesSampler(LABELS, 6, 4)
    with pytest.raises(InputError, match=rf"2 of 72 images of the pool can be read, of {found} classes; .* needs 5"):
        sampler.mine(Embedding(vectors))


# --- pairs for the loss


def test_positions_of_the_pairs() -> None:
    first, near, second, far = HardNegativesSampler(LABELS, 8, 2).indices_tuple()
    assert list(zip(first.tolist(), near.tolist(), strict=True)) == [(0, 1), (4, 5)]
    assert list(zip(second.tolist(), far.tolist(), strict=True)) == [(0, 2), (0, 3), (4, 6), (4, 7)]


@given(st.lists(st.booleans(), min_size=15, max_size=15))
def test_positions_among_the_pictures_that_could_be_read(kept: list[bool]) -> None:
    sampler = HardNegativesSampler(LABELS, 15, 3)
    first, near, second, far = sampler.indices_tuple(np.array(kept))
    left = [place for place in range(15) if kept[place]]
    pairs = [(left[a], left[b]) for a, b in zip(first, near, strict=True)]
    assert pairs == [(q, q + 1) for q in (0, 5, 10) if kept[q] and kept[q + 1]]
    pairs = [(left[a], left[b]) for a, b in zip(second, far, strict=True)]
    assert pairs == [(q, q + n) for q in (0, 5, 10) for n in (2, 3, 4) if kept[q] and kept[q + n]]


# --- what is refused


def test_one_column_of_a_tree() -> None:
    labels = np.stack([np.arange(72), LABELS], axis=1)
    assert (mined(labels, negatives=4, level=1)[1] == mined(negatives=4)[1]).all()
    with pytest.raises(InputError, match="0 pairs of one class make no batch of 2 tuples"):
        HardNegativesSampler(labels, 12, 4)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (LABELS, {"batch_size": 12}, r"batch_size=12 must be a positive multiple of 2 \+ negatives .* = 7"),
        (LABELS, {"batch_size": 0}, "positive multiple"),
        (LABELS, {"batch_size": 4, "negatives": 0}, "negatives must be at least 1, got 0"),
        (LABELS, {"batch_size": 7, "queries": 0}, "queries must be at least 1, got 0"),
        (LABELS, {"batch_size": 7, "pool": 0}, "pool must be at least 1, got 0"),
        (LABELS, {"batch_size": 7, "refresh": 0}, "refresh must be at least 1, got 0"),
        (LABELS, {"batch_size": 3, "negatives": 1, "hardest": 0}, "hardest must be at least 1, got 0"),
        (
            LABELS,
            {"batch_size": 7, "hardest": 25},
            "hardest=25 draws triplets, .* set negatives=1",
        ),
        (LABELS, {"batch_size": 14, "negatives": 12}, "needs 13 classes, column 0 has 12; lower negatives"),
        (LABELS, {"batch_size": 21, "queries": 2}, "2 pairs of one class make no batch of 3 tuples"),
        (np.full(8, -1), {"batch_size": 7}, "needs 6 classes, column 0 has 0"),
        (LABELS[:0], {"batch_size": 7}, "empty"),
        (np.zeros((8, 3), bool), {"batch_size": 7}, "for tags use the random sampler"),
        (LABELS, {"batch_size": 7, "level": 1}, r"level=1 but the labels have columns 0\.\.0"),
    ],
)
def test_wrong_input(labels: np.ndarray, options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        HardNegativesSampler(labels, **options)
