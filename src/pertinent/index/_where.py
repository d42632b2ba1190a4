"""`Where`: which items a search may find; and metadata, what people note of an item."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pertinent.errors import InputError

Value = str | int | float | bool
"""What metadata may hold."""

Key = tuple[bool, Value]
"""A value to look up: 1 and 1.0 are the same, 1 and True are not."""


@dataclass(frozen=True)
class Where:
    """Which items a search may find: those to which all of this applies.

    Attributes:
        labels: words of labels; the item carries every one, at any level.
        metadata: the item's value of each key is this one, or one of a list.
        ids_not: all items but these.

    Raises:
        InputError: anything else than words, or values that metadata cannot hold.
    """

    labels: tuple[str, ...] = ()
    metadata: Mapping[str, Value | Sequence[Value]] = field(default_factory=dict)
    ids_not: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("labels", "ids_not"):
            words = getattr(self, name)
            if isinstance(words, str) or not all(isinstance(word, str) for word in words):
                raise InputError(f"{name} must be a tuple of words, got {words!r}")
            object.__setattr__(self, name, tuple(words))
        for key in self.metadata:
            self.values(key)

    def __bool__(self) -> bool:
        return bool(self.labels or self.metadata or self.ids_not)

    def values(self, key: str) -> list[Key]:
        """The values of a key that an item may have."""
        given = self.metadata[key]
        listed = [given] if isinstance(given, str) or not isinstance(given, Sequence) else list(given)
        for value in listed:
            check_value(key, value)
        return [value_key(value) for value in listed]


def value_key(value: Value) -> Key:
    """What two equal values of metadata have in common."""
    return isinstance(value, bool), value


def check_value(key: Any, value: Any) -> None:
    """Raise InputError unless a key is a word and its value one that metadata can hold."""
    if not isinstance(key, str) or not key:
        raise InputError(f"a key of metadata must be a word, got {key!r}")
    if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise InputError(f"metadata {key!r} must be text, a finite number, true or false; got {value!r}")
