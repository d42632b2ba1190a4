"""Nearest-neighbour indexes: `Index` over a store of embeddings, and one file for each kind of structure."""

import importlib
from pathlib import Path
from typing import Any

from pertinent.registry import Registry

_HOMES = {"Hits": "_index", "Index": "_index", "Item": "_base", "Where": "_where"}
INDEXES = Registry("index kind", __name__, Path(__file__).parent)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return INDEXES.lazy_attribute(name)


def __dir__() -> list[str]:
    return ["INDEXES", *_HOMES, *INDEXES.objects]
