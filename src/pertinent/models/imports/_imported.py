"""What every reader of official checkpoints gives back, and what they share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from pertinent.data.transforms import Preprocess
from pertinent.errors import StorageError
from pertinent.functional.whitening import Doubles, PrincipalComponents, Whitening
from pertinent.models.encoder import EncoderConfig

State = dict[str, Tensor]


@dataclass(frozen=True)
class Imported:
    """An official checkpoint in the terms of an `Encoder`.

    Attributes:
        config: its parts.
        preprocess: how its authors prepare a picture for evaluation.
        state: its weights under the encoder's own keys.
        whitenings: those stored beside the network, by name; the first goes inside unless another is asked for.
        notes: what was taken for granted or left out, one sentence each.
    """

    config: EncoderConfig
    preprocess: Preprocess
    state: State
    whitenings: Mapping[str, PrincipalComponents | Whitening] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


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
        raise StorageError(f"{what} is not a state dict of tensors; the file is not what its authors published")
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


def doubles(array: Any, what: str) -> Doubles:
    """An array of a checkpoint in float64.

    Raises:
        StorageError: no array of finite numbers.
    """
    values = array.numpy() if isinstance(array, Tensor) else array
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise StorageError(f"{what} is not an array of finite numbers; the file is not what its authors published")
    return np.asarray(values, np.float64)
