"""What every reader of official checkpoints gives back, and what they share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from pertinent.data.transforms import Preprocess
from pertinent.errors import StorageError
from pertinent.functional.whitening import Doubles, PrincipalComponents, Whitening
from pertinent.models.encoder import EncoderConfig
from pertinent.models.views import Views

State = dict[str, Tensor]

_OTHER = "the file is not what its authors published"


@dataclass(frozen=True)
class Imported:
    """An official checkpoint in the terms of an `Encoder`.

    Attributes:
        config: its parts.
        preprocess: how its authors prepare a picture for evaluation.
        state: its weights under the encoder's own keys.
        whitenings: those stored beside the network, by name; the first goes inside unless another is asked for.
        notes: what was taken for granted or left out, one sentence each.
        views: how its authors merge several scales of a picture.
    """

    config: EncoderConfig
    preprocess: Preprocess
    state: State
    whitenings: Mapping[str, PrincipalComponents | Whitening] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    views: Views = field(default_factory=Views)


class Importer(Protocol):
    """A reader of the checkpoints of one origin."""

    def recognises(self, contents: Mapping[str, Any]) -> bool:
        """Whether a checkpoint is of this origin, by its entries."""
        ...

    def read(self, contents: Mapping[str, Any]) -> Imported:
        """Translate a checkpoint; raises StorageError for an option or a network that is not known."""
        ...


def tensors(contents: Any, what: str) -> State:
    """The state dict of a checkpoint, without the `module.` of a network that was trained on several devices.

    Raises:
        StorageError: something in it is no tensor.
    """
    if not isinstance(contents, Mapping) or not all(isinstance(value, Tensor) for value in contents.values()):
        raise StorageError(f"{what} is not a state dict of tensors; {_OTHER}")
    return {str(key).removeprefix("module."): value for key, value in contents.items()}


def with_prefix(contents: Iterable[object], key: str) -> bool:
    """Whether a state dict holds a key, perhaps with the `module.` of several devices before it."""
    return any(found in (key, f"module.{key}") for found in contents)


def renamed(state: State, prefixes: Mapping[str, str]) -> State:
    """Keys whose beginning is in the table get the other beginning; the rest are left out."""
    result = {}
    for key, value in state.items():
        old = next((prefix for prefix in prefixes if key.startswith(prefix)), None)
        if old is not None:
            result[prefixes[old] + key.removeprefix(old)] = value
    return result


def left_out(state: Iterable[str], prefixes: Mapping[str, str]) -> tuple[str, ...]:
    """A note about the keys that `renamed` leaves out, or none."""
    unused = [key for key in state if not key.startswith(tuple(prefixes))]
    shown = ", ".join(unused[:3]) + (f" and {len(unused) - 3} more" if len(unused) > 3 else "")
    return (f"left out, since the embedding does not use them: {shown}",) if unused else ()


def resnet_stem(prefix: str) -> dict[str, str]:
    """Where the children of a torchvision ResNet, numbered as in a Sequential, lie in the encoder."""
    names = {0: "conv1", 1: "bn1", 4: "layer1", 5: "layer2", 6: "layer3", 7: "layer4"}
    return {f"{prefix}{number}.": f"backbone.network.{name}." for number, name in names.items()}


def unknown_options(options: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raise StorageError for options of a checkpoint that nothing here follows."""
    strange = sorted(set(options) - set(known))
    if strange:
        raise StorageError(f"{what} has options that are not known here: {', '.join(strange)}; it cannot be converted")


def entries(value: Any, what: str) -> dict[str, Any]:
    """A part of a checkpoint that names values; nothing at all is none of them.

    Raises:
        StorageError: it is something else.
    """
    if value is not None and not isinstance(value, Mapping):
        raise StorageError(f"{what} must name values, got {_shown(value)}; {_OTHER}")
    return {str(name): part for name, part in (value or {}).items()}


def number(value: Any, what: str) -> float:
    """A number of a checkpoint.

    Raises:
        StorageError: it is something else, or not finite.
    """
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise StorageError(f"{what} must be a number, got {_shown(value)}; {_OTHER}")
    return float(value)


def channels(stated: Mapping[str, Any], what: str) -> dict[str, tuple[float, ...]]:
    """The mean and std of a checkpoint's preprocessing, where it has them.

    Raises:
        StorageError: they are not three numbers each.
    """
    found = {}
    for name in ("mean", "std"):
        if name in stated:
            values = stated[name].tolist() if isinstance(stated[name], Tensor | np.ndarray) else stated[name]
            if not isinstance(values, list | tuple) or len(values) != 3:
                raise StorageError(f"{name} of {what} must be three numbers, got {_shown(values)}; {_OTHER}")
            found[name] = tuple(number(value, f"{name} of {what}") for value in values)
    return found


def _shown(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:40] + '...'}"


def doubles(array: Any, what: str) -> Doubles:
    """An array of a checkpoint in float64.

    Raises:
        StorageError: no array of finite numbers.
    """
    values = array.numpy() if isinstance(array, Tensor) else array
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise StorageError(f"{what} is not an array of finite numbers; {_OTHER}")
    return np.asarray(values, np.float64)
