"""Dealing pictures by md5: the official numbers, a literal oracle, and what must hold for any list."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from pertinent.data.splitting import balanced_split, hash_split
from pertinent.errors import InputError

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "dirtorch_splits.json").read_text())
KEYS, LABELS = GOLDEN["keys"], GOLDEN["labels"]

KEY_LISTS = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=40, unique=True)
SHARES = st.tuples(st.floats(0, 0.5), st.floats(0, 0.5))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("balanced_0_7", balanced_split(KEYS, LABELS, 0.7)),
        ("balanced_0_6_0_2", balanced_split(KEYS, LABELS, 0.6, 0.2)),
        ("hash_0_5_0_25", hash_split(KEYS, 0.5, 0.25)),
    ],
)
def test_official_splits(name, parts):
    assert {part: rows for part, rows in GOLDEN[name].items() if rows} == {
        part: rows.tolist() for part, rows in parts.items() if rows.size
    }


def percent(key):
    return int(hashlib.md5(key.encode()).hexdigest(), 16) % 100


@given(KEY_LISTS, SHARES)
def test_hash_split_looks_at_one_key_at_a_time(keys, shares):
    parts = hash_split(keys, *shares)
    for name, rows in parts.items():
        for row in rows.tolist():
            share = percent(keys[row]) / 100
            assert name == ("train" if share < shares[0] else "val" if share < sum(shares) else "test")
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(keys)))


@given(KEY_LISTS, SHARES, st.data())
def test_balanced_split_deals_every_class_by_itself(keys, shares, data):
    labels = data.draw(st.lists(st.sampled_from("abc"), min_size=len(keys), max_size=len(keys)))
    parts = balanced_split(keys, labels, *shares)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(keys)))
    for label in set(labels):
        rows = [row for row in range(len(keys)) if labels[row] == label]
        order = sorted(rows, key=lambda row: int(hashlib.md5(keys[row].encode()).hexdigest(), 16))
        got = {name: [row for row in found.tolist() if labels[row] == label] for name, found in parts.items()}
        assert order[-1] in got["train"]
        n_val = int(0.9999 + shares[1] * len(rows))
        assert len(got["val"]) == min(n_val, len(rows) - 1)
        assert len(got["test"]) == min(int(0.9999 + (1 - sum(shares)) * len(rows)), len(rows) - 1 - len(got["val"]))


def test_nothing_is_left_for_test():
    parts = balanced_split(KEYS, LABELS, 0.75, 0.25)
    assert parts["test"].size == 0
    assert len(parts["train"]) + len(parts["val"]) == 40
    assert len(hash_split(KEYS, 1.0)["train"]) == 40
    assert hash_split([], 0.5)["test"].dtype == np.int64


@pytest.mark.parametrize(("train", "val"), [(-0.1, 0), (0.5, 0.6), (1.1, 0), (float("nan"), 0), (0.5, -0.1)])
def test_shares_that_cannot_be(train, val):
    with pytest.raises(InputError, match="shares of 0 to 1"):
        hash_split(KEYS, train, val)
    with pytest.raises(InputError, match="shares of 0 to 1"):
        balanced_split(KEYS, LABELS, train, val)


def test_labels_that_do_not_fit():
    with pytest.raises(InputError, match="40 keys need as many labels, got 3"):
        balanced_split(KEYS, LABELS[:3], 0.5)
