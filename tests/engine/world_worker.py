"""One of several processes: what `test_distributed` and the like start, with the environment that torchrun sets.

python world_worker.py RECIPE FOLDER: does everything that is to be compared, and leaves the results in FOLDER.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from every_loss import NAMES, RANKING, B, build, found, labels_of, make_loss, make_network, make_objective, make_pixels
from torch import Tensor, nn

from builders import recipe_of, run_recipe
from pertinent.data.datasets import DATASETS
from pertinent.engine import train as engine
from pertinent.engine.building import make_encoder
from pertinent.engine.checkpoint import save_state
from pertinent.engine.distributed import World
from pertinent.engine.embed import embed_table
from pertinent.engine.memory import Memory
from pertinent.engine.steps import Objective, gradients
from pertinent.models.encoder import Encoder

# How a batch of 16 is shared out, for 2 and for 3 processes, and the most pictures at once.
SHARES: dict[str, tuple[dict[int, list[int]], int | None]] = {
    "even": ({1: [16], 2: [8, 8], 3: [5, 5, 6]}, None),
    "even in two passes": ({1: [16], 2: [8, 8], 3: [5, 5, 6]}, 3),
    "uneven in two passes": ({1: [16], 2: [3, 13], 3: [2, 9, 5]}, 4),
    "one has nothing": ({1: [16], 2: [16, 0], 3: [7, 0, 9]}, 3),
}
# Running statistics of a frozen norm, some of which would be rounded when three equal ones are averaged.
FROZEN = torch.linspace(0.1, 1, 99)
# BatchNorm would normalise each process's pictures by themselves.
WORDS = ("train.batch_norm=freeze", "model.backbone_options={}")
BIG = ("train.chunk=3", "memory={size: 10, start: 1}", "train.ema=0.5", "data.val=val")


def steps(world: World) -> dict[str, Any]:
    """Loss and gradients of every registered loss, however the batch is shared out."""
    return {
        f"{name}, {how}": step(world, make_objective(name), labels_of(name), how) for name in NAMES for how in SHARES
    } | {f"{name} with memory, {how}": remembered(world, name, how) for name in RANKING for how in SHARES}


def step(world: World, objective: Objective, labels: Tensor, how: str, *, seed: int = 0) -> dict[str, Any]:
    shares, chunk = SHARES[how]
    counts = shares[world.size]
    network = make_network()
    own = make_pixels(seed).split(counts)[world.rank]
    parts = gradients(network, network, own, labels, objective, chunk=chunk, world=world)
    world.sum_gradients(network.parameters())
    world.copy_gradients(objective.losses.parameters())
    return {
        "parts": parts,
        "network": dict(found(network.named_parameters())),
        "losses": dict(found(objective.losses.named_parameters())),
        "buffers": {key: value.clone() for key, value in objective.losses.named_buffers()},
    }


def remembered(world: World, name: str, how: str) -> list[dict[str, Any]]:
    """Three batches with a memory that wraps around."""
    labels = labels_of(name)
    memory = Memory(24, 8, labels)
    objective = Objective(nn.ModuleDict({name: make_loss(name)}), {name: 1.0}, memory)
    results = []
    for seed in range(3):
        result = step(world, objective, labels, how, seed=seed)
        results.append(result | {"memory": {key: value.clone() for key, value in memory.state_dict().items()}})
    return results


def talk(world: World) -> dict[str, Any]:
    """What the processes tell each other."""
    rank = world.rank
    parameters = [nn.Parameter(torch.zeros(2)) for _ in range(3)]
    if rank:
        parameters[0].grad = torch.full((2,), float(rank))
    parameters[1].grad = torch.ones(2)
    world.sum_gradients(parameters)
    norm = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(99).eval(), nn.Flatten())
    norm[2].register_buffer("table", torch.full((1,), 0.1 + rank))
    norm[0].running_mean.fill_(float(rank))
    norm[1].running_mean.copy_(FROZEN)
    world.mean_buffers(norm)
    drawn = make_network()
    objective = Objective(nn.ModuleDict({"random": Drawing()}), {"random": 1.0})
    torch.manual_seed(100 + rank)
    gradients(
        drawn, drawn, make_pixels().split(SHARES["even"][0][world.size])[rank], labels_of("ap"), objective, world=world
    )
    own = drawn[-2].weight.grad.clone()
    world.sum_gradients(drawn.parameters())
    return {
        "rank": rank,
        "share": [world.share(10).start or 0, world.share(10).stop],
        "gathered": [
            world.gather(torch.full((rank, 2), rank)),
            world.gather(torch.tensor([rank == 1])),
            world.gather(torch.zeros(0, 3, dtype=torch.float64)),
        ],
        "counts": world.gather_counts(7 * rank),
        "summed": [p.grad for p in parameters],
        "norm": {key: value.clone() for key, value in norm.state_dict().items()},
        "objects": world.gather_objects({"rank": rank}),
        "drawn": [own, drawn[-2].weight.grad],
    }


class Drawing(nn.Module):
    """A loss that each process would compute otherwise."""

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        return (embeddings * torch.randn_like(embeddings)).sum()


class KilledError(RuntimeError):
    """Stands for whatever ends all processes at once."""


def trainings(world: World, recipe: Path, folder: Path) -> None:
    """Whole runs: a plain one, one with everything, and that one ended in mid-epoch, resumed or left."""
    run_recipe(recipe, folder / "plain", *WORDS)
    run_recipe(recipe, folder / "big", *WORDS, *BIG)
    step, calls = engine.Trainer._step, []

    def killed(self: Any, group: Any) -> Any:
        calls.append(1)
        if len(calls) == 6:
            raise KilledError
        return step(self, group)

    engine.Trainer._step = killed  # type: ignore[method-assign]
    for name in ("resumed", "left"):
        calls.clear()
        try:
            run_recipe(recipe, folder / name, *WORDS, *BIG, "train.checkpoint_steps=2")
        except KilledError:
            world.wait()
    engine.Trainer._step = step  # type: ignore[method-assign]
    run_recipe(recipe, folder / "resumed", *WORDS, *BIG, resume=True)
    # The default: accelerate has to be told that there is no GPU.
    run_recipe(recipe, folder / "dropped", "train.device=auto", "train.epochs=1", "data.on_error=skip")


def embeddings(world: World, recipe: Path, folder: Path) -> None:
    """A store, and one that was begun and gone on with."""
    made = recipe_of(recipe)
    torch.manual_seed(0)
    encoder: Encoder = make_encoder(made).eval()
    table = DATASETS.build("folder", root=made.data.root).split("train")
    options: dict[str, Any] = {"batch_size": 5, "world": world}
    embed_table(encoder, table, folder / "store", **options)
    embed_table(encoder, table.subset(range(3)), folder / "few", **options)

    def stop(event: dict[str, Any]) -> None:
        raise KilledError

    try:
        embed_table(encoder, table, folder / "halves", listener=stop, **options)
    except KilledError:
        world.wait()
    heard: list[dict[str, Any]] = []
    embed_table(encoder, table, folder / "halves", listener=heard.append, **options)
    save_state(folder / f"heard-{world.rank}", {"done": [event["done"] for event in heard]})


def main(recipe: Path, folder: Path) -> None:
    """Everything, one after the other: starting a process takes longer than all of it."""
    torch.set_num_threads(1)
    world = World.join()
    assert World.join() == world
    build("hap")
    save_state(folder / f"steps-{world.rank}", steps(world))
    save_state(folder / f"talk-{world.rank}", talk(world))
    embeddings(world, recipe, folder)
    if world.size == 2:
        trainings(world, recipe, folder)


if __name__ == "__main__":
    assert B == 16
    main(Path(sys.argv[1]), Path(sys.argv[2]))
