"""What the losses on labelled batches share: checks of their arguments, scores and levels, and the reduction.

Letters: B batch, L levels.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from pertinent.errors import InputError
from pertinent.functional.scores import dot_scores

Reduction = Literal["mean", "sum", "none", "avg_non_zero"]


def refuse_pairs(loss: str, indices_tuple: Any) -> None:
    """Raise InputError when mined pairs or triplets are given to a loss that cannot use them."""
    if indices_tuple is not None:
        raise InputError(f"{loss} looks at whole rows of scores and cannot use indices_tuple; leave it None")


def refuse_references(loss: str, ref_emb: Any, ref_labels: Any) -> None:
    """Raise InputError when references are given to a loss that compares with its proxies."""
    if ref_emb is not None or ref_labels is not None:
        raise InputError(f"{loss} compares with its proxies and cannot use ref_emb and ref_labels; leave them None")


def check_references(ref_emb: Any, ref_labels: Any) -> None:
    """Raise InputError when only one of references and their labels is given."""
    if (ref_emb is None) != (ref_labels is None):
        raise InputError("ref_emb and ref_labels belong together; give both or neither")


def check_own(embeddings: Tensor, ref_emb: Tensor | None, ref_includes_query: bool) -> None:
    """Raise InputError when the references cannot begin with the batch as `ref_includes_query` says."""
    if ref_includes_query and (ref_emb is None or len(ref_emb) < len(embeddings)):
        found = "none" if ref_emb is None else len(ref_emb)
        raise InputError(
            f"ref_includes_query says that ref_emb begins with the {len(embeddings)} embeddings of the batch, "
            f"but there are {found} references"
        )


def check_reduction(reduction: str, known: tuple[str, ...] = get_args(Reduction)) -> None:
    """Raise InputError for a reduction that does not exist."""
    if reduction not in known:
        raise InputError(f"reduction must be one of {', '.join(map(repr, known))}, got {reduction!r}")


def label_columns(embeddings: Tensor, labels: Tensor, level: int | None, levels: int | None = None) -> Tensor:
    """Labels as `(B, L)` int64 on the embeddings' device, cut to one column when `level` says so.

    Raises:
        InputError: not integers, another number of rows than the embeddings, another number of columns than `levels`,
            or no column `level`.
    """
    if labels.dtype == torch.bool or labels.is_floating_point():
        raise InputError(f"labels must be integers (B,) or (B, L), column 0 finest; got dtype {labels.dtype}")
    if embeddings.ndim != 2 or labels.ndim not in (1, 2) or len(labels) != len(embeddings):
        raise InputError(
            f"embeddings must be (B, D) and labels (B,) or (B, L), "
            f"got {tuple(embeddings.shape)} and {tuple(labels.shape)}"
        )
    columns = labels.reshape(len(labels), labels.shape[1] if labels.ndim == 2 else 1).to(embeddings.device, torch.int64)
    if levels is not None and columns.shape[1] != levels:
        raise InputError(f"levels={levels} was declared but labels have {columns.shape[1]} columns")
    if level is None:
        return columns
    if not 0 <= level < columns.shape[1]:
        raise InputError(f"level={level} was asked for but labels have columns 0..{columns.shape[1] - 1}")
    return columns[:, level : level + 1]


def labelled(columns: Tensor) -> Tensor:
    """`(B,)` bool: rows without a -1 (unlabelled) in any column."""
    return (columns >= 0).all(1)


def check_range(classes: Tensor, num_classes: int, loss: str, level: int) -> None:
    """Raise InputError for a class that has no proxy.

    Only on the CPU: on a GPU the host would have to wait for the answer, and torch itself stops at such a label.
    """
    if classes.device.type == "cpu" and classes.numel() and int(classes.max()) >= num_classes:
        raise InputError(
            f"label {int(classes.max())} in column {level} is outside 0..{num_classes - 1}; "
            f"give {loss} the number of training classes, or -1 for unlabelled items"
        )


def rank_batch(
    embeddings: Tensor,
    labels: Tensor,
    ref_emb: Tensor | None,
    ref_labels: Tensor | None,
    *,
    level: int | None,
    levels: int | None = None,
) -> tuple[Tensor, Tensor, int]:
    """Scores `(Q, B)`, levels of the pairs `(Q, B)` int16, and the highest level L, of a batch against its references.

    The references default to the batch itself. A pair has level -1 (ignore) where the query or the item is unlabelled.

    Raises:
        InputError: as `label_columns`, or only one of `ref_emb` and `ref_labels`.
    """
    check_references(ref_emb, ref_labels)
    items, item_columns = embeddings, label_columns(embeddings, labels, level, levels)
    columns = item_columns
    if ref_emb is not None and ref_labels is not None:
        items, item_columns = ref_emb, label_columns(ref_emb, ref_labels, level, levels)
    return dot_scores(embeddings, items), pair_levels(columns, item_columns), columns.shape[1]


def pair_masks(
    embeddings: Tensor,
    labels: Tensor,
    ref_emb: Tensor | None,
    ref_labels: Tensor | None,
    *,
    level: int,
    ref_includes_query: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Items `(B, D)` to compare with, and which pairs `(Q, B)` are relevant and which irrelevant at one level.

    Without references the batch is compared with itself, and no item with itself; so it is too with the first B of
    references that begin with the batch. Pairs with an unlabelled row are neither.

    Raises:
        InputError: as `rank_batch`.
    """
    check_references(ref_emb, ref_labels)
    check_own(embeddings, ref_emb, ref_includes_query)
    columns = label_columns(embeddings, labels, level)
    if ref_emb is None or ref_labels is None:
        levels = pair_levels(columns, columns).fill_diagonal_(-1)
        return embeddings, levels > 0, levels == 0
    levels = pair_levels(columns, label_columns(ref_emb, ref_labels, level))
    if ref_includes_query:
        levels.fill_diagonal_(-1)
    return ref_emb, levels > 0, levels == 0


def pair_levels(columns: Tensor, item_columns: Tensor) -> Tensor:
    """Levels of all pairs, `(Q, B)` int16, -1 where the query or the item is unlabelled in any column."""
    if columns.shape[1] != item_columns.shape[1]:
        raise InputError(
            f"queries have {columns.shape[1]} label columns and items {item_columns.shape[1]}; give both the same"
        )
    levels = torch.zeros(len(columns), len(item_columns), dtype=torch.int16, device=columns.device)
    for ours, theirs in zip(columns.T, item_columns.T, strict=True):
        levels += ours[:, None] == theirs[None, :]
    levels.masked_fill_(~labelled(columns)[:, None], -1)
    return levels.masked_fill_(~labelled(item_columns)[None, :], -1)


def reduce_queries(losses: Tensor, defined: Tensor, reduction: Reduction) -> Tensor:
    """Reduce `(Q,)` losses; `mean` runs over the queries whose loss is `defined`, `avg_non_zero` over losses > 0."""
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    chosen = defined if reduction == "mean" else losses > 0
    return (losses * chosen).sum() / chosen.sum().clamp(min=1)
