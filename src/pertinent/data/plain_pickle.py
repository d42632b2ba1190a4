"""Read the pickles in which lists of landmarks are published, without running what may be in them.

A pickle can name any function and call it when it is read. These are read by an unpickler that knows plain values and
numpy arrays and refuses everything else, by name.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pertinent.errors import DataError

# numpy moved its core in version 2, so that arrays name either home.
_ALLOWED = {
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    # Bytes of an array, as old pickles spell them.
    ("_codecs", "encode"),
    ("__builtin__", "bytes"),
}


def read_plain_pickle(path: Path) -> Any:
    """Read a pickle of lists, mappings, numbers, names and numpy arrays.

    Raises:
        DataError: a pickle that holds anything else, or a damaged one; nothing of it was run.
    """
    # latin1 reads the byte strings of Python 2, in which some of the files were written.
    unpickler = _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1")
    try:
        return unpickler.load()
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except Exception as error:
        raise DataError(f"{path} is no pickle, or a damaged one: {error}") from error


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise DataError(
                f"the pickle asks for {module}.{name}, which may run code; such a file holds nothing but lists, "
                "numbers, names and numpy arrays, so this one is another or has been tampered with"
            )
        found: Callable[..., Any] = super().find_class(module, name)
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise DataError(f"the pickle asks for an object outside of it ({pid!r}); such a file holds none")
