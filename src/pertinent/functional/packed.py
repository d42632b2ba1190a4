"""Codes of one bit a sign, packed: eight bits to a byte on disk, sixty-four to a word where they are searched.

On disk a code is a row of bytes, the first bit the highest of the first byte, zeros after the last bit: the order of
`numpy.packbits`, which faiss reads as it is. A bit is 1 where the output is above 0; an output of exactly 0 is bit 0.

Letters: N codes, K bits, B bytes of a code, W words of a code.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError
from pertinent.functional.hamming import MOST_BITS
from pertinent.functional.neighbours import blocks

ROWS = 65536


class PackedCodes(NamedTuple):
    """Codes as they are searched.

    Attributes:
        words: `(W, N)` uint64, all first words before all second ones, so that neighbours are loaded together.
        bits: K.
    """

    words: NDArray[np.uint64]
    bits: int

    @property
    def size(self) -> int:
        """N."""
        return int(self.words.shape[1])

    @classmethod
    def of(cls, codes: NDArray[np.uint8], bits: int) -> PackedCodes:
        """Codes from their bytes; those of 8 bytes are not copied.

        Args:
            codes: `(N, B)` uint8, may be a memory map.
            bits: K, with B = ceil(K / 8).

        Raises:
            InputError: bytes of another shape or type, or a bit set behind the last one.
        """
        codes = check_codes(codes, bits)
        n_words = -(-codes.shape[1] // 8)
        if codes.shape[1] == 8 * n_words and codes.flags.c_contiguous:
            return cls(np.ascontiguousarray(codes.view(np.uint64).T), bits)
        words = np.empty((n_words, len(codes)), np.uint64)
        for rows in blocks(len(codes), ROWS):
            wide = np.zeros((rows.stop - rows.start, 8 * n_words), np.uint8)
            wide[:, : codes.shape[1]] = codes[rows]
            words[:, rows] = wide.view(np.uint64).T
        return cls(words, bits)

    def cut(self, start: int, stop: int) -> PackedCodes:
        """The codes `start..stop-1`."""
        return self._replace(words=np.ascontiguousarray(self.words[:, start:stop]))


def code_bytes(bits: int) -> int:
    """B, the bytes that K bits take."""
    return -(-bits // 8)


def pack_signs(outputs: NDArray[Any]) -> NDArray[np.uint8]:
    """Signs of real outputs as packed codes; exactly 0 and below are bit 0.

    Args:
        outputs: `(N, K)`, may be a memory map; read block by block.

    Returns:
        `(N, ceil(K / 8))` uint8.

    Raises:
        InputError: another shape, no bit or more than 32,767.
    """
    if outputs.ndim != 2 or not 1 <= outputs.shape[1] <= MOST_BITS:
        raise InputError(f"expected outputs (N, K) of 1 to {MOST_BITS} bits, got shape {outputs.shape}")
    codes = np.empty((len(outputs), code_bytes(outputs.shape[1])), np.uint8)
    for rows in blocks(len(outputs), ROWS):
        codes[rows] = np.packbits(np.asarray(outputs[rows]) > 0, axis=1)
    return codes


def unpack_signs(codes: NDArray[np.uint8], bits: int) -> NDArray[np.float32]:
    """Packed codes as -1 and 1, `(N, K)` float32."""
    return 2 * np.unpackbits(codes, axis=-1, count=bits).astype(np.float32) - 1


def check_codes(codes: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """The codes themselves; raises InputError where they are not rows of bytes that hold K bits and zeros after."""
    if codes.ndim != 2 or codes.dtype != np.uint8 or not 1 <= bits <= MOST_BITS or codes.shape[1] != code_bytes(bits):
        raise InputError(
            f"codes of {bits} bits are uint8 of shape (N, {code_bytes(bits)}), got {codes.dtype} {codes.shape}"
        )
    spare = 8 * codes.shape[1] - bits
    if spare and (codes[:, -1] & ((1 << spare) - 1)).any():
        raise InputError(f"codes of {bits} bits must be 0 after the last bit; pack them again")
    return codes
