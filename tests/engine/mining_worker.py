"""One of two processes that mine together: what `test_mining` starts, with the environment that torchrun sets.

python mining_worker.py RECIPE FOLDER [WORD ...]: a run with mined batches, and one that is ended in mid-epoch and
resumed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from builders import run_recipe
from pertinent.engine import train as engine
from pertinent.engine.distributed import World


class KilledError(RuntimeError):
    """Stands for whatever ends all processes at once."""


def main(recipe: Path, folder: Path, *words: str) -> None:
    torch.set_num_threads(1)
    world = World.join()
    run_recipe(recipe, folder / "whole", *words)
    step, calls = engine.Trainer._step, []

    def killed(self: Any, group: Any) -> Any:
        calls.append(1)
        if len(calls) == 6:
            raise KilledError
        return step(self, group)

    engine.Trainer._step = killed  # type: ignore[method-assign]
    try:
        run_recipe(recipe, folder / "resumed", *words, "train.checkpoint_steps=1")
    except KilledError:
        world.wait()
    engine.Trainer._step = step  # type: ignore[method-assign]
    run_recipe(recipe, folder / "resumed", *words, resume=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
