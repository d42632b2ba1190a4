"""Pertinent: train, evaluate, embed, index, search and serve image retrieval.

Names are imported when they are first used, so that `import pertinent` is instant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pertinent.engine.evaluate import Report as Report
    from pertinent.engine.evaluate import evaluate as evaluate
    from pertinent.index._index import Hits as Hits
    from pertinent.index._index import Index as Index
    from pertinent.models.encoder import Encoder as Encoder
    from pertinent.pipeline import Pipeline as Pipeline
    from pertinent.relevance import Relevance as Relevance
    from pertinent.store import EmbeddingStore as EmbeddingStore

__version__ = "0.1.0"

_HOMES = {
    "Relevance": "pertinent.relevance",
    "evaluate": "pertinent.engine.evaluate",
    "Report": "pertinent.engine.evaluate",
    "Encoder": "pertinent.models.encoder",
    "EmbeddingStore": "pertinent.store",
    "Pipeline": "pertinent.pipeline",
    "Index": "pertinent.index",
    "Hits": "pertinent.index",
}

__all__ = ["EmbeddingStore", "Encoder", "Hits", "Index", "Pipeline", "Relevance", "Report", "__version__", "evaluate"]


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'pertinent' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
