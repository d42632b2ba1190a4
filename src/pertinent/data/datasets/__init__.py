"""Data set readers, one file each; the file's name is the name in a recipe."""

from pathlib import Path
from typing import Any

from pertinent.registry import Registry

DATASETS = Registry("data set", __name__, Path(__file__).parent)


def __getattr__(name: str) -> Any:
    return DATASETS.lazy_attribute(name)


def __dir__() -> list[str]:
    return ["DATASETS", *DATASETS.objects]
