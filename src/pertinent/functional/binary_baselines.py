"""Binary codes of any vectors without training a network: iterative quantisation (ITQ) and random hyperplanes (LSH).

Both give an affine map of which the code is the sign. Vectors are read in blocks, and computed with in float64.

References: Gong and Lazebnik, "Iterative Quantization: A Procrustean Approach to Learning Binary Codes", CVPR 2011;
Charikar, "Similarity Estimation Techniques from Rounding Algorithms", STOC 2002.

Letters: N vectors, D dim, K bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError
from pertinent.functional.neighbours import blocks
from pertinent.functional.whitening import ROWS, Doubles, Rows, Whitening, moments, principal_components, whiten

ROTATION_ROWS = 100_000
"""ITQ learns its rotation from so many vectors at most, evenly spread over all."""


def fit_itq(vectors: Rows, bits: int, iterations: int = 50, seed: int = 0) -> Whitening:
    """Principal components, rotated so that their signs lose least: ITQ.

    From a random rotation R of the K first components V, by turns B = sign(V R) and the R nearest to them, for which
    |B - V R| is least. It never grows.

    Args:
        vectors: `(N, D)`, may be a memory map.
        bits: K, at most the number of directions in which the vectors vary.
        iterations: of both steps.
        seed: of the first rotation.

    Returns:
        the map, of which the code is the sign: see `binary_codes`.

    Raises:
        InputError: no bit, a negative option, more bits than directions, fewer than two different vectors, or values
            that are not finite.
    """
    _check("itq", bits, iterations, seed)
    components = principal_components(vectors)
    if bits > len(components.directions):
        raise InputError(
            f"itq: {bits} bits were asked for, but the vectors vary in {len(components.directions)} directions only; "
            "ask for fewer bits, or use lsh"
        )
    plain = Whitening(components.mean, components.directions[:bits])
    step = -(-vectors.shape[0] // ROTATION_ROWS)
    projected = _mapped(vectors, plain, step)
    rotation = random_rotation(bits, seed)
    for _ in range(iterations):
        codes = np.where(projected @ rotation >= 0, 1.0, -1.0)
        left, _, right = np.linalg.svd(projected.T @ codes)
        rotation = left @ right
    return Whitening(components.mean, rotation.T @ plain.projection)


def fit_lsh(vectors: Rows, bits: int, seed: int = 0, centre: bool = True) -> Whitening:
    """Random hyperplanes: the share of bits in which two codes differ grows with the angle between the vectors.

    Args:
        vectors: `(N, D)`, of which only the mean is learned.
        bits: K, any number.
        seed: of the hyperplanes.
        centre: lay them through the mean instead of the origin. Vectors of a network often lie all on one side of the
            origin, and then many bits are the same for all.

    Returns:
        the map, of which the code is the sign: see `binary_codes`.

    Raises:
        InputError: no bit, a negative seed, no vector, or values that are not finite.
    """
    _check("lsh", bits, 0, seed)
    known = moments(vectors)
    if not known.n_vectors:
        raise InputError("lsh: there is no vector to learn from")
    planes = np.random.default_rng(seed).standard_normal((bits, len(known.mean)))
    return Whitening(known.mean if centre else np.zeros_like(known.mean), planes)


def binary_codes(vectors: Rows, fitted: Whitening, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Codes `(N, K)` of -1 and 1 in float32; 0 counts as positive.

    Args:
        vectors: `(N, D)`, may be a memory map.
        fitted: what `fit_itq` or `fit_lsh` gave.
        out: `(N, K)` to write to; None makes new memory.

    Raises:
        InputError: vectors of another length than those learned from.
    """
    out = np.empty((vectors.shape[0], len(fitted.projection)), np.float32) if out is None else out
    for rows in blocks(vectors.shape[0], ROWS):
        out[rows] = np.where(whiten(vectors[rows], fitted, normalise=False) >= 0, 1, -1)
    return out


def random_rotation(dim: int, seed: int) -> Doubles:
    """A rotation or reflection `(dim, dim)`, all alike likely."""
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))
    turned: Doubles = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    return turned


def _mapped(vectors: Rows, fitted: Whitening, step: int) -> Doubles:
    parts = [
        whiten(vectors[rows.start : rows.stop : step], fitted, normalise=False)
        for rows in blocks(vectors.shape[0], ROWS * step)
    ]
    return np.concatenate(parts)


def _check(name: str, bits: int, iterations: int, seed: int) -> None:
    if bits < 1 or min(iterations, seed) < 0:
        raise InputError(
            f"{name}: bits must be at least 1, iterations and seed at least 0, got {bits}, {iterations} and {seed}"
        )
