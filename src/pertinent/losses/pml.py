"""Losses and miners of pytorch-metric-learning on trees and tags, and ours in its place."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pertinent.errors import InputError, MissingDependencyError, UnknownNameError
from pertinent.functional.relevance import tag_levels
from pertinent.functional.scores import widen
from pertinent.losses._batch import check_own, check_references, label_columns, labelled

__all__ = ["PMLLoss", "as_pml_loss"]

LABEL_FREE = frozenset(
    f"{name}Loss"
    for name in (
        "Circle",
        "Contrastive",
        "GeneralizedLiftedStructure",
        "IntraPairVariance",
        "LiftedStructure",
        "Margin",
        "MultiSimilarity",
        "NTXent",
        "SignalToNoiseRatioContrastive",
        "SupCon",
        "TripletMargin",
        "TupletMargin",
    )
)
"""Losses of pytorch-metric-learning that work on pairs alone, as its documentation lists them."""

Labelled = tuple[Tensor, Tensor]
Mined = tuple[Tensor, ...]


class PMLLoss(nn.Module):
    """A loss of pytorch-metric-learning, with a miner if wanted, on a tree's level or levels and on tags.

    Reference: Musgrave, Belongie, Lim, "PyTorch Metric Learning", 2020. The library is optional.

    Shapes: embeddings `(B, D)`; labels `(B,)` or `(B, L)` int64 with column 0 finest, or `(B, C)` bool tags; ref_emb
    `(R, D)` and ref_labels alike. Embeddings go in as float32 or wider, whatever autocast says.

    On a tree one column is used, or with `weights` the weighted sum over all columns, one call each. Rows labelled -1
    in that column are left out. Two images are a positive pair when they share a tag and a negative one when they share
    none; images without tags are left out. Tags need a loss that works on pairs alone; a miner is then called for every
    image against all others, since its pairs are its own. Parameters of the loss and the miner are parameters of this
    module.

    Without any labelled row the loss is 0 with a zero gradient.

    Args:
        inner: a loss of that library, or the name of its class, such as `MultiSimilarityLoss`.
        miner: a miner of that library, or the name of its class; mining takes no part in the gradient.
        level: the label column, 0 finest.
        weights: one for each label column, instead of `level`.
        options: constructor options where `inner` is a name.
        miner_options: constructor options where `miner` is a name.

    Raises:
        MissingDependencyError: a name is given and the library is not installed.
        UnknownNameError: it has no such loss or miner; the message suggests the nearest.
        InputError: options that nothing takes, wrong shapes, tags for a loss that needs classes, or an `indices_tuple`
            beside a miner or `weights`.
    """

    def __init__(
        self,
        inner: nn.Module | str,
        miner: nn.Module | str | None = None,
        level: int = 0,
        *,
        weights: Sequence[float] | None = None,
        options: Mapping[str, Any] | None = None,
        miner_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if weights is not None and level != 0:
            raise InputError(f"give either level={level} or weights, which use all columns")
        self.inner = _member("losses", inner, options)
        if miner is None and miner_options:
            raise InputError("miner_options belong to a miner given by name")
        self.miner = None if miner is None else _member("miners", miner, miner_options)
        self.level, self.weights = level, None if weights is None else tuple(weights)

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Any = None,
        ref_emb: Tensor | None = None,
        ref_labels: Tensor | None = None,
        *,
        ref_includes_query: bool = False,
    ) -> Tensor:
        """Loss of a batch, as the inner loss reduces it.

        With `ref_includes_query` the first B references are the batch itself, and pairs of an item with itself are left
        out.
        """
        check_references(ref_emb, ref_labels)
        check_own(embeddings, ref_emb, ref_includes_query)
        if indices_tuple is not None and (self.miner is not None or self.weights is not None):
            raise InputError("PMLLoss mines for itself or once a level; an indices_tuple fits neither, leave it None")
        with torch.autocast(embeddings.device.type, enabled=False):
            batch = widen(embeddings), labels
            references = None if ref_emb is None or ref_labels is None else (widen(ref_emb), ref_labels)
            if labels.dtype == torch.bool:
                return self._on_tags(batch, references, indices_tuple, ref_includes_query)
            if self.weights is None:
                return self._on_level(self.level, batch, references, indices_tuple, ref_includes_query)
            label_columns(embeddings, labels, None, len(self.weights))
            terms = [
                w * self._on_level(level, batch, references, None, ref_includes_query)
                for level, w in enumerate(self.weights)
            ]
            return torch.stack(terms).sum()

    def _on_level(
        self, level: int, batch: Labelled, references: Labelled | None, mined: Mined | None, own: bool
    ) -> Tensor:
        embeddings, classes, rows = _labelled_rows(batch, level)
        items, item_classes, item_rows = (None, None, rows) if references is None else _labelled_rows(references, level)
        if mined is not None:
            mined = _renumber(mined, rows, item_rows)
        elif self.miner is not None and len(embeddings):
            mined = self.miner(embeddings.detach(), classes, items, item_classes)
            mined = _others(mined) if own else mined
        elif own and item_classes is not None:
            same = classes[:, None] == item_classes[None, :]
            mined = _others((*same.nonzero(as_tuple=True), *(~same).nonzero(as_tuple=True)))
        if not len(embeddings):
            return _nothing(batch[0])
        result: Tensor = self.inner(embeddings, classes, mined, items, item_classes)
        return result

    def _on_tags(self, batch: Labelled, references: Labelled | None, mined: Mined | None, own: bool) -> Tensor:
        names = {kind.__name__ for kind in type(self.inner).__mro__}
        if not names & LABEL_FREE:
            raise InputError(
                f"{type(self.inner).__name__} needs classes and cannot take tags; these losses work on pairs alone: "
                f"{', '.join(sorted(LABEL_FREE))}"
            )
        if self.weights is not None:
            raise InputError("weights are for the columns of a tree, and bool labels are tags; leave weights None")
        (embeddings, tags), (items, item_tags) = batch, references or batch
        for vectors, values in ((embeddings, tags), (items, item_tags)):
            if values.ndim != 2 or len(values) != len(vectors) or values.shape[1] != tags.shape[1]:
                raise InputError(
                    f"tags must be (B, C) bool, the same C for all, got {tuple(values.shape)} for {len(vectors)} rows"
                )
        known = tags.any(1)[:, None] & item_tags.any(1)[None, :]
        if references is None or own:
            known.fill_diagonal_(False)
        shared = tag_levels(tags, item_tags) > 0
        if mined is None and self.miner is not None:
            mined = _mine_each(self.miner, embeddings.detach(), items.detach(), shared, known)
        elif mined is None:
            mined = (*(known & shared).nonzero(as_tuple=True), *(known & ~shared).nonzero(as_tuple=True))
        if not known.any():
            return _nothing(embeddings)
        result: Tensor = self.inner(embeddings, None, mined, None if references is None else items, None)
        return result


def as_pml_loss(loss: nn.Module) -> nn.Module:
    """One of our losses as a `BaseMetricLossFunction`, for those parts of pytorch-metric-learning that insist on it.

    Its trainers, `MultipleLosses` and plain loops take our losses as they are; `DistributedLossWrapper` does not. The
    result has our loss as its attribute `loss`, takes the labels that our loss takes, and reduces nothing further.

    Raises:
        MissingDependencyError: the library is not installed.
    """
    base = _library("losses").BaseMetricLossFunction

    class PertinentLoss(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.loss = loss

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return self.loss(*args, **kwargs)

    return PertinentLoss()


def _library(part: str) -> Any:
    try:
        return importlib.import_module(f"pytorch_metric_learning.{part}")
    except ImportError as error:
        raise MissingDependencyError(
            f"{part} of pytorch-metric-learning are asked for; install it: pip install pytorch-metric-learning"
        ) from error


def _member(part: str, given: nn.Module | str, options: Mapping[str, Any] | None) -> nn.Module:
    if not isinstance(given, str):
        if options:
            raise InputError(f"options {dict(options)} belong to a {part[:-1]} given by name, not to a built one")
        return given
    library = _library(part)
    known = [name for name in vars(library) if name[0].isupper() and not name.startswith("Base")]
    if given not in known:
        raise UnknownNameError(f"pytorch-metric-learning {part[:-1]}", given, known)
    try:
        made: nn.Module = getattr(library, given)(**(options or {}))
    except TypeError as error:
        raise InputError(f"{given}: {error}") from error
    return made


def _nothing(embeddings: Tensor) -> Tensor:
    """A zero that knows the embeddings, so that going backward from it works."""
    return embeddings.sum() * 0


def _labelled_rows(batch: Labelled, level: int) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings and classes of the rows that have a label at the level, and which rows these are, `(B,)` bool."""
    column = label_columns(*batch, level)
    rows = labelled(column)
    return batch[0][rows], column[rows, 0], rows


def _sides(mined: Mined) -> str:
    """Where the mined positions point: a for anchors, i for items."""
    return "aii" if len(mined) == 3 else "aiai"


def _others(mined: Mined) -> Mined:
    """Mined positions without those where an anchor is its own positive; references begin with the batch."""
    keep = mined[0] != mined[1]
    near = [part[keep] for part in mined[:2]]
    return (*near, mined[2][keep]) if len(mined) == 3 else (*near, *mined[2:])


def _renumber(mined: Mined, rows: Tensor, item_rows: Tensor) -> Mined:
    """Mined positions among the labelled rows alone; pairs and triplets with others are dropped."""
    masks = [rows if side == "a" else item_rows for side in _sides(mined)]
    kept = [mask[part] for mask, part in zip(masks, mined, strict=True)]
    whole = [kept[0] & kept[1] & kept[2]] * 3 if len(mined) == 3 else [kept[0] & kept[1]] * 2 + [kept[2] & kept[3]] * 2
    return tuple((mask.cumsum(0) - 1)[part[keep]] for mask, part, keep in zip(masks, mined, whole, strict=True))


def _mine_each(miner: nn.Module, embeddings: Tensor, items: Tensor, shared: Tensor, known: Tensor) -> Mined:
    """Mine for every anchor by itself, with the class `shares a tag with the anchor` for its items."""
    found: list[Mined] = []
    one = torch.ones(1, dtype=torch.int64, device=embeddings.device)
    for anchor in known.any(1).nonzero()[:, 0]:
        others = known[anchor].nonzero()[:, 0]
        mined = miner(embeddings[anchor][None], one, items[others], shared[anchor, others].long())
        places = zip(_sides(mined), mined, strict=True)
        found.append(tuple(others[part] if side == "i" else anchor.expand_as(part) for side, part in places))
    if not found:
        return tuple(one.new_empty(0) for _ in range(4))
    return tuple(torch.cat(parts) for parts in zip(*found, strict=True))
