from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from every_loss import NAMES, RANKING, D, Ranked, build, labels_of, make_loss, make_network, make_pixels
from torch import Tensor, nn

from builders import Listening, recipe_of, run_recipe
from pertinent.engine.checkpoint import load_state
from pertinent.engine.events import silent
from pertinent.engine.loader import Pictures, training_loader
from pertinent.engine.memory import Memory
from pertinent.engine.run import Run
from pertinent.engine.steps import Objective, gradients
from pertinent.engine.train import Trainer
from pertinent.errors import ConfigError


def rows(first: int, count: int) -> tuple[Tensor, Tensor]:
    """Embeddings and labels that tell their place in training."""
    numbers = torch.arange(first, first + count)
    return numbers[:, None].expand(-1, D).float(), numbers


def kept(memory: Memory) -> list[int]:
    embeddings, labels = memory.items()
    assert embeddings.shape == (len(memory), D)
    assert torch.equal(embeddings[:, 0].long(), labels), "an embedding and its label stay together"
    return sorted(labels.tolist())


# --- what is kept


def test_it_keeps_the_last_ones():
    memory = Memory(5, D, torch.zeros(1, dtype=torch.int64))
    assert kept(memory) == []
    for first, expected in [(0, [0, 1]), (2, [0, 1, 2, 3]), (4, [1, 2, 3, 4, 5]), (6, [3, 4, 5, 6, 7])]:
        memory.add(*rows(first, 2))
        assert kept(memory) == expected
        assert len(memory) == min(5, first + 2)


@pytest.mark.parametrize("before", [0, 1, 4, 5, 7])
@pytest.mark.parametrize("count", [5, 6, 13])
def test_of_a_batch_larger_than_itself_it_keeps_the_last_rows(before: int, count: int):
    memory = Memory(5, D, torch.zeros(1, dtype=torch.int64))
    memory.add(*rows(0, before))
    memory.add(*rows(before, count))
    assert kept(memory) == list(range(before + count - 5, before + count))
    memory.add(*rows(before + count, 2))
    assert kept(memory) == list(range(before + count - 3, before + count + 2))


def test_an_empty_batch_and_a_memory_of_nothing():
    memory = Memory(5, D, torch.zeros(1, dtype=torch.int64))
    memory.add(*rows(0, 3))
    memory.add(*rows(3, 0))
    assert kept(memory) == [0, 1, 2]
    nothing = Memory(0, D, torch.zeros(1, dtype=torch.int64))
    nothing.add(*rows(0, 3))
    assert len(nothing) == 0
    assert nothing.items()[0].shape == (0, D)


@pytest.mark.parametrize(
    "labels",
    [torch.arange(4), torch.arange(8).reshape(4, 2), torch.eye(4).bool()],
    ids=["classes", "tree", "tags"],
)
def test_labels_of_every_kind(labels: Tensor):
    memory = Memory(3, D, labels)
    memory.add(torch.zeros(4, D), labels)
    assert memory.items()[1].dtype == labels.dtype
    assert {str(row.tolist()) for row in memory.items()[1]} == {str(row.tolist()) for row in labels[1:]}


def test_it_holds_no_graph_and_not_the_batch_itself():
    memory, batch = Memory(4, D, torch.zeros(1, dtype=torch.int64)), torch.ones(2, D, requires_grad=True)
    memory.add(batch * 2, torch.zeros(2, dtype=torch.int64))
    assert not memory.items()[0].requires_grad
    with torch.no_grad():
        batch += 1
    assert memory.items()[0].eq(2).all()


def test_its_state_comes_back():
    memory, other = (Memory(5, D, torch.zeros(1, dtype=torch.int64)) for _ in range(2))
    memory.add(*rows(0, 7))
    other.load_state_dict(copy.deepcopy(memory.state_dict()))
    for one in (memory, other):
        one.add(*rows(7, 1))
    assert kept(other) == kept(memory) == [3, 4, 5, 6, 7]
    assert len(other) == 5


# --- losses that use it


def objective(name: str, size: int) -> Objective:
    return Objective(nn.ModuleDict({name: make_loss(name)}), {name: 1.0}, Memory(size, D, labels_of(name)))


def step(network: nn.Module, made: Objective, seed: int = 0, chunk: int | None = None) -> dict[str, Tensor]:
    return gradients(network, network, make_pixels(seed), labels_of(next(iter(made.losses))), made, chunk=chunk)


def state(network: nn.Module, made: Objective) -> list[Tensor]:
    return [p.grad for p in (*network.parameters(), *made.losses.parameters()) if p.grad is not None]


@pytest.mark.parametrize("name", [*NAMES, "ranked"])
def test_a_memory_of_nothing_changes_nothing(name: str):
    """Over several batches, to the bit."""
    made, bare = objective(name, 0), objective(name, 0)
    bare.memory = None
    network, other = make_network(), make_network()
    for seed in range(3):
        assert step(network, made, seed)["loss"] == step(other, bare, seed)["loss"]
    for one, another in zip(state(network, made), state(other, bare), strict=True):
        assert torch.equal(one, another)


@pytest.mark.parametrize("unlabelled", [False, True])
@pytest.mark.parametrize("name", RANKING)
def test_references_that_are_the_batch_alone_change_nothing(name: str, unlabelled: bool):
    """What a loss must know of references that begin with its queries."""
    loss = objective(name, 0).losses[name]
    embeddings, labels = make_network()(make_pixels()).detach(), labels_of(name).clone()
    if unlabelled:
        labels[3:6] = 0 if labels.dtype == torch.bool else -1
    one, other = (embeddings.clone().requires_grad_() for _ in range(2))
    plain, referred = loss(one, labels), loss(other, labels, None, other, labels, ref_includes_query=True)
    (plain + referred).backward()
    torch.testing.assert_close(referred, plain, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(other.grad, one.grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", RANKING)
@pytest.mark.parametrize("chunk", [None, 3])
def test_the_batch_and_what_came_before_it_are_ranked(name: str, chunk: int | None):
    made, network = objective(name, 24), make_network()
    labels = labels_of(name)
    batches = [network(make_pixels(seed)) for seed in range(3)]
    for seed in range(3):
        parts = step(network, made, seed, chunk)
        network.zero_grad()
    past = torch.cat([batch.detach() for batch in batches[:2]])[-24:]
    items, item_labels = torch.cat([batches[2], past]), torch.cat([labels, torch.cat([labels, labels])[-24:]])
    expected = made.losses[name](batches[2], labels, None, items, item_labels, ref_includes_query=True)
    torch.testing.assert_close(parts["loss"], expected.detach(), rtol=1e-9, atol=1e-9)
    parts = step(network, made, 2, chunk)  # the same batch again: now it is in the memory as well
    assert parts["loss"] != expected
    assert made.memory is not None
    assert len(made.memory) == 24


def test_only_losses_that_take_references_see_it():
    losses = nn.ModuleDict({"ranked": Ranked(), "cluster": build("cluster").double()})
    made = Objective(losses, dict.fromkeys(losses, 1.0), Memory(8, D, labels_of("cluster")))
    network = make_network()
    first, second = step(network, made), step(network, made)
    assert first["cluster"] == second["cluster"]
    assert first["ranked"] != second["ranked"]


def test_a_memory_that_no_loss_would_use(tmp_path: Path, recipe_file: Path):
    with pytest.raises(ConfigError, match=r"memory\.size: none of the losses \(cluster\) compares with other items"):
        run_recipe(recipe_file, tmp_path / "run", "memory.size=8", "losses.hap=null")
    assert not (tmp_path / "run").exists()


# --- in training


@pytest.fixture
def ranked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many items each call of a ranking loss saw beside its batch."""
    seen: list[int] = []

    class Noting(Objective):
        def __call__(self, *batch: Any) -> Any:
            seen.append(-1 if self.memory is None else len(self.memory))
            return super().__call__(*batch)

    monkeypatch.setattr("pertinent.engine.train.Objective", Noting)
    return seen


def test_it_begins_at_its_epoch(tmp_path: Path, recipe_file: Path, ranked: list[int]):
    run = run_recipe(recipe_file, tmp_path / "run", "memory={size: 20, start: 1}", "train.epochs=3")
    assert ranked == [-1] * 3 + [0, 8, 16] + [20] * 3
    memory = load_state(run.checkpoints()[-1])["memory"]
    assert memory["embeddings"].shape == (20, 8)
    assert memory["added"] == 48
    assert memory["labels"].shape == (20, 2)


def test_no_memory_is_the_default(tmp_path: Path, recipe_file: Path, ranked: list[int]):
    run_recipe(recipe_file, tmp_path / "run", "train.epochs=1")
    assert ranked == [-1] * 3


def test_a_resumed_run_remembers(tmp_path: Path, recipe_file: Path, ranked: list[int]):
    words = ["memory.size=20", "train.epochs=2"]
    whole = load_state(run_recipe(recipe_file, tmp_path / "whole", *words).checkpoints()[-1])
    ranked.clear()

    def act(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe_file, tmp_path / "part", *words, listener=Listening(act))
    part = load_state(run_recipe(recipe_file, tmp_path / "part", *words, resume=True).checkpoints()[-1])
    assert ranked == [0, 8, 16, 20, 20, 20]
    for key, value in whole["memory"].items():
        assert torch.equal(part["memory"][key], value)
    for key, value in whole["encoder"].items():
        assert torch.equal(part["encoder"][key], value)


def test_the_rows_of_a_batch_are_counted_once(tmp_path: Path, recipe_file: Path):
    """Two passes add a batch to the memory once, whole."""
    trainer = Trainer(recipe_of(recipe_file, "memory.size=20", "train.chunk=3"), Run(tmp_path), silent)
    trainer.batches.set_epoch(0)
    pictures = Pictures(trainer.table, trainer._augment(), skip=False)
    batch = next(iter(training_loader(pictures, trainer.batches, 0)))
    trainer._step([batch])
    assert len(trainer.memory) == 8
    assert torch.equal(trainer.memory.items()[1], trainer.labels[batch.rows])
