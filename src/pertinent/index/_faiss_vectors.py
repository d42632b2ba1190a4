"""Vectors in faiss: what the kinds of approximate index over them share.

Letters: N vectors, Q queries, K kept, D dim.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError, StorageError
from pertinent.index._coded import check_whole
from pertinent.index._faiss import FILE, load_faiss
from pertinent.index.exact import ExactIndex

Vectors = NDArray[np.float32]
Found = tuple[NDArray[np.float32], NDArray[np.int64]]

# k-means needs some dozens of vectors a centre; more of them teach little.
FEWEST, MOST = 39, 64
ROUNDS = 10


def over(vectors: Vectors) -> Any:
    """A flat index of faiss for another to own, which looks into an array that must outlive it."""
    faiss = load_faiss()
    flat = faiss.IndexFlat(vectors.shape[1], faiss.METRIC_INNER_PRODUCT)
    look_into(flat, vectors)
    flat.this.disown()
    return flat


def look_into(flat: Any, vectors: Vectors) -> None:
    """Let a flat index look into an array instead of having a copy of it."""
    faiss = load_faiss()
    if not hasattr(faiss, "MaybeOwnedVectorUInt8") or not vectors.flags.c_contiguous:
        # Versions before 1.11 have a copy.
        flat.reset()
        flat.add(np.ascontiguousarray(vectors))
        return
    view, address = faiss.MaybeOwnedVectorUInt8(), faiss.cast_integer_to_uint8_ptr(vectors.ctypes.data)
    view.is_owned = False
    view.view_data = view.c_ptr = address
    view.view_size = view.c_size = vectors.nbytes
    flat.codes, flat.ntotal = view, len(vectors)


def ordered(found: Found, queries: Vectors, vectors: Vectors, k: int, allowed: NDArray[np.bool_] | None) -> Found:
    """What faiss found, equal scores by position; a query that it found too little for goes exactly."""
    scores, positions = found
    lacking = np.flatnonzero((positions < 0).any(axis=1))
    if len(lacking):
        scores[lacking], positions[lacking] = ExactIndex(vectors, device="cpu").search(queries[lacking], k, allowed)
    order = np.lexsort((positions, -scores), axis=1)
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(positions, order, axis=1)


def selector(allowed: NDArray[np.bool_]) -> tuple[Any, NDArray[np.uint8]]:
    """What faiss takes for a filter, and the bits that must outlive it."""
    faiss, bits = load_faiss(), np.packbits(allowed, bitorder="little")
    return faiss.IDSelectorBitmap(len(allowed), faiss.swig_ptr(bits)), bits


def widened(effort: int, allowed: NDArray[np.bool_] | None, most: int) -> int:
    """Effort of a search in which only some items count: as much more as they are fewer."""
    if allowed is None:
        return min(effort, most)
    return min(math.ceil(effort * len(allowed) / max(1, int(np.count_nonzero(allowed)))), most)


def probe(index: Any, probes: int, queries: Vectors, k: int, allowed: NDArray[np.bool_] | None) -> Found:
    """What faiss finds in the cells nearest to each query: scores and positions, -1 where it finds too little."""
    faiss, k = load_faiss(), min(k, index.ntotal if allowed is None else int(np.count_nonzero(allowed)))
    if not k or not len(queries):
        return np.zeros((len(queries), k), np.float32), np.zeros((len(queries), k), np.int64)
    how = faiss.SearchParametersIVF(nprobe=widened(probes, allowed, index.nlist))
    if allowed is not None:
        how.sel, _bits = selector(allowed)
    return search(index, queries, k, how)


def search(index: Any, queries: Vectors, k: int, how: Any) -> Found:
    """What faiss finds with these parameters: scores and positions."""
    # pytorch-metric-learning has faiss's methods replaced by ones for tensors, which take no parameters.
    own = getattr(index, "search_numpy", index.search)
    found: Found = own(np.ascontiguousarray(queries), k, params=how)
    return found


def write(index: Any, folder: Path, flags: int = 0) -> None:
    """Write an index of faiss into a folder."""
    load_faiss().write_index(index, str(folder / FILE), flags)


def read(folder: Path, count: int, dim: int) -> Any:
    """Open what `write` wrote, by memory map; raises StorageError unless it holds so many vectors."""
    faiss, path = load_faiss(), folder / FILE
    try:
        # Versions before 1.11 map fewer parts of a file.
        index = faiss.read_index(str(path), getattr(faiss, "IO_FLAG_MMAP_IFC", faiss.IO_FLAG_MMAP))
    except RuntimeError as error:
        raise StorageError(f"{path} is damaged, faiss cannot read it; build the index again") from error
    if (index.ntotal, index.d) != (count, dim):
        raise StorageError(
            f"{path} is damaged: it holds {index.ntotal} vectors of {index.d} numbers, not {count} of {dim}; "
            "build the index again"
        )
    return index


def cells_of(cells: int | None, count: int) -> int:
    """Number of cells; about 4 sqrt(N) with dozens of vectors each when None. Raises InputError for too many."""
    if cells is None:
        return max(1, min(count // FEWEST, round(4 * math.sqrt(count))))
    check_whole("cells", cells, 1)
    if cells > count:
        raise InputError(f"cells must be at most the number of vectors, {count}, got {cells}")
    return cells


def centres(dim: int) -> Any:
    """An empty set of centres for an inverted file to own."""
    flat = load_faiss().IndexFlatIP(dim)
    flat.this.disown()
    return flat


def fill(index: Any, vectors: Vectors, least: int = 0) -> None:
    """Train an inverted file on a sample and add all vectors; the same every time."""
    index.own_fields = True
    index.cp.niter, index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = ROUNDS, 1, MOST
    rows = np.random.default_rng(0).permutation(len(vectors))[: max(MOST * index.nlist, least)]
    index.train(np.ascontiguousarray(vectors[np.sort(rows)]))
    index.add(np.ascontiguousarray(vectors))


def held(index: Any) -> int:
    """Bytes of an inverted file: codes, positions and centres."""
    return int(index.ntotal * (index.code_size + 8) + 4 * index.nlist * index.d)
