"""Arrays in pickles from strangers: numbers, truth values and strings, and nothing that their bytes could point to.

A pickle builds numpy's own dtype from a state of its choosing. A dtype with the fields of another, or that claims to
hold objects, makes numpy take the file's bytes for addresses in memory. So a pickle is given these instead: a dtype
that knows a few names, and an array that is filled with a copy of the bytes.
"""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import DataError

_KNOWN = re.compile(r"b1|[iu][1248]|f[248]|[SU][1-9]\d{0,8}")
_FORGED = "so this file is another than it should be, or has been tampered with"


class PlainDtype:
    """Stands for `numpy.dtype` in a pickle.

    Args:
        name: kind and size as numpy writes them, `i8` or `U12`; what else it writes is about fields and copies.

    Raises:
        DataError: Python objects, fields, dates, or no such name.
    """

    __slots__ = ("real",)

    def __init__(self, name: object, *_: object) -> None:
        if not isinstance(name, str) or not _KNOWN.fullmatch(name):
            raise DataError(f"it holds an array of dtype {name!r}, where only numbers and strings belong, {_FORGED}")
        self.real: np.dtype[Any] = np.dtype(name)

    def __setstate__(self, state: Any) -> None:
        """Take the order of bytes; raises DataError for a state with anything that the name does not say."""
        if not isinstance(state, tuple) or len(state) != 8 or state[0] != 3 or state[1] not in ("<", ">", "|", "="):
            raise DataError(f"it describes dtype {self.real.str} in a way that numpy does not, {_FORGED}")
        if any(part is not None for part in state[2:5]) or state[5] not in (-1, self.real.itemsize):
            raise DataError(f"it describes dtype {self.real.str} with fields, parts or another size, {_FORGED}")
        self.real = self.real.newbyteorder(state[1])

    def values(self, data: Any) -> NDArray[Any]:
        """The elements in these bytes, copied; raises DataError for what is neither bytes nor text of them."""
        # Pickles of Python 2 are read with latin1, which makes texts of their bytes.
        data = data.encode("latin1") if isinstance(data, str) else data
        if not isinstance(data, bytes | bytearray):
            raise DataError(f"an array of dtype {self.real.str} has {type(data).__name__} for its bytes, {_FORGED}")
        if self.real.kind == "b":
            truths: NDArray[np.bool_] = np.frombuffer(data, np.uint8) != 0
            return truths
        if self.real.kind == "U":
            points = np.frombuffer(data, np.dtype(np.uint32).newbyteorder(self.real.byteorder))
            if points.max(initial=0) > sys.maxunicode:
                raise DataError(f"an array of strings has characters that do not exist, {_FORGED}")
        return np.frombuffer(data, self.real).copy()


class PlainArray(np.ndarray[Any, Any]):
    """Stands for `numpy.ndarray` in a pickle: empty, until its state fills it."""

    def __new__(cls, *_: object) -> PlainArray:
        """Make an empty one, whatever is asked for."""
        return super().__new__(cls, (0,), np.int8)

    def __setstate__(self, state: Any) -> None:
        """Take shape and elements; raises DataError when they are not those of a plain array."""
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], PlainDtype):
            raise DataError(f"it describes an array in a way that numpy does not, {_FORGED}")
        _, shape, dtype, fortran, data = state
        values = dtype.values(data).reshape(shape)
        # Bytes of its own: numpy would write through to those of the pickle, which others may hold.
        super().__setstate__((1, values.shape, values.dtype, bool(fortran), values.tobytes()))  # type: ignore[arg-type]


def plain_array(*_: object) -> PlainArray:
    """Stands for numpy's `_reconstruct`, which makes an array whose state follows."""
    return PlainArray()


def plain_scalar(dtype: Any, data: Any = b"") -> Any:
    """Stands for numpy's `scalar`: one number, truth value or string, as Python has it.

    Raises:
        DataError: another dtype, or more or less than one element.
    """
    values = dtype.values(data) if isinstance(dtype, PlainDtype) else None
    if values is None or values.size != 1:
        raise DataError(f"it describes a number in a way that numpy does not, {_FORGED}")
    return values.item()


def plain_buffer(data: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> NDArray[Any]:
    """Stands for numpy's `_frombuffer`: an array from its bytes, its dtype, its shape and the order of its axes.

    Raises:
        DataError: another dtype.
    """
    if not isinstance(dtype, PlainDtype):
        raise DataError(f"it describes an array in a way that numpy does not, {_FORGED}")
    values = dtype.values(data)
    if order == "K" and axes is not None:
        return values.reshape(shape).transpose(axes)
    return values.reshape(shape, order=order)
