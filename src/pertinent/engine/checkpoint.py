"""Training state on disk: nested values with tensors inside, as one safetensors file and one JSON file.

Nothing is pickled, so a checkpoint cannot run code when it is read.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pertinent.errors import StorageError
from pertinent.files import new_folder, read_versioned, write_json, write_tensors

FORMAT = 1


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write nested dicts and lists of tensors, numbers, texts and None into a folder, in one step.

    Raises:
        StorageError: the folder cannot be written; the state that was there before is intact.
    """
    tensors: dict[str, Tensor] = {}
    skeleton = _take_apart(state, tensors)
    with new_folder(folder) as temporary:
        write_tensors(temporary / "state.safetensors", tensors)
        write_json(temporary / "state.json", {"format": FORMAT, "state": skeleton})


def load_state(folder: Path) -> dict[str, Any]:
    """Read what `save_state` wrote.

    Raises:
        StorageError: missing, damaged or of another format.
    """
    saved = read_versioned(folder / "state.json", "checkpoint", FORMAT)
    try:
        tensors = load_file(folder / "state.safetensors")
        state: dict[str, Any] = _put_together(saved["state"], tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise StorageError(f"checkpoint {folder} is damaged: {error}; train again in another folder") from error
    return state


def load_newest(folders: list[Path]) -> tuple[dict[str, Any], list[str]] | None:
    """Read the newest state that is whole, and tell what is wrong with those after it; None if there is none.

    Raises:
        StorageError: there are states, and all are damaged; the message is that of the newest.
    """
    problems: list[StorageError] = []
    for folder in reversed(folders):
        try:
            return load_state(folder), [str(problem) for problem in problems]
        except StorageError as error:
            problems.append(error)
    if problems:
        raise problems[0]
    return None


def prune(folders: list[Path], newest: Path, keep: int) -> None:
    """Delete all but the last `keep` states up to the `newest`; later ones are damaged and were passed over."""
    for old in [folder for folder in sorted(folders) if folder <= newest][:-keep]:
        shutil.rmtree(old, ignore_errors=True)


def random_state() -> dict[str, Any]:
    """The state of every random generator in use: Python's, NumPy's, torch's and that of each GPU."""
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
        "python": [version, list(internal), gauss],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Set every random generator to a state that `random_state` returned."""
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))


def _take_apart(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        # A copy of its own: safetensors refuses tensors that share memory.
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, dict):
        # Keys keep their type: optimisers number their parameters with integers.
        return {"items": [[key, _take_apart(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_take_apart(item, tensors) for item in value]
    return value


def _put_together(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        return {key: _put_together(item, tensors) for key, item in value["items"]}
    if isinstance(value, list):
        return [_put_together(item, tensors) for item in value]
    return value
