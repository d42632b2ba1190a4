"""Queries made better by what was right and wrong among their hits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError
from pertinent.functional.neighbours import unit_rows

Vectors = NDArray[np.float32]


def rocchio(
    query: Vectors | None,
    relevant: Vectors,
    irrelevant: Vectors,
    weights: Sequence[float],
) -> Vectors:
    """The query moved towards the mean of what is relevant and away from the mean of what is not.

    Source: Rocchio 1971, with vectors at length 1.

    Args:
        query: `(D,)`, or None to begin from nothing.
        relevant: `(R, D)`, may be empty.
        irrelevant: `(I, D)`, may be empty.
        weights: alpha of the query, beta of the relevant, gamma of the irrelevant.

    Returns:
        `(1, D)` of length 1.

    Raises:
        InputError: nothing is left, so that there is no direction to search in.
    """
    alpha, beta, gamma = weights
    moved = np.zeros(relevant.shape[1])
    if query is not None:
        moved += alpha * unit_rows(query[None])[0]
    for weight, vectors in ((beta, relevant), (-gamma, irrelevant)):
        if len(vectors):
            moved += weight * unit_rows(vectors).mean(axis=0)
    if not np.linalg.norm(moved) > 1e-9:
        raise InputError("query, relevant and irrelevant items cancel each other out; choose others or other weights")
    refined: Vectors = unit_rows(moved[None]).astype(np.float32)
    return refined
