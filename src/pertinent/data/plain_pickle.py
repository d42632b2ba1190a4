"""Read the pickles in which lists of landmarks are published, without running what may be in them.

A pickle can name any function and call it when it is read. These are read by an unpickler that knows plain values and
numpy arrays and refuses everything else, by name; even numpy's own functions are replaced, since they trust a pickle
(see `plain_arrays`).
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pertinent.data.plain_arrays import PlainArray, PlainDtype, plain_array, plain_buffer, plain_scalar
from pertinent.errors import DataError


def read_plain_pickle(path: Path) -> Any:
    """Read a pickle of lists, mappings, numbers, names and numpy arrays; numpy's single numbers become Python's.

    Raises:
        DataError: a pickle that holds anything else, or a damaged one; nothing of it was run.
    """
    # latin1 reads the byte strings of Python 2, in which some of the files were written.
    unpickler = _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1")
    try:
        return unpickler.load()
    except DataError as error:
        raise DataError(f"{path} is refused: {error}") from None
    except Exception as error:
        raise DataError(f"{path} is no pickle, or a damaged one: {error}") from error


class _Known:
    """What a pickle may call. Unlike a function or a class it takes no state, so that no pickle can change it."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setstate__(self, state: object) -> None:
        raise DataError("it changes what reads it, so it has been tampered with")


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise DataError(
                f"the pickle asks for {module}.{name}, which may run code; such a file holds nothing but lists, "
                "numbers, names and numpy arrays, so this one is another or has been tampered with"
            )
        return _Known(_ALLOWED[module, name])

    def persistent_load(self, pid: Any) -> Any:
        raise DataError(f"the pickle asks for an object outside of it ({pid!r}); such a file holds none")


def _encoded(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise DataError(f"the pickle writes bytes as {encoding!r}, where pickles write latin1")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): PlainArray,
    ("numpy", "dtype"): PlainDtype,
    # Bytes of an array, as old pickles spell them.
    ("_codecs", "encode"): _encoded,
    ("__builtin__", "bytes"): lambda: b"",
}
# numpy moved its core in version 2, so that arrays name either home.
for _core in ("numpy.core", "numpy._core"):
    _ALLOWED[f"{_core}.multiarray", "_reconstruct"] = plain_array
    _ALLOWED[f"{_core}.multiarray", "scalar"] = plain_scalar
    _ALLOWED[f"{_core}.numeric", "_frombuffer"] = plain_buffer
