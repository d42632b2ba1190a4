"""Packed codes beside a store: one bit for the sign of each number, 32 times smaller than the vectors.

`codes.npy` is `(N, ceil(D / 8))` uint8. The first number of a vector is the highest bit of the first byte, as
`numpy.packbits` has it and faiss reads it; bits after the last are 0. A number above 0 is bit 1; exactly 0 is bit 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertinent.files import new_file, write_json
from pertinent.functional.packed import pack_signs
from pertinent.store import CODES, EmbeddingStore, stamp


def write_codes(store: EmbeddingStore) -> NDArray[np.uint8]:
    """Write the packed signs of a store's vectors beside them, and their checksum into its manifest.

    Codes that are there already are written again.

    Args:
        store: N vectors of D numbers; afterwards its `codes` are these.

    Returns:
        `(N, ceil(D / 8))` uint8, memory-mapped.

    Raises:
        StorageError: the store cannot be read, or its folder not be written.
    """
    path = store.folder / CODES
    codes = pack_signs(store.vectors)
    with new_file(path) as file:
        np.save(file, codes)
    # The manifest comes last: codes that it does not name are not there.
    store.manifest["codes"] = {"bits": store.dim, **stamp(path)}
    write_json(store.folder / "manifest.json", store.manifest)
    store.__dict__.pop("codes", None)
    return store.codes
