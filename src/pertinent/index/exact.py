"""Exact search: every query against every vector, block by block, best k kept."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pertinent.errors import InputError
from pertinent.functional.neighbours import blocks, in_order, top_k

__all__ = ["ExactIndex"]

# 64 MB of float32 vectors of 256 numbers: large enough for a fast product, small enough for any machine.
BLOCK = 65536
# Scores of so many queries with a block are held at once: 64 MB.
ROWS = 256
DEVICES = ("auto", "cpu", "cuda")
# Vectors stay on a GPU where they fill no more of what is free there.
SHARE = 0.5


class ExactIndex:
    """Exact nearest neighbours by blocks of a matrix product; finds every true neighbour, costs time linear in N.

    Args:
        vectors: `(N, D)` float32, may be memory-mapped; read in place.
        device: cpu, cuda, or auto: a GPU where there is one. Vectors stay on it where there is room, and are sent block
            by block where there is not. There the products are those of float32, as on a CPU.

    Raises:
        InputError: another device, or cuda where there is none.
    """

    filters = True

    def __init__(self, vectors: NDArray[np.float32], *, device: str = "auto") -> None:
        if device not in DEVICES:
            raise InputError(f"device must be one of {', '.join(DEVICES)}; got {device!r}")
        if device == "cuda" and not torch.cuda.is_available():
            raise InputError("device=cuda, but torch sees no GPU; use device=auto or cpu")
        self.vectors, self.device = vectors, device
        self._where = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
        self._held: Tensor | None = None
        if self._where.type == "cuda" and len(vectors) and vectors.nbytes < SHARE * torch.cuda.mem_get_info()[0]:
            self._held = as_tensor(vectors).to(self._where)

    def search(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The k items of the largest dot product with each query, best first; equal scores by position.

        Args:
            queries: `(Q, D)` float32.
            k: how many; at most as many as are allowed come back.
            allowed: `(N,)` the items that may be found; all, when None.

        Returns:
            scores `(Q, k)` float32 and positions `(Q, k)` int64.
        """
        query = as_tensor(np.ascontiguousarray(queries, dtype=np.float32)).to(self._where)
        k = min(k, len(self.vectors) if allowed is None else int(np.count_nonzero(allowed)))
        scores = torch.empty(len(query), 0, device=self._where)
        places = torch.empty(len(query), 0, dtype=torch.int64, device=self._where)
        if not len(query) or not k:
            return np.zeros((len(query), k), np.float32), np.zeros((len(query), k), np.int64)
        for rows in blocks(len(self.vectors), BLOCK):
            hidden = None if allowed is None else torch.from_numpy(~allowed[rows]).to(self._where)
            if hidden is not None and bool(hidden.all()):
                continue
            block = self._block(rows)
            found = [_best(query[some], block, hidden, k) for some in blocks(len(query), ROWS)]
            values, columns = (torch.cat(parts) for parts in zip(*found, strict=True))
            scores, places = torch.cat([scores, values], dim=1), torch.cat([places, columns + rows.start], dim=1)
            scores, places = in_order(scores, places, k)
        return scores.cpu().numpy(), places.cpu().numpy()

    def _block(self, rows: slice) -> Tensor:
        return as_tensor(self.vectors[rows]).to(self._where) if self._held is None else self._held[rows]

    def state(self) -> dict[str, Any]:
        """The options."""
        return {"device": self.device}


def as_tensor(array: NDArray[np.float32]) -> Tensor:
    """A tensor that looks into an array, also into one that must not be written, which torch warns of: nobody does."""
    if not array.flags.c_contiguous or array.dtype != np.float32 or not array.size:
        return torch.from_numpy(np.array(array, np.float32))
    memory: Any = (ctypes.c_char * array.nbytes).from_address(array.ctypes.data)
    memory.owner = array  # kept as long as the tensor is
    return torch.from_numpy(np.frombuffer(memory, np.float32).reshape(array.shape))


def _best(queries: Tensor, block: Tensor, hidden: Tensor | None, k: int) -> tuple[Tensor, Tensor]:
    product = queries @ block.T
    if hidden is not None:
        product[:, hidden] = -torch.inf
    return top_k(product, min(k, product.shape[1]))
