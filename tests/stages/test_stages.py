"""Stages of post-processing: options, words, and what a whitening learns from labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pertinent import Relevance
from pertinent.errors import ConfigError, InputError, UnknownNameError
from pertinent.functional.whitening import lw_whitening
from pertinent.pipeline import Pipeline
from pertinent.stages import STAGES
from pertinent.stages._roles import ROLES
from pertinent.stages._words import call_words, parse_calls
from pertinent.stages.lw_whiten import LwWhiten, matching_pairs


def test_there_are_six_and_each_has_one_role():
    assert STAGES.names() == ["alpha_qe", "dba", "diffusion", "k_reciprocal", "lw_whiten", "pca_whiten"]
    for name in STAGES.names():
        stage = STAGES.build(name)
        assert sum(isinstance(stage, role) for role in ROLES) == 1, name


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("", []),
        ("dba", [("dba", {})]),
        ("dba(),", [("dba", {})]),
        (" dba( k = 3 ) ,\n alpha_qe(alpha=.5)", [("dba", {"k": 3}), ("alpha_qe", {"alpha": 0.5})]),
        ("a(x=-1e-3, y=None, z='word', w=True)", [("a", {"x": -1e-3, "y": None, "z": "word", "w": True})]),
        ("dba # not this, (", [("dba", {})]),
    ],
)
def test_words(text: str, want: list[Any]):
    assert parse_calls(text) == want
    again = ", ".join(call_words(name, options) for name, options in want)
    assert parse_calls(again) == want


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dba(3)", r"dba\(3\): name every option, as in k=10"),
        ("dba(**{'k': 3})", "name every option"),
        ("dba(k=1, k=2)", "dba.k is given twice"),
        ("dba(k=3", "cannot be read"),
        ("dba] + [dba", "is no list of stages"),
        ("os.system(k='ls')", "is no stage"),
        ("(lambda: 1)()", "is no stage"),
        ("3", "'3' is no stage"),
        ("dba(k=__import__('os'))", "dba.k: __import__.* is no plain value"),
        ("dba(k=[3])", r"dba.k: \[3\] is no plain value"),
        ("dba(k=2**9)", "is no plain value"),
        ("dba(k=1j)", "is no plain value"),
        ("(" * 5000, "cannot be read"),
        ("dba\0", "cannot be read"),
    ],
)
def test_words_that_say_nothing(text: str, said: str):
    with pytest.raises(ConfigError, match=said) as caught:
        parse_calls(text)
    assert "write such as: pca_whiten(dims=512), alpha_qe(k=10, alpha=3)" in str(caught.value)


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        ("alpha_q", UnknownNameError, "unknown stage 'alpha_q'; did you mean 'alpha_qe'"),
        ("whiten", UnknownNameError, "did you mean 'lw_whiten' or 'pca_whiten'"),
        ("dba(K=3)", ConfigError, "dba.K: unknown option"),
        ("dba(k=-1)", InputError, "dba: k must be a whole number of at least 0, got -1"),
        ("dba(k=2.5)", InputError, "dba: k must be a whole number of at least 0, got 2.5"),
        ("dba(k=True)", InputError, "got True"),
        ("dba(alpha=-1)", InputError, "dba: alpha must be a number of at least 0, got -1"),
        ("alpha_qe(k=None)", InputError, "alpha_qe: k must be a whole number"),
        ("alpha_qe(alpha='3')", InputError, "alpha_qe: alpha must be a number of at least 0, got '3'"),
        ("alpha_qe(alpha=1e999)", InputError, "got inf"),
        ("pca_whiten(p=-.25)", InputError, "pca_whiten: p must be a number of at least 0, got -0.25"),
        ("pca_whiten(dims=0)", InputError, "pca_whiten: dims must be a whole number of at least 1, got 0"),
        ("lw_whiten(dims=0)", InputError, "lw_whiten: dims must be a whole number of at least 1, got 0"),
        ("k_reciprocal(top=-1)", InputError, "k_reciprocal: top must be a whole number of at least 0"),
        ("k_reciprocal(k1=0)", InputError, "k_reciprocal: k1 must be a whole number of at least 1"),
        ("k_reciprocal(k2=0)", InputError, "k_reciprocal: k2 must be a whole number of at least 1"),
        ("k_reciprocal(weight=1.5)", InputError, "k_reciprocal: weight must be a number from 0 to 1, got 1.5"),
        ("diffusion(alpha=1)", InputError, "diffusion: alpha must be below 1"),
        ("diffusion(alpha=2)", InputError, "diffusion: alpha must be a number from 0 to 1, got 2"),
        ("diffusion(k=0)", InputError, "diffusion: k must be"),
        ("diffusion(k_query=0)", InputError, "diffusion: k_query must be"),
        ("diffusion(top=-2)", InputError, "diffusion: top must be"),
        ("diffusion(gamma=-1)", InputError, "diffusion: gamma must be"),
    ],
)
def test_options_out_of_range(words: str, error: type[Exception], said: str):
    with pytest.raises(error, match=said):
        Pipeline.parse(words)


def pairs(relevance: Relevance) -> list[tuple[int, int]]:
    queries, positives = matching_pairs(relevance)
    return list(zip(queries.tolist(), positives.tolist(), strict=True))


def test_each_vector_is_paired_with_the_next_of_its_class():
    assert pairs(Relevance.classes([0, 1, 0, 2, 0, 1, -1])) == [(0, 2), (1, 5), (2, 4), (4, 0), (5, 1)]


def test_pairs_take_the_finest_label_that_is_shared():
    assert pairs(Relevance.tree([[0, 0], [1, 0], [0, 0], [2, 1]])) == [(0, 2), (1, 2), (2, 0)]


def test_pairs_of_judgements_need_queries_among_the_items():
    records = [{"easy": [2], "hard": [0], "junk": [3]}, {"easy": [1], "hard": [], "junk": []}]
    inside = Relevance.judged(records, n_items=5, query_positions=[1, -1])
    assert pairs(inside) == [(1, 2)]


def test_lw_learns_from_those_pairs():
    rng = np.random.default_rng(0)
    x, relevance = rng.standard_normal((40, 3)), Relevance.classes(np.arange(40) % 9)
    found = LwWhiten(dims=2).learn(x, relevance)
    want = lw_whitening(x, *matching_pairs(relevance), dims=2)
    np.testing.assert_array_equal(found.projection, want.projection)


def test_lw_without_matches():
    x = np.eye(4)
    with pytest.raises(InputError, match="these vectors have none; use pca_whiten"):
        LwWhiten().learn(x, None)
    with pytest.raises(InputError, match="no two of these do; use pca_whiten"):
        LwWhiten().learn(x, Relevance.classes(np.arange(4)))
    with pytest.raises(InputError, match="the relevance was made for 3 items, the gallery has 4"):
        LwWhiten().learn(x, Relevance.classes(np.zeros(3, np.int64)))
