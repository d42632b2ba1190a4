"""Check labels that a user hands over and bring them to one form."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pertinent.errors import InputError

Labels: TypeAlias = ArrayLike | torch.Tensor


def as_integers(values: Labels, name: str) -> NDArray[np.int64]:
    """Whole numbers as int64, any shape.

    Raises:
        InputError: anything else, or numbers that int64 cannot hold.
    """
    array = _array(values)
    if array.size == 0:
        return array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise InputError(
            f"{name} must be whole numbers, got {array.dtype}; "
            "number your classes with numpy.unique(labels, return_inverse=True)[1]"
        )
    if array.dtype == np.uint64 and array.max() > np.iinfo(np.int64).max:
        raise InputError(f"{name} holds {array.max()}, which int64 cannot; number your classes anew")
    return array.astype(np.int64)


def as_columns(labels: Labels, name: str, most_dimensions: int) -> NDArray[np.int64]:
    """`(N,)` or `(N, L)` labels as `(N, L)` int64."""
    array = as_integers(labels, name)
    if array.ndim == 0 or array.ndim > most_dimensions:
        wanted = "(N,)" if most_dimensions == 1 else "(N,) or (N, L)"
        hint = (
            "; labels with one column a level make Relevance.tree" if most_dimensions == 1 and array.ndim == 2 else ""
        )
        raise InputError(f"{name} must be {wanted}, got shape {array.shape}{hint}")
    array = array[:, None] if array.ndim == 1 else array
    if array.shape[1] == 0:
        raise InputError(f"{name} has no column")
    return array


def as_tags(values: Labels, name: str) -> NDArray[np.bool_]:
    """`(N, C)` of 0/1 as bool."""
    array = _array(values)
    if array.ndim != 2:
        raise InputError(f"{name} must be (N, C), one column a tag, got shape {array.shape}")
    if array.dtype.kind not in "biuf" or (array.dtype != np.bool_ and not bool(((array == 0) | (array == 1)).all())):
        raise InputError(f"{name} must be bool or hold only 0 and 1")
    return array.astype(np.bool_)


def as_positions(values: Labels | None, n_queries: int, n_items: int | None) -> NDArray[np.int64]:
    """Place of each query among the items, -1 where it has none.

    Args:
        values: `(Q,)`, or None for no query having a place.
        n_queries: Q.
        n_items: G, or None where any place is allowed.
    """
    if values is None:
        return np.full(n_queries, -1, np.int64)
    places = as_integers(values, "query_positions")
    if places.shape != (n_queries,):
        raise InputError(f"query_positions must be ({n_queries},), one a query, got shape {places.shape}")
    if places.size and (places.min() < -1 or (n_items is not None and places.max() >= n_items)):
        raise InputError(f"query_positions must lie in -1..{n_items if n_items is None else n_items - 1}")
    return places


def _array(values: Labels) -> NDArray[np.generic]:
    array: NDArray[np.generic] = (
        values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    )
    return array
