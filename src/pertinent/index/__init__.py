"""Nearest-neighbour indexes: `Index` over a store of embeddings, and one file for each kind of structure."""

from pathlib import Path
from typing import Any

from pertinent.registry import Registry

INDEXES = Registry("index kind", __name__, Path(__file__).parent)


def __getattr__(name: str) -> Any:
    if name in ("Index", "Hits"):
        from pertinent.index import _index

        return getattr(_index, name)
    return INDEXES.lazy_attribute(name)


def __dir__() -> list[str]:
    return ["INDEXES", "Hits", "Index", *INDEXES.objects]
