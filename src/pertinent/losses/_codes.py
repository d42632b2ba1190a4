"""What the losses for binary codes share: which pairs are similar, which classes a row has, and checks.

Letters: B batch, R references, C classes, K bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pertinent.errors import InputError
from pertinent.functional.scores import dot_scores, widen
from pertinent.losses._batch import check_own, check_range, check_references, label_columns


class Pairs(NamedTuple):
    """A batch against its references.

    Attributes:
        outputs: `(B, K)` float32 or wider.
        items: `(R, K)` the references, or the batch itself.
        shared: `(B, R)` number of labels in common.
        sizes: `(B,)` number of labels.
        item_sizes: `(R,)` number of labels.
        counted: `(B, R)` bool, pairs of labelled rows, none of a row with itself.
        known: `(B,)` bool, labelled rows.
    """

    outputs: Tensor
    items: Tensor
    shared: Tensor
    sizes: Tensor
    item_sizes: Tensor
    counted: Tensor
    known: Tensor

    @property
    def similar(self) -> Tensor:
        """`(B, R)` bool, pairs with a label in common."""
        return self.shared > 0


def pairs_of(
    loss: str,
    embeddings: Tensor,
    labels: Tensor,
    references: tuple[Tensor | None, Tensor | None],
    ref_includes_query: bool,
) -> Pairs:
    """All pairs of a batch with its references (embeddings and labels), or with itself where these are None.

    bool labels are tags: a row without any is similar to none. Others are classes, of a tree the finest, -1 unlabelled.

    Raises:
        InputError: shapes or types that do not fit each other, or integers `(B, C)` of 0 and 1 that are no tree.
    """
    ref_emb, ref_labels = references
    check_references(ref_emb, ref_labels)
    check_own(embeddings, ref_emb, ref_includes_query)
    outputs, own = widen(embeddings), _columns(loss, embeddings, labels)
    if ref_emb is None or ref_labels is None:
        items, theirs = outputs, own
    else:
        items, theirs = widen(ref_emb), _columns(loss, ref_emb, ref_labels)
        if own.dtype != theirs.dtype or own.shape[1] != theirs.shape[1]:
            raise InputError(
                f"{loss}: the labels of batch and references must be of one kind, got {tuple(labels.shape)} "
                f"{labels.dtype} and {tuple(ref_labels.shape)} {ref_labels.dtype}"
            )
    known, item_known = _known(own), _known(theirs)
    counted = known[:, None] & item_known[None, :]
    if ref_emb is None or ref_includes_query:
        places = torch.arange(len(items), device=counted.device)
        counted = counted & (places[: len(outputs), None] != places[None, :])
    if own.dtype == torch.bool:
        mine, other = own.to(outputs.dtype), theirs.to(outputs.dtype)
        return Pairs(outputs, items, dot_scores(mine, other), mine.sum(1), other.sum(1), counted, known)
    shared = ((own == theirs.T) & counted).to(outputs.dtype)
    sizes, item_sizes = (torch.ones_like(rows, dtype=outputs.dtype) for rows in (known, item_known))
    return Pairs(outputs, items, shared, sizes, item_sizes, counted, known)


def known_rows(loss: str, embeddings: Tensor, labels: Tensor) -> Tensor:
    """`(B,)` bool: all rows of tags, and the rows of classes that are not -1."""
    return _known(_columns(loss, embeddings, labels))


def class_tags(loss: str, embeddings: Tensor, labels: Tensor, num_classes: int, bits: int) -> Tensor:
    """The classes of each row, `(B, C)` bool: its tags, or the one class it has, none for -1.

    Raises:
        InputError: shapes that do not fit `num_classes` and `bits`, integers `(B, L)` of 0 and 1 that are neither tags
            nor a tree, or a class out of range (named, on the CPU).
    """
    labels = tags_or_classes(labels, num_classes)
    if embeddings.ndim != 2 or embeddings.shape[1] != bits:
        raise InputError(f"{loss}: embeddings must be (B, {bits}), one column a bit, got {tuple(embeddings.shape)}")
    columns = _columns(loss, embeddings, labels)
    if columns.dtype != torch.bool:
        check_range(columns, num_classes, loss, 0)
        return columns == torch.arange(num_classes, device=columns.device)
    if columns.shape[1] != num_classes:
        raise InputError(f"{loss}: labels must have {num_classes} columns, one a tag, got {tuple(labels.shape)}")
    return columns


def tags_or_classes(labels: Tensor, num_classes: int) -> Tensor:
    """Labels as they are, but integers 0 and 1 with one column a class as tags, bool."""
    is_tags = is_integer(labels) and labels.ndim == 2 and labels.shape[1] == num_classes > 1
    return labels > 0 if is_tags and bool(((labels == 0) | (labels == 1)).all()) else labels


def finest_column(loss: str, columns: Tensor) -> Tensor:
    """Classes `(B,)` of integers `(B, L)`, column 0 the finest of a tree.

    Raises:
        InputError: tags written as integers: 0 and 1 alone, and a class of column 0 with both in another column.
    """
    if columns.shape[1] > 1:
        present, first = columns == 1, columns[:, :1] == 1
        both = [(rows & present).any(0) & (rows & ~present).any(0) for rows in (first, ~first)]
        if bool(((columns == 0) | present).all() & (both[0] | both[1]).any()):
            raise InputError(
                f"{loss}: labels {tuple(columns.shape)} of 0 and 1 are no tree, since a class of column 0 lies under "
                "two of another; for tags write labels > 0"
            )
    return columns[:, 0]


def is_integer(labels: Tensor) -> bool:
    """Whether labels are whole numbers, and not bool."""
    return labels.dtype != torch.bool and not labels.is_floating_point()


def refuse_extras(loss: str, indices_tuple: Any, ref_emb: Any, ref_labels: Any) -> None:
    """Raise InputError for mined pairs or references given to a loss that looks at each embedding alone."""
    if indices_tuple is not None or ref_emb is not None or ref_labels is not None:
        raise InputError(
            f"{loss} compares embeddings with nothing else of the batch and cannot use indices_tuple, ref_emb and "
            "ref_labels; leave them None"
        )


def at_least(loss: str, low: float, **options: float) -> None:
    """Raise InputError for an option below `low`."""
    for name, value in options.items():
        if not value >= low:
            raise InputError(f"{loss}: {name} must be at least {low:g}, got {value}")


def positive(loss: str, **options: float) -> None:
    """Raise InputError for an option that is not above 0."""
    for name, value in options.items():
        if not value > 0:
            raise InputError(f"{loss}: {name} must be positive, got {value}")


def _columns(loss: str, embeddings: Tensor, labels: Tensor) -> Tensor:
    """Tags `(B, C)` bool or classes `(B, 1)` int64, on the embeddings' device."""
    if labels.dtype == torch.bool:
        if embeddings.ndim != 2 or labels.ndim != 2 or len(labels) != len(embeddings):
            raise InputError(
                f"{loss}: embeddings must be (B, K) and tags (B, C), "
                f"got {tuple(embeddings.shape)} and {tuple(labels.shape)}"
            )
        return labels.to(embeddings.device)
    if labels.is_floating_point():
        raise InputError(f"{loss}: tags must be bool and classes integers, got {labels.dtype}; write labels > 0")
    return finest_column(loss, label_columns(embeddings, labels, None))[:, None]


def _known(columns: Tensor) -> Tensor:
    return columns.new_ones(len(columns)) if columns.dtype == torch.bool else columns[:, 0] >= 0
