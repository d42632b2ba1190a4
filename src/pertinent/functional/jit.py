"""Compile a tight loop: numba with the result kept on disk and the interpreter lock released."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile `function` at its first call; only numbers and numpy arrays may go in."""
    return cast(Function, numba.njit(cache=True, nogil=True)(function))
