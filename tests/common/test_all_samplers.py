"""What every registered sampler must do, whatever it is."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from pertinent.data.samplers import SAMPLERS
from pertinent.errors import InputError

FINE = np.arange(120) // 5
LABELS = np.stack([FINE, FINE % 3], axis=1)
BATCH = 16
NAMES = SAMPLERS.names()
OPTIONS: dict[str, dict[str, Any]] = {"hard_negatives": {"negatives": 2}}
EMBEDDINGS = np.random.default_rng(0).normal(size=(len(LABELS), 8)).astype(np.float32)


def sampler(name: str, labels: np.ndarray = LABELS, **options: Any) -> Any:
    return SAMPLERS.build(name, labels=labels, batch_size=BATCH, **{**OPTIONS.get(name, {}), **options})


def batches_of(made: Any) -> list[list[int]]:
    """The batches of the epoch, mined first where the sampler asks for it."""
    if getattr(made, "needs_embeddings", False) and len(made.mined) == 0:
        made.mine(EMBEDDINGS.__getitem__)
    return list(made)


@pytest.mark.parametrize("name", NAMES)
def test_batches_are_lists_of_valid_indices(name: str) -> None:
    made = sampler(name)
    batches = batches_of(made)
    assert len(batches) == len(made) > 0
    for batch in batches:
        assert len(batch) == BATCH
        assert all(type(index) is int and 0 <= index < len(LABELS) for index in batch)


@pytest.mark.parametrize("name", NAMES)
def test_seed_and_epoch_decide_everything(name: str) -> None:
    state = np.random.get_state()[1].copy()
    first, second = sampler(name, seed=3), sampler(name, seed=3)
    epoch0 = batches_of(first)
    assert batches_of(first) == epoch0 == batches_of(second)
    first.set_epoch(1)
    assert batches_of(first) != epoch0
    assert len(batches_of(first)) == len(first)
    second.set_epoch(1)
    assert batches_of(first) == batches_of(second)
    first.set_epoch(0)
    assert batches_of(first) == epoch0
    assert batches_of(sampler(name, seed=4)) != epoch0
    assert (np.random.get_state()[1] == state).all()


@pytest.mark.parametrize("name", NAMES)
def test_two_epochs_can_be_read_at_once(name: str) -> None:
    made = sampler(name)
    alone = batches_of(made)
    assert [batch for batch, _ in zip(made, made, strict=True)] == alone


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_not_changed(name: str) -> None:
    labels = LABELS.copy()
    labels.flags.writeable = False
    batches_of(sampler(name, labels))
    assert (labels == LABELS).all()


@pytest.mark.parametrize("name", NAMES)
def test_class_ids_need_not_be_consecutive(name: str) -> None:
    assert len(sampler(name, LABELS * 1000 + 7)) == len(sampler(name))


@pytest.mark.parametrize("name", NAMES)
def test_wrong_input(name: str) -> None:
    with pytest.raises(InputError):
        sampler(name, LABELS[:0])
    with pytest.raises(InputError):
        SAMPLERS.build(name, labels=LABELS, batch_size=0)


@pytest.mark.parametrize("name", NAMES)
def test_documentation(name: str) -> None:
    assert SAMPLERS.entries[name].summary
    text = SAMPLERS.get(name).__doc__
    for option in SAMPLERS.options(name):
        assert re.search(rf"^        {option}: ", text, re.MULTILINE), f"{option} is not described"
    assert "Raises:" in text
