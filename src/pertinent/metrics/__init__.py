"""Metrics, one file each; a file's name is a metric's word, its conventions list the full spellings."""

from pathlib import Path
from typing import Any

from pertinent.registry import Registry

METRICS = Registry("metric", __name__, Path(__file__).parent)


def __getattr__(name: str) -> Any:
    return METRICS.lazy_attribute(name)


def __dir__() -> list[str]:
    return ["METRICS", *METRICS.objects]
