"""Trains a run that is killed at random moments and resumed each time; tells what happened as JSON.

python crash_worker.py RECIPE FOLDER KILLS SEED [WORD ...]

Every life of the run is a child of this process, forked when all is imported, so that a life costs no more than its
training. `FOLDER/whole` is a run that was never killed; `FOLDER/0`, `FOLDER/1`, ... were killed KILLS times together.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch

from builders import recipe_of
from pertinent.engine.checkpoint import load_newest
from pertinent.engine.events import read_events
from pertinent.engine.run import Run
from pertinent.engine.train import train
from pertinent.index import Index

# Importing is not what is to be tried here.
assert Index is not None


def live(recipe: Path, words: list[str], folder: Path) -> int:
    """Start or resume a run in a child; returns its process id."""
    child = os.fork()
    if child:
        return child
    try:
        train(recipe_of(recipe, *words), folder, resume=(folder / "recipe.yaml").is_file())
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def ended(child: int, wait: bool = False) -> bool:
    """Whether a child has come to its end; raises when it failed."""
    found, status = os.waitpid(child, 0 if wait else os.WNOHANG)
    if status:
        raise RuntimeError(f"a life of the run failed with status {status}")
    return bool(found)


def ended_before(child: int, run: Run, wanted: int, more: float) -> bool:
    """Wait until the log tells of `wanted` steps and `more` seconds have gone by; whether the child ended before."""
    while count(run) < wanted:
        if ended(child):
            return True
        time.sleep(0.001)
    time.sleep(more)
    return ended(child)


def count(run: Run) -> int:
    """Steps that the log tells of, of all lives."""
    return run.log_path.read_bytes().count(b'"event": "step"') if run.log_path.exists() else 0


def steps_done(run: Run) -> int:
    """Place, in batches, of the last step that the log tells of."""
    steps = [event for event in read_events(run.log_path) if event["event"] == "step"]
    return (steps[-1]["epoch"] - 1) * steps[-1]["steps"] + steps[-1]["step"] if steps else 0


def place(run: Run, steps: int) -> int:
    """Place, in batches, from which the run would go on."""
    newest = load_newest(run.checkpoints())
    if newest is None:
        return 0
    epoch, step = newest[0]["place"]
    return epoch * steps + step


def unfinished(run: Run) -> list[str]:
    """What was being written when the process was killed."""
    return [str(path.relative_to(run.folder)) for path in run.folder.rglob(".*")]


def main(recipe: Path, folder: Path, kills: int, seed: int, words: list[str]) -> None:
    torch.set_num_threads(1)
    rng = random.Random(seed)
    whole = Run(folder / "whole")
    ended(live(recipe, words, whole.folder), wait=True)
    events = read_events(whole.log_path)
    times = [event["time"] for event in events if event["event"] == "step"]
    steps = next(event["steps"] for event in events if event["event"] == "start")
    pause = 2 * (times[-1] - times[0]) / len(times)
    told: dict[str, Any] = {"lost": [], "places": [], "left": [], "runs": 1}
    run = Run(folder / "0")
    while len(told["lost"]) < kills:
        # Some lives end before the first step, the others anywhere in or after one; all together make about one run.
        wanted, before = rng.randint(0, 2 * len(times) // kills), count(run)
        child = live(recipe, words, run.folder)
        if ended_before(child, run, before + wanted, rng.uniform(0, pause if wanted else 1.0)):
            run = Run(folder / str(told["runs"]))
            told["runs"] += 1
            continue
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        done, kept = steps_done(run), place(run, steps)
        told["lost"].append(done - kept)
        told["places"].append(done)
        told["left"] += unfinished(run)
    ended(live(recipe, words, run.folder), wait=True)
    print(json.dumps(told))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
