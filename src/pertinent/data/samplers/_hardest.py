"""What a network finds hardest, looked for in a pool of embeddings of norm 1.

Letters: Q queries, P images of the pool, D dim, K hardest triplets.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pertinent.data.samplers._classes import Integers

Floats = NDArray[np.float32]

# Most scores of queries against a pool that are in memory at once.
BLOCK = 2**24


def unit(vectors: Floats) -> Floats:
    """Rows scaled to norm 1; a row of zeros stays."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Floats = vectors / np.maximum(norms, np.finfo(np.float32).tiny)
    return scaled


def hardest_negatives(queries: Floats, classes: Integers, pool: Floats, pool_classes: Integers, count: int) -> Integers:
    """Of each query the `count` best-ranked of a pool whose classes differ from the query's and from each other.

    Args:
        queries: `(Q, D)`.
        classes: `(Q,)` their classes.
        pool: `(P, D)`, of more than `count` classes.
        pool_classes: `(P,)` their classes.
        count: negatives a query.

    Returns:
        `(Q, count)` positions in the pool, the most similar first; of equal ones the first.
    """
    found = np.empty((len(queries), count), np.int64)
    for part in _blocks(len(queries), len(pool)):
        scores = queries[part] @ pool.T
        scores[classes[part, None] == pool_classes] = -np.inf
        for nth in range(count):
            best = scores.argmax(1)
            found[part, nth] = best
            scores[pool_classes[best][:, None] == pool_classes] = -np.inf
    return found


def hard_triplets(
    pool: Floats, classes: Integers, queries: Integers, count: int, rng: np.random.Generator
) -> tuple[Integers, Integers]:
    """For each query a positive and a negative of the pool: one of its K triplets of largest loss, at random.

    The loss of a triplet grows with |q - p|^2 - |q - n|^2, whatever its margin.

    Args:
        pool: `(P, D)`.
        classes: `(P,)` their classes.
        queries: `(Q,)` positions in the pool of images that have a mate and a stranger there.
        count: K; a query with fewer triplets draws from those.
        rng: decides which.

    Returns:
        Positions in the pool of positives and of negatives, `(Q,)` each.
    """
    near, far = np.empty_like(queries), np.empty_like(queries)
    each = min(count, len(pool))
    for part in _blocks(len(queries), max(len(pool), each * each)):
        asked = queries[part]
        rows = np.arange(len(asked))[:, None]
        scores, same = pool[asked] @ pool.T, classes[asked][:, None] == classes
        positive, negative = np.where(same, -scores, -np.inf), np.where(same, -np.inf, scores)
        positive[rows[:, 0], asked] = -np.inf
        alike, strange = _largest(positive, each), _largest(negative, each)
        # Of the K hardest triplets none has a positive or a negative beyond the K hardest of its kind.
        losses = (positive[rows, alike][:, :, None] + negative[rows, strange][:, None, :]).reshape(len(asked), -1)
        hardest = _largest(losses, min(count, each * each))
        drawn = np.where(np.isfinite(losses[rows, hardest]), rng.random(hardest.shape), -1).argmax(1)
        pick = hardest[rows[:, 0], drawn]
        near[part], far[part] = alike[rows[:, 0], pick // each], strange[rows[:, 0], pick % each]
    return near, far


def _largest(values: NDArray[np.float32], count: int) -> Integers:
    """Columns of the `count` largest values of each row, in no order."""
    return np.argpartition(-values, count - 1, axis=1)[:, :count]


def _blocks(queries: int, width: int) -> Iterator[slice]:
    step = max(1, BLOCK // width)
    for start in range(0, queries, step):
        yield slice(start, start + step)
