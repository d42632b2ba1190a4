"""From a checkpoint that its authors published to an `Encoder`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pertinent.errors import InputError, StorageError, UnknownNameError
from pertinent.files import sha256_file
from pertinent.functional.whitening import PrincipalComponents, Whitening, pca_whitening
from pertinent.models.encoder import Encoder
from pertinent.models.imports import IMPORTS
from pertinent.models.imports._imported import Imported, Importer, State
from pertinent.models.unpickle import read_checkpoint
from pertinent.models.whitening import WhiteningLayer

NO_WHITENING = "none"
# What the authors of Deep Image Retrieval evaluate with.
DEFAULT_POWER = 0.25


@dataclass(frozen=True)
class Converted:
    """An encoder, the origin of its weights, the whitening inside and those left out, and what else to know."""

    encoder: Encoder
    origin: str
    whitening: str
    others: tuple[str, ...]
    notes: tuple[str, ...]


def convert(
    path: Path,
    origin: str | None = None,
    whiten: str | None = None,
    power: float | None = None,
    dim: int | None = None,
) -> Converted:
    """Read an official checkpoint; nothing in the file is executed.

    Args:
        path: the file as published, also inside its ZIP.
        origin: see `pertinent.models.imports`; None finds it by what the file holds.
        whiten: which stored whitening goes inside; None takes the first one, "none" leaves them out.
        power: of the variances in a PCA whitening (whitenp); None is .25.
        dim: how many directions of the whitening are kept (whitenv); None keeps all.

    Raises:
        StorageError: a file that is missing, damaged, refused, of no known origin, or not complete.
        UnknownNameError: no such origin or whitening.
        InputError: power or dim without a whitening that they would change.
    """
    contents = read_checkpoint(path)
    if not isinstance(contents, Mapping):
        raise StorageError(f"{path} holds a {type(contents).__name__}, expected a checkpoint of {_known()}")
    name = origin or _origin(contents, path)
    importer: Importer = IMPORTS.build(name)
    if not importer.recognises(contents):
        raise StorageError(f"{path} is no {name} checkpoint: it holds {', '.join(map(str, list(contents)[:6]))}")
    imported = _read(importer, contents, path)
    chosen = _chosen(imported, whiten)
    layer = _whitening(imported, chosen, power, dim)
    encoder = Encoder(imported.config, imported.preprocess, whitening=layer)
    _load(encoder, imported.state, path)
    encoder.views = imported.views
    encoder.origin = {"system": name, "file": path.name, "sha256": sha256_file(path), "whitening": chosen}
    others = tuple(other for other in imported.whitenings if other != chosen)
    return Converted(encoder.eval(), name, chosen, others, imported.notes)


def _known() -> str:
    return ", ".join(IMPORTS.names())


def _origin(contents: Mapping[str, Any], path: Path) -> str:
    for name in IMPORTS.names():
        if IMPORTS.build(name).recognises(contents):
            return name
    raise StorageError(
        f"{path} is no checkpoint of {_known()}: it holds {', '.join(map(str, list(contents)[:6])) or 'nothing'}"
    )


def _read(importer: Importer, contents: Mapping[str, Any], path: Path) -> Imported:
    try:
        return importer.read(contents)
    except StorageError as error:
        raise StorageError(f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise StorageError(f"{path} is not what its authors published: {type(error).__name__} {error}") from error


def _chosen(imported: Imported, whiten: str | None) -> str:
    if whiten in {"", NO_WHITENING} or (whiten is None and not imported.whitenings):
        return NO_WHITENING
    name = next(iter(imported.whitenings)) if whiten is None else whiten
    if name not in imported.whitenings:
        raise UnknownNameError("whitening of this file", name, [*imported.whitenings, NO_WHITENING])
    return name


def _whitening(imported: Imported, name: str, power: float | None, dim: int | None) -> WhiteningLayer | None:
    if name == NO_WHITENING:
        if power is not None or dim is not None:
            raise InputError("whitenp and whitenv are about a whitening, and none goes inside; leave them out")
        return None
    stored = imported.whitenings[name]
    if isinstance(stored, PrincipalComponents):
        return WhiteningLayer.of(pca_whitening(stored, DEFAULT_POWER if power is None else power, dim))
    if power is not None:
        raise InputError(f"whitening {name} holds no variances, so whitenp has no effect; leave it out")
    kept = len(stored.projection) if dim is None else dim
    if not 1 <= kept <= len(stored.projection):
        raise InputError(f"whitenv must be 1 to {len(stored.projection)}, got {kept}")
    return WhiteningLayer.of(Whitening(stored.mean, stored.projection[:kept]))


def _load(encoder: Encoder, state: State, path: Path) -> None:
    own = encoder.state_dict()
    expected = {key for key in own if not key.startswith("whitening.")}
    # Files of torch before 0.4.1 do not count batches, and nothing here does.
    counted = {key: torch.zeros_like(own[key]) for key in expected - set(state) if key.endswith("num_batches_tracked")}
    missing = sorted(expected - set(state) - set(counted))
    strange = sorted(set(state) - expected)
    shapes = sorted(key for key in expected & set(state) if own[key].shape != state[key].shape)
    if missing or strange or shapes:
        parts = [("missing", missing), ("unexpected", strange), ("of another shape", shapes)]
        detail = "; ".join(f"{len(keys)} {word} ({', '.join(keys[:3])})" for word, keys in parts if keys)
        raise StorageError(f"{path} does not fill its own network: {detail}; fetch it again")
    whitening = {key: value for key, value in own.items() if key not in expected}
    encoder.load_state_dict({**state, **counted, **whitening})
