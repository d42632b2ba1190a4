"""Whether vectors of two stores may be compared: those of two encoders, or of two ways to look at pictures, may not."""

from __future__ import annotations

import json
from collections.abc import Iterable

from pertinent.errors import DataError
from pertinent.store import EmbeddingStore


def check_one_space(store: EmbeddingStore, others: Iterable[EmbeddingStore | None]) -> None:
    """Refuse stores that another encoder made, or the same one from other views of the pictures.

    Nothing else tells such vectors apart: they have the same length, and scores between them look like scores. A store
    written from arrays knows of no encoder, and passes.

    Args:
        store: whose vectors are compared with
        others: those of these; None is passed over.

    Raises:
        DataError: both encoders are known and differ, or the views do.
    """
    for other in others:
        if other is None or store.encoder is None or other.encoder is None:
            continue
        if _views(store) != _views(other):
            raise DataError(
                f"{store.folder} looked at pictures {_views(store)}, {other.folder} {_views(other)}: their vectors "
                f"cannot be compared; embed one of them again, with the options of the other"
            )
        check_encoders(store, other.encoder, f"vectors of {other.folder}")


def check_encoders(store: EmbeddingStore, encoder: str | None, what: str) -> None:
    """Refuse a store where its encoder is known and is not the one that made something else, if that one is known.

    Raises:
        DataError: two encoders.
    """
    if None not in (store.encoder, encoder) and store.encoder != encoder:
        one, other = str(store.encoder)[:12], str(encoder)[:12]
        raise DataError(
            f"{what} were made by another encoder ({other}) than {store.folder} ({one}): they do not belong together; "
            f"embed both with one encoder"
        )


def _views(store: EmbeddingStore) -> str:
    views = store.manifest.get("views")
    return "once" if views is None else f"as {json.dumps(views, sort_keys=True)}"
