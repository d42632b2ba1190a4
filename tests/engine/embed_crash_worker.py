"""Embeds pictures of many sizes, killed at random moments and started again each time; tells what happened as JSON.

python embed_crash_worker.py FOLDER KILLS SEED

`FOLDER/whole` is a store that was made in one go, `FOLDER/killed` one whose making was killed KILLS times. Every life
is a child of this process, forked when all is imported.
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

import numpy as np
import torch
from PIL import Image

from pertinent.data.datasets.folder import Folder
from pertinent.data.transforms import Preprocess
from pertinent.engine import partial
from pertinent.engine.embed import embed_table
from pertinent.models.encoder import Encoder, EncoderConfig

COUNT = 90
partial.SAVE_EVERY = 0.01


def make_pictures(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        size = rng.choice([32, 40, 48], 2)
        pixels = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
        (folder / f"c{number % 3}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"c{number % 3}" / f"{number}.png")
    damaged = folder / "c1" / "40.png"
    damaged.write_bytes(damaged.read_bytes()[:100])


def live(pictures: Path, store: Path) -> int:
    """Begin or go on in a child; returns its process id."""
    child = os.fork()
    if child:
        return child
    try:
        torch.manual_seed(0)
        encoder = Encoder(EncoderConfig(backbone="test_resnet", pool="gem", dim=16), Preprocess(resize=None, crop=None))
        embed_table(encoder, Folder(pictures).split("all"), store, batch_size=4, skip_damaged=True)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def done(store: Path) -> int:
    """How many pictures the progress on disk tells of."""
    try:
        noted = json.loads((store.with_name(f".{store.name}.partial") / "progress-0-of-1.json").read_text())
    except FileNotFoundError:
        return 0
    return int(noted["done"]) + len(noted["ahead"])


def ended_before(child: int, store: Path, wanted: int, more: float) -> bool:
    """Wait until `wanted` pictures are noted and `more` seconds have gone by; whether the child ended before."""
    while done(store) < wanted:
        if os.waitpid(child, os.WNOHANG) != (0, 0):
            return True
        time.sleep(0.001)
    time.sleep(more)
    return os.waitpid(child, os.WNOHANG) != (0, 0)


def main(folder: Path, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    make_pictures(folder / "pictures")
    assert os.waitpid(live(folder / "pictures", folder / "whole"), 0)[1] == 0
    store = folder / "killed"
    reached: list[int] = []
    while len(reached) < kills:
        child = live(folder / "pictures", store)
        if ended_before(child, store, chance.randint(0, COUNT // 2), chance.uniform(0, 0.1)):
            # It was quicker than its killer: from the beginning, so that every kill is one of unfinished work.
            for file in store.iterdir():
                file.unlink()
            continue
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        reached.append(done(store))
    assert os.waitpid(live(folder / "pictures", store), 0)[1] == 0
    sys.stdout.write(json.dumps({"reached": reached}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
