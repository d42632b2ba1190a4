"""How bad it is that an item was found: from 0, as right as can be, to 1, where nothing is shared."""

from __future__ import annotations

from collections.abc import Sequence

from pertinent.data.table import LabelKind


def severity(kind: LabelKind, query: Sequence[str], item: Sequence[str]) -> float | None:
    """How bad a hit is, or None where labels do not tell.

    Args:
        kind: of the collection's labels.
        query: label words of the query, fine first; an empty word is an unknown label.
        item: label words of what was found.

    Returns:
        `tree` and `classes`: the share of levels at which the words differ; `tags`: 1 - shared / all tags of both.
    """
    if kind not in ("classes", "tree", "tags") or not any(query) or not any(item):
        return None
    if kind == "tags":
        return round(1 - len({*query} & {*item}) / len({*query} | {*item}), 6)
    pairs = list(zip(query, item, strict=False))
    return round(sum(asked != found or not asked for asked, found in pairs) / len(pairs), 6)
