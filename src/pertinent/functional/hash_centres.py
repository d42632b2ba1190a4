"""Binary words far apart from each other, one a class: hash centres for any number of classes and bits.

Rows of a Hadamard matrix of n columns differ pairwise in n / 2 bits, and with their negatives they are 2 n words. More
words come from linear codes with a random generator, of which the best of many is kept: the least distance of a linear
code is its least weight, so no pair is ever looked at. Everything follows from the seed.

References: Yuan et al., "Central Similarity Quantization for Efficient Image and Video Retrieval", CVPR 2020, for hash
centres; Paley, "On Orthogonal Matrices", 1933, for Hadamard matrices of other orders than powers of 2.

Letters: C classes, K bits, n order of a matrix, k dimension of a linear code.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError
from pertinent.functional.code_distance import code_threshold

CentreKind = Literal["separated", "random"]

LARGEST_ORDER = 4096
"""Hadamard matrices are looked for up to this order."""

SEARCH_BYTES = 2**26
"""Words that a search for a linear code may write in all."""

MOST_TRIALS = 2048
COUNTED = 4096
"""Random words up to this number are compared with each other to report their distance."""


class Centres(NamedTuple):
    """Hash centres.

    Attributes:
        codes: `(C, K)` int8 of -1 and 1.
        distance: bits in which any two of them differ at least; K where there is only one.
        reason: one sentence on where they come from.
    """

    codes: NDArray[np.int8]
    distance: int
    reason: str


def hash_centres(num_classes: int, bits: int, kind: CentreKind = "separated", seed: int = 0) -> Centres:
    """One binary word for each class.

    Args:
        num_classes: C, 1 or more. Above 2^K some classes share a word, and the distance is 0.
        bits: K, 1 or more.
        kind: `separated` words far apart, or `random` ones, every bit a fair coin.
        seed: of the order of the words and of the search.

    Raises:
        InputError: no class, no bit, a negative seed, or another kind.
    """
    if num_classes < 1 or bits < 1 or seed < 0:
        raise InputError(
            f"num_classes and bits must be at least 1 and seed at least 0, got {num_classes}, {bits} and {seed}"
        )
    if kind not in get_args(CentreKind):
        raise InputError(f"centres must be one of {get_args(CentreKind)}, got {kind!r}")
    rng = np.random.default_rng(seed)
    if kind == "random":
        return _random(num_classes, bits, rng)
    if num_classes <= 2:
        word = _flip(np.ones((1, bits), np.int8), rng)
        return Centres(np.concatenate([word, -word])[:num_classes], bits, "a word and its complement")
    found = _from_hadamard(num_classes, bits, rng)
    if found is None or 2 * found.distance < min(bits, 2 * code_threshold(num_classes, bits).distance):
        other = _from_linear_code(num_classes, bits, rng)
        found = other if found is None or other.distance > found.distance else found
    return found


def hadamard(order: int) -> NDArray[np.int8] | None:
    """A Hadamard matrix `(n, n)` whose first column is 1, by Sylvester's and Paley's constructions, or None.

    Residues are taken of primes alone, not of their powers, so some orders that have a matrix are left out, first 52.
    """
    if order in (1, 2):
        return np.array([[1, 1], [1, -1]], np.int8)[:order, :order]
    if order < 4 or order % 4:
        return None
    half = hadamard(order // 2)
    if half is not None:
        made = np.kron(np.array([[1, 1], [1, -1]], np.int8), half)
    elif _is_prime(order - 1):
        made = _conference(order - 1, -1) + np.eye(order, dtype=np.int8)
    elif order // 2 % 4 != 2 or not _is_prime(order // 2 - 1):
        return None
    else:
        made = np.kron(_conference(order // 2 - 1, 1), np.array([[1, 1], [1, -1]], np.int8)) + np.kron(
            np.eye(order // 2, dtype=np.int8), np.array([[1, -1], [-1, -1]], np.int8)
        )
    return np.asarray(made * made[:, :1], np.int8)


def _conference(q: int, side: int) -> NDArray[np.int8]:
    """Paley's `(q + 1, q + 1)` matrix of 0, 1 and -1: quadratic residues of differences, bordered."""
    residue = np.full(q, -1, np.int8)
    residue[np.arange(1, q, dtype=np.int64) ** 2 % q] = 1
    residue[0] = 0
    made = np.ones((q + 1, q + 1), np.int8)
    place = np.arange(q)
    made[0, 0], made[1:, 0] = 0, side
    made[1:, 1:] = residue[(place[:, None] - place[None, :]) % q]
    return made


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))


def _from_hadamard(num_classes: int, bits: int, rng: np.random.Generator) -> Centres | None:
    """Rows of the smallest Hadamard matrix with enough columns, too many columns left out."""
    order = next(
        (n for n in range(bits, min(2 * bits, LARGEST_ORDER) + 1) if 2 * n >= num_classes and hadamard(n) is not None),
        None,
    )
    rows = None if order is None else hadamard(order)
    if order is None or rows is None:
        return None
    left_out = order - bits
    if num_classes <= order and left_out:
        # The first column is the same in all rows: leaving it out costs no distance.
        words, distance = rows[rng.permutation(order)[:num_classes], left_out:], order // 2 - left_out + 1
    elif num_classes <= order:
        chosen = rows[rng.permutation(order)[:num_classes]]
        # A negative row is as far from the others, and evens out the first column.
        words, distance = chosen * rng.choice(np.array([-1, 1], np.int8), (num_classes, 1)), order // 2
    else:
        both = np.concatenate([rows, -rows])[:, left_out:]
        words, distance = both[rng.permutation(2 * order)[:num_classes]], order // 2 - left_out
    if distance < 1:
        return None
    cut = f" without {left_out} of its columns" if left_out else ""
    return Centres(_flip(words, rng), distance, f"rows of a Hadamard matrix of order {order}{cut}")


def _from_linear_code(num_classes: int, bits: int, rng: np.random.Generator) -> Centres:
    k = (num_classes - 1).bit_length()
    if k >= bits:
        words = _unpack(_words(np.eye(bits, dtype=np.uint8)), bits)[np.arange(num_classes) % 2**bits]
        shared = num_classes > 2**bits
        reason = (
            f"only {2**bits} words of {bits} bits exist, so classes share them" if shared else "all words there are"
        )
        return Centres(_flip(words, rng), 0 if shared else 1, reason)
    enough = code_threshold(num_classes, bits).distance
    trials = max(1, min(MOST_TRIALS, SEARCH_BYTES // (2**k * -(-bits // 8))))
    best, distance = np.zeros(0, np.uint8), 0
    for trial in range(trials):
        generator = _generator(k, bits, trial, rng)
        words = _words(generator)
        least = int(np.bitwise_count(words[1:]).sum(1, dtype=np.int64).min())
        if least > distance:
            best, distance = words, least
        if distance >= enough:
            break
    chosen = _unpack(best[rng.permutation(2**k)[:num_classes]], bits)
    return Centres(
        _flip(chosen, rng), distance, f"words of the best of {trial + 1} random linear codes with 2^{k} words"
    )


def _generator(k: int, bits: int, trial: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """`(k, K)` of 0 and 1 in which every column tells something; by turns of circulant blocks and of fair coins."""
    if trial % 2:
        free = rng.integers(0, 2, (k, bits - k), np.uint8)
    else:
        # All shifts of a word weigh the same, so that few words decide.
        first = rng.integers(0, 2, (-(-(bits - k) // k), k), np.uint8)
        place = np.arange(k)
        blocks = first[:, (place[None, :] - place[:, None]) % k]
        free = blocks.transpose(1, 0, 2).reshape(k, -1)[:, : bits - k].copy()
    free[0, ~free.any(0)] = 1
    made = np.concatenate([np.eye(k, dtype=np.uint8), free], axis=1)
    if trial % 4 > 1:
        # All words are even then, as those of the best codes of even length often are.
        made[:, -1] = made[:, :-1].sum(1) % 2
    return made


def _random(num_classes: int, bits: int, rng: np.random.Generator) -> Centres:
    codes = rng.choice(np.array([-1, 1], np.int8), (num_classes, bits))
    if not 1 < num_classes <= COUNTED:
        return Centres(codes, bits if num_classes == 1 else 0, "random words, not compared with each other")
    products = codes.astype(np.float32) @ codes.T.astype(np.float32)
    np.fill_diagonal(products, -bits)
    return Centres(codes, int((bits - products.max()) / 2), "random words")


def _words(generator: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """All sums of rows of a generator `(k, K)` of 0 and 1, packed: `(2^k, K / 8)`, the word of zeros first."""
    rows = np.packbits(generator, axis=1)
    words = np.zeros((1, rows.shape[1]), np.uint8)
    for row in rows:
        words = np.concatenate([words, words ^ row])
    return words


def _unpack(words: NDArray[np.uint8], bits: int) -> NDArray[np.int8]:
    return 1 - 2 * np.unpackbits(words, axis=1, count=bits).astype(np.int8)


def _flip(words: NDArray[np.int8], rng: np.random.Generator) -> NDArray[np.int8]:
    """The same words with some bits inverted in all, which keeps distances and leaves none special."""
    flipped: NDArray[np.int8] = words * rng.choice(np.array([-1, 1], np.int8), (1, words.shape[1]))
    return flipped
