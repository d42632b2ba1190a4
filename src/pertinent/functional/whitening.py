"""Whitening: an affine map after which vectors are compared better, learned without labels (PCA) or with pairs (Lw).

Everything is computed in float64 and in blocks of rows; nothing larger than D x D is kept beside the vectors.

Letters: N vectors, D dim, K kept dimensions, P pairs.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError
from pertinent.functional.neighbours import blocks, unit_rows

Doubles = NDArray[np.float64]

ROWS = 8192
"""Vectors in memory at a time: 128 MiB of 2048 float64 numbers."""


class Rows(Protocol):
    """Vectors `(N, D)` that are read by rows: an array, a memory map, or a view that computes them."""

    @property
    def shape(self) -> tuple[int, ...]:
        """N and D."""

    def __getitem__(self, rows: Any, /) -> NDArray[Any]:
        """Some rows, by a slice or by positions."""


class Moments(NamedTuple):
    """How many vectors there are, their mean `(D,)`, and the sum of products of deviations from it `(D, D)`."""

    n_vectors: int
    mean: Doubles
    scatter: Doubles


class PrincipalComponents(NamedTuple):
    """Mean `(D,)`, orthonormal directions `(K, D)` of falling variance, and the variances `(K,)` over N - 1."""

    mean: Doubles
    directions: Doubles
    variances: Doubles


class Whitening(NamedTuple):
    """The map x -> projection (x - mean); mean `(D,)`, projection `(K, D)`."""

    mean: Doubles
    projection: Doubles


def moments(vectors: Rows) -> Moments:
    """Count, mean and scatter of `(N, D)` vectors in one pass; blocks are merged as by Chan, Golub and LeVeque (1983).

    Raises:
        InputError: not a matrix, or vectors that are not finite.
    """
    if len(vectors.shape) != 2:
        raise InputError(f"vectors must be (N, D), got shape {vectors.shape}")
    count, (n_rows, dim) = 0, vectors.shape
    mean, scatter = np.zeros(dim), np.zeros((dim, dim))
    for rows in blocks(n_rows, ROWS):
        block = np.asarray(vectors[rows], np.float64)
        if not np.isfinite(block).all():
            raise InputError("vectors to learn a whitening from must be finite; embed again")
        total = count + len(block)
        centre = block.mean(axis=0)
        shift = centre - mean
        block = block - centre
        scatter += block.T @ block + np.outer(shift, shift) * (count * len(block) / total)
        mean += shift * (len(block) / total)
        count = total
    if not np.isfinite(scatter).all():
        raise InputError("the vectors are too long to learn a whitening from; scale them down")
    return Moments(count, mean, scatter)


def principal_components(vectors: Rows) -> PrincipalComponents:
    """Principal components of `(N, D)` vectors; K is the number of directions in which they vary at all.

    The sign of a direction, which has no meaning, is chosen so that its largest entry is positive.

    Raises:
        InputError: fewer than two different vectors, or values that are not finite.
    """
    count, mean, scatter = moments(vectors)
    values, columns = np.linalg.eigh(scatter)
    values, directions = values[::-1], columns.T[::-1]
    floor = max(float(values[0]) if len(values) else 0.0, 0.0) * max(scatter.shape) * np.finfo(np.float64).eps
    kept = int((values > floor).sum())
    if count < 2 or not kept:
        raise InputError(f"whitening learns from at least two different vectors, got {count}, all alike")
    largest = np.abs(directions).argmax(axis=1)
    signs = np.where(directions[np.arange(len(directions)), largest] < 0, -1.0, 1.0)
    return PrincipalComponents(mean, (directions * signs[:, None])[:kept], values[:kept] / (count - 1))


def pca_whitening(
    components: PrincipalComponents, p: float = 0.5, dims: int | None = None, m: float = 1.0
) -> Whitening:
    """Project on the first directions and divide each by m * variance^p (Jegou and Chum, ECCV 2012).

    Args:
        components: as `principal_components` gives them, or of a published model.
        p: 0 leaves the spectrum as it is, 0.5 gives every direction variance 1, 0.25 is half-way (whitenp).
        dims: how many directions are kept (whitenv); None keeps all.
        m: a further divisor (whitenm); it does not change a direction, so nothing after normalisation.

    Raises:
        InputError: more dimensions than there are.
    """
    kept = _kept(dims, len(components.variances))
    scale = m * components.variances[:kept] ** p
    return Whitening(components.mean, components.directions[:kept] / scale[:, None])


def lw_whitening(
    vectors: Rows, queries: NDArray[np.int64], positives: NDArray[np.int64], dims: int | None = None
) -> Whitening:
    """Learn from matching pairs: directions in which matching vectors differ shrink, then PCA (Radenovic, TPAMI 2018).

    With S the mean of (x - y)(x - y)^T over pairs and L its Cholesky factor, the projection is V^T L^-1, where V holds
    the eigenvectors of the scatter of L^-1 (x - mean of the queries), largest first.

    Args:
        vectors: `(N, D)`.
        queries: `(P,)` positions of the first of each pair.
        positives: `(P,)` positions of the second.
        dims: K; None keeps all.

    Raises:
        InputError: no pair, pairs that do not differ, more dimensions than there are, or values that are not finite.
    """
    if len(queries) != len(positives) or not len(queries):
        raise InputError(f"Lw whitening learns from pairs, got {len(queries)} queries and {len(positives)} positives")
    n_vectors, centre, scatter = moments(vectors)
    dim = len(centre)
    mean, differences = np.zeros(dim), np.zeros((dim, dim))
    for rows in blocks(len(queries), ROWS):
        block = np.asarray(vectors[queries[rows]], np.float64)
        mean += block.sum(axis=0) / len(queries)
        block = block - np.asarray(vectors[positives[rows]], np.float64)
        differences += block.T @ block / len(queries)
    if not differences.any():
        raise InputError("the vectors of matching pairs are equal, so there is nothing to learn a whitening from")
    scatter = scatter + n_vectors * np.outer(centre - mean, centre - mean)
    inverse = np.linalg.inv(_cholesky(differences))
    spread = inverse @ scatter @ inverse.T
    rotation = np.linalg.eigh((spread + spread.T) / 2)[1][:, ::-1]
    return Whitening(mean, (rotation.T @ inverse)[: _kept(dims, dim)])


def whiten(vectors: NDArray[Any], whitening: Whitening, normalise: bool = True) -> Doubles:
    """Apply a whitening to `(N, D)` vectors, in float64; with `normalise` results get length 1, a zero stays zero.

    Raises:
        InputError: vectors of another length than those it was learned from.
    """
    if vectors.ndim != 2 or vectors.shape[1] != len(whitening.mean):
        raise InputError(f"the whitening takes vectors of {len(whitening.mean)} numbers, got shape {vectors.shape}")
    mapped: Doubles = (np.asarray(vectors, np.float64) - whitening.mean) @ whitening.projection.T
    return unit_rows(mapped).astype(np.float64, copy=False) if normalise else mapped


def _kept(dims: int | None, there: int) -> int:
    if dims is not None and not 1 <= dims <= there:
        raise InputError(f"dims must be 1 to {there}, the number of directions in which the vectors vary; got {dims}")
    return there if dims is None else dims


def _cholesky(matrix: Doubles) -> Doubles:
    """Lower factor, with a ridge that grows tenfold from 1e-10 until there is one."""
    ridge = 0.0
    while True:
        try:
            return np.asarray(np.linalg.cholesky(matrix + ridge * np.eye(len(matrix))), np.float64)
        except np.linalg.LinAlgError:
            ridge = 10 * ridge or 1e-10
