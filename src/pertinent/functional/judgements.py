"""Read what a person judged: for each query the items that are easy, hard or junk.

Revisited Oxford and Paris (Radenovic et al., CVPR 2018); the classic protocol is Philbin et al., CVPR 2007.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError, UnknownNameError
from pertinent.functional.labels import as_integers

PROTOCOLS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "easy": (("easy",), ("junk", "hard")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("junk", "easy")),
    "classic": (("ok",), ("junk",)),
}
"""What each protocol seeks, and what it takes out of the ranking."""


def records_of(judgements: Sequence[Any] | Mapping[str, Any]) -> tuple[list[Any], int | None]:
    """The records, one a query, and the number of items where the whole ground truth says it."""
    if isinstance(judgements, Mapping):
        if "gnd" not in judgements:
            raise InputError(f"a ground truth needs the key 'gnd', got {sorted(map(str, judgements))}")
        items = judgements.get("imlist")
        return list(judgements["gnd"]), None if items is None else len(items)
    return list(judgements), None


def split_records(records: Iterable[Any], protocol: str) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """For each query the items that the protocol seeks and those it ignores, ascending.

    Raises:
        UnknownNameError: unknown protocol.
        InputError: a record without the lists that the protocol needs, or one that names an item twice.
    """
    if protocol not in PROTOCOLS:
        raise UnknownNameError("protocol", protocol, PROTOCOLS)
    sought, ignored = PROTOCOLS[protocol]
    wanted, left_out = [], []
    for query, record in enumerate(records):
        wanted.append(_gather(record, sought, query, protocol))
        left_out.append(_gather(record, ignored, query, protocol))
        both = np.intersect1d(wanted[-1], left_out[-1])
        if both.size:
            raise InputError(f"query {query}: item {both[0]} is judged twice, as relevant and as ignored")
    return wanted, left_out


def own_places(records: Sequence[Any]) -> list[int] | None:
    """Where records say that their queries stand among the items, or None when they do not say."""
    if not records or not all(hasattr(record, "query") for record in records):
        return None
    return [int(record.query) for record in records]


def _gather(record: Any, words: tuple[str, ...], query: int, protocol: str) -> NDArray[np.int64]:
    lists = []
    for word in words:
        ids = record.get(word) if isinstance(record, Mapping) else getattr(record, word, None)
        if ids is None:
            raise InputError(f"query {query}: the {protocol} protocol needs the list '{word}', which is missing")
        lists.append(as_integers(ids, f"query {query}: {word}").reshape(-1))
    found = np.sort(np.concatenate(lists))
    if found.size and found[0] < 0:
        raise InputError(f"query {query}: item {found[0]} is no position; positions start at 0")
    twice = found[1:][found[1:] == found[:-1]]
    if twice.size:
        raise InputError(f"query {query}: item {twice[0]} is judged twice")
    return found
