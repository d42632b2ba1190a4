"""Re-ranking: order the top of a ranking anew by how its items are neighbours of each other.

Each query is seen by itself with its n candidates, so results do not depend on which other queries are asked, and
memory is O(n^2).

Letters: n candidates, D dim.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.functional.neighbours import unit_rows

Doubles = NDArray[np.float64]


def k_reciprocal_scores(
    query: NDArray[Any], candidates: NDArray[Any], k1: int = 20, k2: int = 6, weight: float = 0.3
) -> Doubles:
    """One minus the distance of k-reciprocal encoding (Zhong et al., CVPR 2017).

    Items are alike that are alike to the same items: the distance joins the Jaccard distance of the sets of expanded
    k-reciprocal neighbours with the squared Euclidean distance between vectors of length 1, divided by its largest as
    in the authors' code. Neighbours are looked for among the query and its candidates.

    Args:
        query: `(D,)`.
        candidates: `(n, D)`, nearest first; that order decides between equal distances.
        k1: reciprocal neighbours looked for.
        k2: neighbours over which the encodings are averaged; 1 leaves them.
        weight: share of the original distance, 0 to 1 (lambda).

    Returns:
        `(n,)`, 0 to 1, higher is nearer.
    """
    x = np.asarray(unit_rows(np.concatenate([query[None], candidates])), np.float64)
    distances = np.maximum(0.0, 2 - 2 * (x @ x.T))
    np.fill_diagonal(distances, 0.0)
    largest = distances.max(axis=1, keepdims=True)
    distances /= np.where(largest > 0, largest, 1)
    order = _neighbours_of(distances)
    members = _expanded_sets(order, k1)
    encoding = np.where(members, np.exp(-distances), 0.0)
    encoding /= encoding.sum(axis=1, keepdims=True)
    near = _first(order, k2).astype(np.float64)
    encoding = near @ encoding / near.sum(axis=1, keepdims=True)
    shared = np.minimum(encoding[0], encoding[1:]).sum(axis=1)
    jaccard = 1 - shared / (2 - shared)
    scores: Doubles = 1 - ((1 - weight) * jaccard + weight * distances[0, 1:])
    return scores


def diffusion_scores(
    query: NDArray[Any],
    candidates: NDArray[Any],
    *,
    k: int = 50,
    k_query: int = 10,
    alpha: float = 0.99,
    gamma: float = 3.0,
) -> Doubles:
    """Diffusion over the graph of mutual neighbours (Iscen et al., CVPR 2017), solved exactly.

    f = (1 - alpha) (I - alpha S)^-1 y, where y holds the query's affinities and S = D^-1/2 A D^-1/2 those between
    candidates that are among each other's k nearest; an affinity is max(cosine, 0)^gamma.

    Args:
        query: `(D,)`.
        candidates: `(n, D)`, nearest first.
        k: neighbours of each candidate in the graph.
        k_query: candidates that the query is tied to.
        alpha: how far the walk goes before it starts again, 0 to below 1.
        gamma: power of the affinities.

    Returns:
        `(n,)`, at least 0, higher is nearer; 0 for what cannot be reached.
    """
    x, q = (np.asarray(unit_rows(part), np.float64) for part in (candidates, query[None]))
    affinities = np.maximum(x @ x.T, 0.0) ** gamma
    np.fill_diagonal(affinities, 0.0)
    near = _first(np.argsort(-affinities, axis=1, kind="stable"), k)
    affinities *= near & near.T
    degrees = affinities.sum(axis=1)
    roots = np.sqrt(np.divide(1.0, degrees, out=np.zeros_like(degrees), where=degrees > 0))
    start = np.maximum(x @ q[0], 0.0) ** gamma
    start[np.argsort(-start, kind="stable")[k_query:]] = 0.0
    system = np.eye(len(x)) - alpha * roots[:, None] * affinities * roots
    return np.maximum((1 - alpha) * np.linalg.solve(system, start), 0.0)


def _neighbours_of(distances: Doubles) -> NDArray[np.int64]:
    """Each row's columns from the nearest on; a row itself is its own first, also among others at distance 0."""
    ranked = distances.copy()
    np.fill_diagonal(ranked, -1.0)
    return np.argsort(ranked, axis=1, kind="stable")


def _expanded_sets(order: NDArray[np.int64], k1: int) -> NDArray[np.bool_]:
    """Each row's k-reciprocal set, joined by its members' sets of half the depth that share over 2/3 with it."""
    near, half = _first(order, k1 + 1), _first(order, round(k1 / 2) + 1)
    reciprocal, small = near & near.T, (half & half.T).astype(np.float32)
    shared = reciprocal.astype(np.float32) @ small.T
    joined = reciprocal & (3 * shared > 2 * small.sum(axis=1))
    members: NDArray[np.bool_] = reciprocal | (joined.astype(np.float32) @ small > 0)
    return members


def _first(order: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    """Which columns are among the first k of each row."""
    among = np.zeros(order.shape, np.bool_)
    np.put_along_axis(among, order[:, :k], True, axis=1)
    return among
