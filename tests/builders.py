"""Small pictures, recipes and tables that several tests train on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from pertinent.engine.events import Listener, silent
from pertinent.engine.recipe import Recipe, load_recipe
from pertinent.engine.run import Run
from pertinent.engine.train import train

SIDE = 24
# Six kinds in two groups; pictures of a kind have its colour, kinds of a group are alike.
COLOURS = {
    "warm": {"red": (220, 40, 40), "orange": (220, 120, 30), "yellow": (220, 200, 30)},
    "cold": {"blue": (40, 40, 220), "violet": (120, 40, 220), "cyan": (30, 180, 220)},
}


def write_pictures(root: Path, splits: tuple[str, ...] = ("train", "val", "test")) -> Path:
    """Folders of noisy coloured squares, split / group / kind / number.png: 24 to train, else 12; returns `root`."""
    rng = np.random.default_rng(0)
    for split in splits:
        each = 4 if split == "train" else 2
        for group, kinds in COLOURS.items():
            for kind, colour in kinds.items():
                folder = root / split / group / kind
                folder.mkdir(parents=True)
                for number in range(each):
                    light = rng.normal(colour, 60)  # hides the colour well enough for training to have something to do
                    pixels = np.clip(rng.normal(light, 60, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
                    Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


def recipe_values(root: Path) -> dict[str, Any]:
    """HAPPIER on such a folder, seconds long: 24 pictures, 3 steps an epoch, 2 epochs."""
    return {
        "description": "small",
        "data": {"name": "folder", "root": str(root), "train": "train", "test": "test"},
        "model": {
            "backbone": "test_resnet",
            # Random in training, so that a run depends on torch's generator as well.
            "backbone_options": {"drop_path_rate": 0.3},
            "dim": 8,
            "layer_norm": "before",
        },
        "preprocess": {"resize": None, "crop": SIDE, "mean": [0.5] * 3, "std": [0.25] * 3},
        "sampler": {"name": "m_per_class", "batch_size": 8, "per_class": 2},
        "losses": {"hap": {"weight": 0.9}, "cluster": {"weight": 0.1}},
        "optim": {"name": "adam", "lr": 1e-3},
        "train": {"epochs": 2, "device": "cpu"},
        "evaluate": {"metrics": ["hap", "r@1"], "batch_size": 8},
    }


def write_recipe(path: Path, root: Path) -> Path:
    """The recipe as a YAML file."""
    path.write_text(yaml.safe_dump(recipe_values(root), sort_keys=False))
    return path


class Listening(list[dict[str, Any]]):
    """A listener that keeps every event, and may do something at one of them."""

    def __init__(self, act: Listener = silent) -> None:
        super().__init__()
        self.act = act

    def __call__(self, event: dict[str, Any]) -> None:
        self.append(event)
        self.act(event)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Events of one kind."""
        return [event for event in self if event["event"] == kind]


def run_recipe(file: Path, folder: Path, *words: str, resume: bool = False, listener: Listener = silent) -> Run:
    """Train by a recipe file with words."""
    return train(recipe_of(file, *words), folder, resume=resume, listener=listener)


def recipe_of(file: Path, *words: str) -> Recipe:
    """Load a recipe file with words."""
    return load_recipe(file, list(words))


def folder_with(path: Path, text: str = "whole") -> Path:
    """A folder that holds one file."""
    path.mkdir(parents=True)
    (path / "state.json").write_text(text)
    return path
