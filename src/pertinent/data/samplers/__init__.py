"""Batch samplers, one file each; the file's name is the name in a recipe."""

from pathlib import Path
from typing import Any

from pertinent.registry import Registry

SAMPLERS = Registry("sampler", __name__, Path(__file__).parent)


def __getattr__(name: str) -> Any:
    return SAMPLERS.lazy_attribute(name)


def __dir__() -> list[str]:
    return ["SAMPLERS", *SAMPLERS.objects]
