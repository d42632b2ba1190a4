"""Deal pictures to train, val and test by the md5 of their keys: the same on every machine, without a seed.

The rules and the results are those of Deep Image Retrieval's `split` (Revaud et al., ICCV 2019).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError

Parts = dict[str, NDArray[np.int64]]


def hash_split(keys: Sequence[str], train: float, val: float = 0.0) -> Parts:
    """Deal every key by its own md5: what else is in the list makes no difference.

    Args:
        keys: `N` names.
        train: share of train, 0 to 1; approached, as the md5 falls.
        val: share of val; test takes the rest.

    Returns:
        Ascending positions in `keys` by `train`, `val`, `test`; together all of them.

    Raises:
        InputError: shares outside of 0 to 1, or that add up to more than 1.
    """
    _check(train, val)
    percent = np.array([_md5(key) % 100 for key in keys], np.int64) / 100
    is_train = percent < train
    is_val = ~is_train & (percent < train + val)
    masks = {"train": is_train, "val": is_val, "test": ~is_train & ~is_val}
    return {name: np.flatnonzero(mask) for name, mask in masks.items()}


def balanced_split(keys: Sequence[str], labels: Sequence[Hashable], train: float, val: float = 0.0) -> Parts:
    """Deal the pictures of every class in the same shares, in the order of their md5.

    Of a class of n pictures the first goes to train, then `val * n` to val and `test * n` to test, both rounded up
    while there are any, and the rest to train. So train has every class.

    Args:
        keys: `N` names.
        labels: `N` classes.
        train: share of train, 0 to 1.
        val: share of val; test takes the rest.

    Returns:
        Ascending positions in `keys` by `train`, `val`, `test`; together all of them.

    Raises:
        InputError: shares outside of 0 to 1 or that add up to more than 1, another number of labels than of keys.
    """
    test = _check(train, val)
    if len(labels) != len(keys):
        raise InputError(f"{len(keys)} keys need as many labels, got {len(labels)}")
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        members[label].append(index)
    dealt: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for rows in members.values():
        left = sorted(rows, key=lambda index: (_md5(keys[index]), index), reverse=True)
        dealt["train"].append(left.pop(0))
        for name, share in (("val", val), ("test", test)):
            # Rounded up, save for what is left over from the arithmetic of shares.
            count = int(0.9999 + share * len(rows))
            dealt[name] += left[:count]
            left = left[count:]
        dealt["train"] += left
    return {name: np.array(sorted(rows), np.int64) for name, rows in dealt.items()}


def _md5(key: str) -> int:
    return int.from_bytes(hashlib.md5(key.encode(), usedforsecurity=False).digest())


def _check(train: float, val: float) -> float:
    """The share of test."""
    if not (0 <= train <= 1 and 0 <= val <= 1 and train + val <= 1 + 1e-9):
        raise InputError(f"train and val are shares of 0 to 1 and at most 1 together; got {train} and {val}")
    return 1 - train - val
