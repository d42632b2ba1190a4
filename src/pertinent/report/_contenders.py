"""What figures compare: runs, stores, pairs of stores, and runs that differ in their seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.engine.events import read_events
from pertinent.engine.figures import UNTAGGED, Ranked
from pertinent.engine.judging import Trial, make_trial
from pertinent.engine.run import Run
from pertinent.errors import DataError, InputError, StorageError
from pertinent.relevance import Relevance
from pertinent.store import EmbeddingStore


@dataclass(frozen=True)
class Contender:
    """One run or one measurement of stores; stores are opened when a figure needs them.

    Attributes:
        folder: the run, or the store of the queries.
        run: the run, where it is one.
        held: the store that is measured.
        against: the store that is searched; None where the queries are the gallery.
    """

    folder: Path
    run: Run | None
    held: Path
    against: Path | None = None

    @cached_property
    def store(self) -> EmbeddingStore:
        """The queries; raises StorageError where there is no such store."""
        if not (self.held / "manifest.json").is_file() and self.run is not None:
            there = sorted(path.parent.name for path in (self.folder / "stores").glob("*/manifest.json"))
            known = f"there are {', '.join(there)}; choose one by --store" if there else "let its training end first"
            raise StorageError(f"{self.folder} has no store {self.held.name!r}: {known}")
        return EmbeddingStore.open(self.held)

    @cached_property
    def gallery(self) -> EmbeddingStore | None:
        """The items, where they are others than the queries."""
        return None if self.against is None else EmbeddingStore.open(self.against)

    @property
    def items(self) -> EmbeddingStore:
        """The items that are searched."""
        return self.store if self.gallery is None else self.gallery

    @property
    def vectors(self) -> NDArray[np.float32]:
        """Vectors of these items, without those of pictures that are queries only."""
        return self.items.items

    @cached_property
    def trial(self) -> Trial:
        """What is relevant to what; raises DataError where there are no labels."""
        return make_trial(self.store, self.gallery)

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """The log; raises InputError for a store."""
        if self.run is None:
            raise InputError("a store has no log of training; give the run")
        return read_events(self.run.log_path)

    @property
    def kind(self) -> str:
        """Kind of the labels, "none" where there is no store."""
        return self.store.labels.kind if (self.held / "manifest.json").is_file() else "none"

    def ranked(self, similarity: str, ties: str | None) -> Ranked:
        """What is ranked and judged; of landmarks by the medium or classic protocol."""
        trial = self.trial
        word = "medium" if "medium" in trial.relevances else next(iter(trial.relevances))
        relevance = trial.relevances[word]
        return Ranked(trial.queries, trial.gallery, relevance, self._levels(relevance), similarity, ties)

    def groups(self) -> list[str]:
        """Name of each item's coarsest class or of its combination of tags.

        Raises:
            DataError: labels that name no groups.
        """
        labels = self.items.labels
        if labels.kind not in ("classes", "tree", "tags"):
            raise DataError(f"labels of kind {labels.kind} have no names to colour by")
        words = (labels.words(row) for row in range(len(self.vectors)))
        if labels.kind == "tags":
            return [" + ".join(names) or UNTAGGED for names in words]
        return [names[-1] or UNTAGGED for names in words]

    def _levels(self, relevance: Relevance) -> Relevance:
        if relevance.kind != "tags":
            return relevance
        asked, held = self.trial.labels, self.trial.gallery_labels
        own = None if held is None else relevance.query_positions
        return Relevance.tags(asked, held, graded=True, query_positions=own)  # type: ignore[arg-type]


def open_contender(folder: Path, store: str = "best") -> Contender:
    """A run by one of its stores, or a store.

    Raises:
        StorageError: the folder is neither.
    """
    if (folder / "recipe.yaml").is_file():
        run = Run.open(folder)
        return Contender(folder, run, run.store(store))
    if (folder / "manifest.json").is_file():
        return Contender(folder, None, folder)
    raise StorageError(
        f"{folder} is neither a run (recipe.yaml is missing) nor a store of embeddings (manifest.json is missing)"
    )


def open_pair(queries: Path, gallery: Path) -> Contender:
    """Two stores; raises StorageError where one is missing."""
    for path in (queries, gallery):
        EmbeddingStore.open(path)
    return Contender(queries, None, queries, gallery)


def name_contenders(
    contenders: Sequence[Contender], names: Sequence[str] = (), group: bool = False
) -> dict[str, list[Contender]]:
    """The lines of the figures by name: each contender, or all seeds of a recipe together.

    Args:
        contenders: in the order of the legend.
        names: one a line; by default those of the folders.
        group: put runs together whose recipes differ in `train.seed` alone.

    Raises:
        InputError: no contender, one twice, names that are too few, too many or not distinct, or a group of stores.
    """
    if not contenders:
        raise InputError("there is nothing to draw; give runs, stores, or --query and --gallery")
    folders = [(one.held.resolve(), one.against and one.against.resolve()) for one in contenders]
    twice = next((one for one, place in zip(contenders, folders, strict=True) if folders.count(place) > 1), None)
    if twice is not None:
        raise InputError(f"{twice.folder} is given twice")
    lines = _groups(contenders) if group else [[one] for one in contenders]
    words = list(names) or _short_names([line[0].folder for line in lines])
    if not names and group:
        words = [
            word if len(line) == 1 else f"{word} ({len(line)} seeds)" for word, line in zip(words, lines, strict=True)
        ]
    if len(words) != len(lines) or len(set(words)) < len(words):
        raise InputError(
            f"--names must be {len(lines)} distinct names, one a line of the figures; got {', '.join(words)}"
        )
    return dict(zip(words, lines, strict=True))


def _groups(contenders: Sequence[Contender]) -> list[list[Contender]]:
    found: list[tuple[dict[str, Any], list[Contender]]] = []
    for one in contenders:
        if one.run is None:
            raise InputError(f"--group puts seeds of one recipe together, {one.folder} is a store; give the runs")
        recipe = one.run.recipe().model_dump(exclude={"train": {"seed"}})
        for known, members in found:
            if known == recipe:
                members.append(one)
                break
        else:
            found.append((recipe, [one]))
    return [members for _, members in found]


def _short_names(folders: Sequence[Path]) -> list[str]:
    """Folder names, with as many parents as tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]
