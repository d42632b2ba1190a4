"""Stages of post-processing, one file each; a `Pipeline` runs them in order."""

from pathlib import Path
from typing import Any

from pertinent.registry import Registry

STAGES = Registry("stage", __name__, Path(__file__).parent)


def __getattr__(name: str) -> Any:
    return STAGES.lazy_attribute(name)


def __dir__() -> list[str]:
    return ["STAGES", *STAGES.objects]
