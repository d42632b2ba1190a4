"""faiss for the kinds of index that use it: loaded when needed, files opened by memory map, results in order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pertinent.errors import MissingDependencyError, StorageError
from pertinent.functional.hamming_search import nearest_codes
from pertinent.functional.packed import PackedCodes

FILE = "index.faiss"
POSITION_BITS = 40

CodesFound = tuple[NDArray[np.int32], NDArray[np.int64]]


def load_faiss() -> Any:
    """The library, bound to as many threads as torch.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingDependencyError("approximate indexes need faiss: pip install faiss-cpu") from error
    faiss.omp_set_num_threads(torch.get_num_threads())
    return faiss


def write_binary(index: Any, folder: Path) -> None:
    """Write a binary index of faiss into a folder."""
    load_faiss().write_index_binary(index, str(folder / FILE))


def read_binary(folder: Path, count: int) -> Any:
    """Open what `write_binary` wrote, by memory map; raises StorageError unless it holds `count` codes."""
    faiss, path = load_faiss(), folder / FILE
    try:
        # Versions before 1.11 map fewer parts of a file.
        index = faiss.read_index_binary(str(path), getattr(faiss, "IO_FLAG_MMAP_IFC", faiss.IO_FLAG_MMAP))
    except RuntimeError as error:
        raise StorageError(f"{path} is damaged, faiss cannot read it; build the index again") from error
    if index.ntotal != count:
        raise StorageError(f"{path} is damaged: it holds {index.ntotal} codes of {count}; build the index again")
    return index


def search_binary(
    search: Callable[..., CodesFound], queries: NDArray[np.uint8], k: int, items: Callable[[], PackedCodes]
) -> CodesFound:
    """What faiss finds, nearest first, equal distances by position; a query that it finds too little for goes exactly.

    Args:
        search: of a faiss index.
        queries: `(Q, B)` packed codes.
        k: at most N.
        items: the codes that are searched.

    Returns:
        distances in bits and positions, `(Q, k)` each.
    """
    if not len(queries):
        return np.zeros((0, k), np.int32), np.zeros((0, k), np.int64)
    distances, positions = search(np.ascontiguousarray(queries), k)
    lacking = np.flatnonzero((positions < 0).any(axis=1))
    if len(lacking):
        packed = items()
        exact = nearest_codes(PackedCodes.of(queries[lacking], packed.bits), packed, k)
        distances[lacking], positions[lacking] = exact
    # One number a hit, so that one fast sort orders by both.
    keys = np.sort(distances.astype(np.int64) << POSITION_BITS | positions, axis=1)
    return (keys >> POSITION_BITS).astype(np.int32), keys & ((1 << POSITION_BITS) - 1)
