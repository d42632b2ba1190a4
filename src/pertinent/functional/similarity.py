"""Prepare vectors so that every similarity is a dot product, in tiles, from memory or from disk.

Letters: N vectors, Q queries, G items, D dim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pertinent.errors import InputError, UnknownNameError
from pertinent.functional.counting import exact_scores, normalise, squared_lengths

Floats = NDArray[np.floating[Any]]

CACHE_BYTES = 256 * 2**20
"""Items that take no more than this when prepared are prepared once; of others one tile at a time is in memory.

Twice as much where the queries are the items, for then memory saves half of the work.
"""


class Prepared(NamedTuple):
    """Vectors whose dot products are the scores, `(N, D')`, and their lengths `(N,)` float64."""

    vectors: Floats
    lengths: NDArray[np.float64]

    def cut(self, start: int, stop: int) -> Prepared:
        """The vectors `start..stop-1`, without a copy."""
        return Prepared(self.vectors[start:stop], self.lengths[start:stop])

    def checked(self, raw: Floats, name: str, ids: NDArray[np.int64] | None, first: int) -> Prepared:
        """Itself, where all of the vectors that it was prepared from are finite."""
        bad = np.flatnonzero(~np.isfinite(self.lengths))
        if not len(bad):
            return self
        row = int(bad[0])
        if np.isfinite(raw[row]).all():
            raise InputError("the vectors are so long that their scores overflow; scale them down")
        place = first + row if ids is None else int(ids[row])
        raise InputError(f"{name} row {place} holds NaN or infinity; the encoder or the input of that row is at fault")


def _as_is(x: Floats) -> Prepared:
    return _with_lengths(x)


def _unit(x: Floats) -> Prepared:
    unit = np.empty_like(x)
    return Prepared(unit, normalise(x, unit))


def _distance_query(x: Floats) -> Prepared:
    high, low = _two_parts(squared_lengths(x), x.dtype)
    ones = np.ones((len(x), 2), x.dtype)
    return _with_lengths(np.concatenate([2 * x, -ones, -high, -low], axis=1))


def _distance_item(x: Floats) -> Prepared:
    high, low = _two_parts(squared_lengths(x), x.dtype)
    return _with_lengths(np.concatenate([x, high, low, np.ones((len(x), 2), x.dtype)], axis=1))


def _two_parts(values: NDArray[np.float64], dtype: Any) -> tuple[Floats, Floats]:
    """Numbers as sums of two shorter ones, so that no digit of a squared length is lost."""
    with np.errstate(over="ignore", invalid="ignore"):
        high = values.astype(dtype)
        return high[:, None], (values - high).astype(dtype)[:, None]


def _with_lengths(x: Floats) -> Prepared:
    return Prepared(x, np.sqrt(squared_lengths(x)))


Prepare = Callable[[Floats], Prepared]

SIMILARITIES: dict[str, tuple[Prepare, Prepare]] = {
    "cosine": (_unit, _unit),
    "dot": (_as_is, _as_is),
    "euclidean": (_distance_query, _distance_item),
}
"""What is done to queries and to items before the dot product. Each is symmetric: s(a, b) = s(b, a)."""


class Scorer:
    """Queries and items, prepared so that a dot product is their score; higher is nearer.

    * cosine: a vector of zeros has score 0 with everything.
    * dot: as it is.
    * euclidean: minus the squared distance.

    The score of a pair is defined as `exact_scores` computes it: the dot product of the prepared vectors in float64.
    Vectors are prepared in float32, half precision is widened to it; whole numbers and float64 stay in float64.

    Args:
        queries: `(Q, D)` array, memory map or tensor on any device.
        items: `(G, D)`; None means the queries.
        similarity: "cosine", "dot" or "euclidean".

    Raises:
        UnknownNameError: unknown similarity.
        InputError: wrong shapes or types; NaN or infinite values, with the row of the first.
    """

    def __init__(self, queries: Any, items: Any = None, similarity: str = "cosine") -> None:
        if similarity not in SIMILARITIES:
            raise UnknownNameError("similarity", similarity, SIMILARITIES)
        self._prepare_query, self._prepare_item = SIMILARITIES[similarity]
        self.own_gallery = items is None
        self._queries = as_vectors(queries, "queries")
        self._items = self._queries if items is None else as_vectors(items, "gallery")
        check_dimensions(self._queries, self._items)
        wide = any(_is_wide(x) for x in (self._queries, self._items))
        self.dtype: type[np.float32] | type[np.float64] = np.float64 if wide else np.float32
        self._longest = 0.0
        self.cached = self._prepared_bytes() <= CACHE_BYTES * (2 if self.own_gallery else 1)
        self._item_name = "queries" if self.own_gallery else "gallery"
        self._ready_items = self._prepare(self._items, self._prepare_item, 0, self._item_name) if self.cached else None
        self._ready_queries: Prepared | None = None
        if self.cached and self.own_gallery:
            same = self._prepare_query is self._prepare_item
            self._ready_queries = (
                self._ready_items if same else self._prepare(self._queries, self._prepare_query, 0, "queries")
            )

    @property
    def n_queries(self) -> int:
        """Q."""
        return len(self._queries)

    @property
    def n_items(self) -> int:
        """G."""
        return len(self._items)

    @property
    def dim(self) -> int:
        """Length of a prepared vector."""
        return int(self._queries.shape[1]) + (4 if self._prepare_item is _distance_item else 0)

    @property
    def slack(self) -> float:
        """How far a dot product computed in any order may be from the exact one, times the product of the lengths."""
        unit = float(np.finfo(self.dtype).eps + np.finfo(np.float64).eps) / 2
        return 1.01 * (self.dim + 4) * unit

    def queries(self, start: int, stop: int) -> Prepared:
        """The queries `start..stop-1`."""
        if self._ready_queries is not None:
            return self._ready_queries.cut(start, stop)
        return self._prepare(self._queries[start:stop], self._prepare_query, start, "queries")

    def items(self, start: int, stop: int) -> Prepared:
        """The items `start..stop-1`."""
        if self._ready_items is not None:
            return self._ready_items.cut(start, stop)
        return self._prepare(self._items[start:stop], self._prepare_item, start, self._item_name)

    def tiles(self, size: int) -> Iterator[tuple[int, Prepared]]:
        """All items, `size` at a time, with the position of the first of each tile."""
        for first in range(0, self.n_items, size):
            yield first, self.items(first, min(first + size, self.n_items))

    def pair_scores(
        self, queries: Prepared, rows: NDArray[np.int64], ids: NDArray[np.int64], step: int = 16384
    ) -> NDArray[np.float64]:
        """Exact scores of single pairs, `(P,)`.

        Args:
            queries: prepared queries.
            rows: `(P,)` which of them.
            ids: `(P,)` positions of items.
            step: pairs at a time, where items are not in memory.
        """
        if self._ready_items is not None:
            return exact_scores(queries.vectors, self._ready_items.vectors, rows, ids)
        scores = np.empty(len(ids))
        order = np.argsort(ids, kind="stable")
        for start in range(0, len(ids), step):
            part = order[start : start + step]
            needed, place = np.unique(ids[part], return_inverse=True)
            items = self._prepare(self._items[needed], self._prepare_item, 0, self._item_name, needed)
            scores[part] = exact_scores(queries.vectors, items.vectors, rows[part], place)
        return scores

    def rows(self, start: int, stop: int, out: Floats | None = None) -> Floats:
        """Scores of the queries `start..stop-1` with all items by matrix products, `(B, G)`.

        Distances are computed in float64, since their terms cancel.

        Args:
            start: first query.
            stop: the one after the last.
            out: `(at least B, G)` memory to write into.
        """
        dtype = self.row_dtype
        queries = np.asarray(self.queries(start, stop).vectors, dtype)
        # A product with one row takes another path in BLAS, on which equal items can get unequal scores.
        rows = np.concatenate([queries, queries]) if len(queries) == 1 else queries
        scores = np.empty((len(rows), self.n_items), dtype) if out is None or len(out) < len(rows) else out
        for first, tile in self.tiles(tile_rows(self.dim, 16384)):
            items = np.asarray(tile.vectors, dtype)
            np.matmul(rows, items.T, out=scores[: len(rows), first : first + len(items)])
        return scores[: stop - start]

    @property
    def row_dtype(self) -> type[np.float32] | type[np.float64]:
        """Type of the scores that `rows` gives."""
        return np.float64 if self._prepare_item is _distance_item else self.dtype

    def _prepared_bytes(self) -> int:
        if self._prepare_item is _as_is and not isinstance(self._items, np.memmap) and self._items.dtype == self.dtype:
            return 0
        both = 2 if self.own_gallery and self._prepare_query is not self._prepare_item else 1
        return both * self.n_items * self.dim * int(np.dtype(self.dtype).itemsize)

    def _prepare(
        self, raw: NDArray[Any], prepare: Prepare, first: int, name: str, ids: NDArray[np.int64] | None = None
    ) -> Prepared:
        x = np.ascontiguousarray(widen(raw, self.dtype))
        prepared = prepare(x).checked(x, name, ids, first)
        self._longest = max(self._longest, float(prepared.lengths.max(initial=0.0)))
        if not self._longest * self._longest < float(np.finfo(self.dtype).max) / 4:
            raise InputError("the vectors are so long that their scores overflow; scale them down")
        return prepared


def cluster_vectors(x: Any, similarity: str) -> Floats:
    """Vectors among which Euclidean distances mean what the similarity means: of unit length, signs, or as they are."""
    raw = as_vectors(x, "queries")
    plain = widen(raw, np.float64 if _is_wide(raw) else np.float32)
    if similarity == "hamming":
        return np.sign(plain)
    return Scorer(plain, similarity="cosine").items(0, len(plain)).vectors if similarity == "cosine" else plain


def tile_rows(dim: int, most: int, budget: int = 32 * 2**20) -> int:
    """How many vectors make a tile of about 32 MiB, at most `most`."""
    return max(256, min(most, budget // (4 * dim)))


def as_vectors(x: Any, name: str) -> NDArray[Any]:
    """An array `(N, D)` of real numbers or bool, from an array, a memory map, a tensor or lists.

    Raises:
        InputError: another shape or type, or no vector.
    """
    if isinstance(x, torch.Tensor):
        x = x.detach()
        x = (x.float() if x.dtype in (torch.bfloat16, torch.float16) else x).cpu().numpy()
    array: NDArray[Any] = x if isinstance(x, np.ndarray) else np.asarray(x)
    if array.ndim != 2 or array.size == 0:
        raise InputError(f"{name} must be (N, D) with at least one vector, got shape {array.shape}")
    if array.dtype.kind not in "bif":
        hint = "; unpack packed codes to bool first" if array.dtype.kind == "u" else ""
        raise InputError(f"{name} must be real numbers or bool, got {array.dtype}{hint}")
    return array


def check_dimensions(queries: NDArray[Any], items: NDArray[Any]) -> None:
    """Raise InputError where queries and items have different lengths."""
    if queries.shape[1] != items.shape[1]:
        raise InputError(
            f"queries have {queries.shape[1]} dimensions and the gallery {items.shape[1]}; "
            "embed both with the same encoder"
        )


def widen(x: NDArray[Any], dtype: type[np.float32] | type[np.float64]) -> Floats:
    """Numbers in `dtype`; bool becomes -1 and 1."""
    if x.dtype.kind == "b":
        return np.where(x, 1, -1).astype(dtype)
    if x.dtype == np.float16:
        # Four times faster than numpy's own conversion. The copy is needed because a memory map may be read-only.
        return np.asarray(torch.from_numpy(np.array(x)).float().numpy(), dtype)
    return np.asarray(x, dtype)


def _is_wide(x: NDArray[Any]) -> bool:
    return x.dtype.kind == "i" or x.dtype.itemsize >= 8
