"""A `Pipeline` from words and the store that it learns from."""

from __future__ import annotations

from pathlib import Path

from pertinent.engine.measure import relevance_of
from pertinent.engine.one_space import check_encoders, check_one_space
from pertinent.errors import DataError, InputError
from pertinent.index._saved import is_index, read_facts
from pertinent.pipeline import Pipeline
from pertinent.relevance import Relevance
from pertinent.store import EmbeddingStore


def fitted_pipeline(words: str, store: EmbeddingStore, other: EmbeddingStore | None = None) -> Pipeline:
    """A pipeline that is ready to be used.

    Args:
        words: stages such as "pca_whiten(dims=512), alpha_qe(k=10)", which are fitted to the store; or a folder of an
            index or a saved pipeline, whose stages are taken with what they have learned.
        store: the collection, which stages learn from, with its labels where a stage wants them.
        other: learn from this one instead.

    Raises:
        ConfigError: words that cannot be read.
        UnknownNameError: no such stage.
        InputError: options out of range, vectors or labels that a stage cannot learn from, or an `other` that nothing
            learns from.
        DataError: an `other`, or an index, of another encoder or other views.
        StorageError: a folder that is damaged.
    """
    folders = [folder for folder in (Path(words), Path(words) / "pipeline") if (folder / "pipeline.json").is_file()]
    made = Pipeline.load(folders[0]) if folders else Pipeline.parse(words)
    check_one_space(store, [other])
    if folders and is_index(Path(words)):
        check_encoders(store, read_facts(Path(words))["encoder"], f"the stages of {words}")
    if not made.fitted:
        source = store if other is None else other
        return made.fit(source.items, _relevance(source))
    if other is not None:
        raise InputError(f"nothing in {made.words!r} is left to be learned from {other.folder}; leave that store out")
    return made


def _relevance(store: EmbeddingStore) -> Relevance | None:
    try:
        return relevance_of(store.labels, len(store))
    except DataError:
        return None
