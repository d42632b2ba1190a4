"""Readers of other people's checkpoints: one file an origin, the file's name is the origin's."""

from pathlib import Path

from pertinent.registry import Registry

IMPORTS = Registry("origin", __name__, Path(__file__).parent)
