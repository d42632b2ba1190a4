"""Connected components of a graph whose edges come in parts.

Letters: N nodes, P edges.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertinent.functional.jit import kernel


@kernel
def join(parents: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64]) -> None:
    """Join the two ends of each edge.

    Args:
        parents: `(N,)`, at first `arange(N)`; changed in place. The root of a component is its smallest node.
        first: `(P,)` one end of each edge.
        second: `(P,)` the other.
    """
    for edge in range(len(first)):
        one, other = _root(parents, first[edge]), _root(parents, second[edge])
        if one < other:
            parents[other] = one
        else:
            parents[one] = other


@kernel
def roots(parents: NDArray[np.int64]) -> NDArray[np.int64]:
    """The smallest node of each node's component, `(N,)`."""
    found = np.empty_like(parents)
    for node in range(len(parents)):
        found[node] = _root(parents, node)
    return found


@kernel
def _root(parents: NDArray[np.int64], node: int) -> int:
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node
