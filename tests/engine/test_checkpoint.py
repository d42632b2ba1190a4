from __future__ import annotations

import errno
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pertinent.engine.checkpoint import load_state, random_state, restore_random_state, save_state
from pertinent.errors import StorageError

SHARED = torch.arange(6.0)
STATE: dict[str, Any] = {
    "number": 3,
    "float": 0.1 + 0.2,
    "text": "grün",
    "nothing": None,
    "flag": True,
    "empty": [{}, []],
    "integer keys": {0: {"step": torch.tensor(3.0)}, 1: {"step": torch.tensor(4)}},
    "tensors": [SHARED, SHARED[2:], SHARED.reshape(2, 3).T, torch.zeros(0, 2), torch.tensor([True, False])],
    "half": torch.tensor([1.5, -2], dtype=torch.bfloat16),
    "bytes": torch.get_rng_state(),
    # What a user may name a loss.
    "tensor": {"tensor": torch.ones(1), "items": [1]},
}


def same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, list):
        for one, other in zip(a, b, strict=True):
            same(one, other)
    else:
        assert a == b


def test_nested_values_come_back(tmp_path: Path):
    save_state(tmp_path / "c", STATE)
    same(load_state(tmp_path / "c"), STATE)
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["state.json", "state.safetensors"]


def test_saving_leaves_the_state_alone_and_shares_nothing_with_it(tmp_path: Path):
    values = torch.zeros(2, requires_grad=True)
    save_state(tmp_path / "c", {"a": values, "pair": (1, 2)})
    with torch.no_grad():
        values += 1
    found = load_state(tmp_path / "c")
    assert found["a"].tolist() == [0, 0]
    assert found["pair"] == [1, 2]


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_an_optimiser_goes_on_as_if_never_stopped(tmp_path: Path, name: str):
    def make() -> tuple[torch.Tensor, torch.optim.Optimizer]:
        weights = torch.ones(3, requires_grad=True)
        kinds = {"adam": torch.optim.Adam, "sgd": lambda w: torch.optim.SGD(w, lr=0.1, momentum=0.9, nesterov=True)}
        return weights, kinds[name]([weights])

    def steps(weights: torch.Tensor, optimiser: torch.optim.Optimizer, count: int) -> None:
        for _ in range(count):
            optimiser.zero_grad()
            (weights**3).sum().backward()
            optimiser.step()

    weights, optimiser = make()
    steps(weights, optimiser, 3)
    save_state(tmp_path / "c", {"optimiser": optimiser.state_dict(), "weights": weights})
    steps(weights, optimiser, 3)

    state = load_state(tmp_path / "c")
    again, other = make()
    other.load_state_dict(state["optimiser"])
    with torch.no_grad():
        again.copy_(state["weights"])
    steps(again, other, 3)
    assert torch.equal(weights, again)


def draws() -> list[Any]:
    return [torch.rand(3).tolist(), np.random.standard_normal(3).tolist(), random.gauss(), random.random()]


def test_every_random_generator_goes_on(tmp_path: Path):
    draws()
    np.random.standard_normal()  # leaves one cached normal number
    random.gauss()
    save_state(tmp_path / "c", {"random": random_state()})
    expected = draws()
    draws()
    restore_random_state(load_state(tmp_path / "c")["random"])
    assert draws() == expected


def test_a_full_disk_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save_state(tmp_path / "c", {"a": 1})

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pertinent.engine.checkpoint.write_tensors", full)
    with pytest.raises(StorageError, match="No space left on device; free space or choose another folder"):
        save_state(tmp_path / "c", {"a": 2})
    assert load_state(tmp_path / "c") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def damage(folder: Path, **changes: Any) -> None:
    state = json.loads((folder / "state.json").read_text()) | changes
    (folder / "state.json").write_text(json.dumps({key: value for key, value in state.items() if value is not None}))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder: (folder / "state.json").unlink(), r"state\.json does not exist"),
        (lambda folder: (folder / "state.json").write_text("{"), "damaged or not JSON"),
        (lambda folder: (folder / "state.safetensors").unlink(), "is damaged: "),
        (lambda folder: (folder / "state.safetensors").write_bytes(b"short"), "is damaged: "),
        (lambda folder: damage(folder, format=8), "has checkpoint format 8, this version reads 1"),
        (lambda folder: damage(folder, state=None), "is damaged: 'state'; train again in another folder"),
        (lambda folder: damage(folder, state={"tensor": "77"}), "is damaged: '77'"),
        (lambda folder: damage(folder, state={"items": [1, 2]}), "is damaged: "),
    ],
)
def test_damage_is_found(tmp_path: Path, harm: Any, said: str):
    save_state(tmp_path / "c", {"a": torch.zeros(3)})
    harm(tmp_path / "c")
    with pytest.raises(StorageError, match=said):
        load_state(tmp_path / "c")
