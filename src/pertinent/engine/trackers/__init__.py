"""Trackers of experiments, one file each; the file's name is the name in a recipe."""

from pathlib import Path

from pertinent.registry import Registry

TRACKERS = Registry("tracker", __name__, Path(__file__).parent)
