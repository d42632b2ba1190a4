"""`Index`: a searchable collection, that is a store of embeddings and a structure that finds neighbours in it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pertinent.errors import InputError, StorageError
from pertinent.files import clear_unfinished, new_folder, recover_folder
from pertinent.index import INDEXES
from pertinent.index._base import Base, Item, comparable
from pertinent.index._changes import DONE, Delete, Put
from pertinent.index._checks import (
    Metadata,
    checked_vectors,
    columns_of,
    facts_of,
    fitted_put,
    row_of_item,
    row_of_position,
)
from pertinent.index._compact import compacted
from pertinent.index._journal import JOURNAL, Writer, lock, recorded, records
from pertinent.index._saved import CHANGES, OWN, STORE, is_index, read_facts, read_index, verify_index, write
from pertinent.index._search import Finder
from pertinent.index._view import View
from pertinent.index._where import Where
from pertinent.pipeline import Pipeline
from pertinent.store import EmbeddingStore


@dataclass(frozen=True)
class Hits:
    """What a search found for Q queries: ids, scores and positions, each `(Q, k)`, best first.

    A filter or a database may leave a row shorter than the others; it ends with id "", score -inf and position -1.
    """

    ids: list[list[str]]
    scores: NDArray[np.float32]
    positions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


class Index:
    """A searchable collection; `build` it from a store, `save` it, `open` it, `search` it, `put` and `delete` items.

    Scores are cosines, as in evaluation, whether or not the vectors have length 1; after a re-ranking, its scores. The
    last rows of a store whose labels have `probes` are queries only: no search finds them.

    Positions number items for good: those of the store from 0, then each that is put. One that is put again under its
    id takes a new position, and a position is never used twice.

    Any number of threads may search while one changes the index; a search sees what was there when it began. Changes
    are kept in memory until the index is saved; from then on, and after `open`, they are on disk when the call returns.

    Args:
        view: what is there.
        folder: where it is saved.
        facts: what `index.json` there says.
        length: bytes of the journal that are whole.
    """

    def __init__(
        self, view: View, folder: Path | None = None, facts: Mapping[str, Any] | None = None, length: int = 0
    ) -> None:
        self._view, self.folder = view, folder
        self._build, self._length = (facts or {}).get("build"), length
        self.measured: dict[str, Any] | None = (facts or {}).get("measured")
        self._writer: Writer | None = None
        self._changing = threading.RLock()

    def __len__(self) -> int:
        return self._view.living

    @property
    def store(self) -> EmbeddingStore:
        """The collection that the structure was built over."""
        return self._view.base.store

    @property
    def kind(self) -> str:
        """Kind of the structure."""
        return self._view.base.kind

    @property
    def structure(self) -> Any:
        """What finds neighbours among `items`."""
        return self._view.base.structure

    @property
    def pipeline(self) -> Pipeline:
        """Stages that queries go through, and that the items went through."""
        return self._view.base.pipeline

    @property
    def items(self) -> NDArray[np.float32]:
        """`(N, K)` the store's items as they are compared."""
        return self._view.base.items

    @property
    def by_sign(self) -> bool:
        """Whether only the signs of vectors are compared."""
        return bool(getattr(self.structure, "by_sign", False))

    @property
    def options(self) -> dict[str, Any]:
        """Options of the kind, as they were given or tuned."""
        return self._view.base.options

    @property
    def changed(self) -> bool:
        """Whether items were put or deleted since the structure was built."""
        return self._view.changed

    @classmethod
    def build(
        cls,
        store: EmbeddingStore,
        kind: str = "exact",
        *,
        pipeline: Pipeline | None = None,
        metadata: Mapping[str, Metadata] | None = None,
        **options: Any,
    ) -> Index:
        """Build the structure over a store's vectors; those that are not of length 1 are copied into memory for it.

        Args:
            store: the collection.
            kind: see `pertinent list indexes`; the URL of a database names its kind too.
            pipeline: fitted stages of post-processing; the items go through them now, queries when they are asked.
            metadata: flat values of items by their ids; an item may have none.
            options: of the kind.

        Raises:
            UnknownNameError: no such kind, or metadata of an id that the store does not have.
            ConfigError: an option that the kind does not take.
            InputError: a pipeline that is not fitted, or to other vectors; an option out of range; metadata that is no
                text, number or truth value.
            MissingDependencyError: the kind needs a library that is not installed.
        """
        if "://" in kind:
            kind, options = kind.partition("://")[0], {"url": kind, **options}
        pipeline = pipeline or Pipeline()
        columns = columns_of(store, metadata or {})
        if pipeline.changes_items:
            items = pipeline.items(store.items)
        else:
            items = comparable(store, kind, pipeline)
        member = INDEXES.get(kind)
        known = facts_of(store, columns, len(items)) if getattr(member, "needs_items", False) else {}
        structure = INDEXES.build(kind, vectors=items, **known, **options)
        kept = {} if known else options
        return cls(View.of(Base(store, kind, structure, pipeline, items, columns, len(store), kept)))

    def save(self, folder: Path | str) -> None:
        """Write `index.json` into a folder; it points to the store by a relative path, so both can move together.

        Stages are saved in `pipeline/`, items that they changed in `vectors.npy`, a structure's files in `structure/`,
        ids in `names/`, metadata in `metadata/` and what was changed in `changes/`. From then on changes go there.

        Raises:
            StorageError: the folder cannot be written, or holds an index that another changes or has changed, which
                would be lost.
        """
        with self._changing:
            self._write(Path(folder), self._view)

    @classmethod
    def open(cls, folder: Path | str) -> Index:
        """Open a saved index.

        Raises:
            StorageError: missing or damaged, or the store beside it is gone or is another one.
        """
        folder = Path(folder)
        recover_folder(folder)
        read = read_index(folder)
        if read.view.base.live and read.last not in (None, DONE):
            read.view.send(range(read.view.count))
        return cls(read.view, folder, read.facts, read.length)

    @staticmethod
    def verify(folder: Path | str) -> None:
        """Compare all files of a saved index and its store with their checksums.

        Raises:
            StorageError: one is damaged, or it cannot be opened.
        """
        verify_index(Path(folder))

    @staticmethod
    def has_changes(folder: Path | str) -> bool:
        """Whether the index in a folder, which need not open, has had items put or deleted since it was first built.

        Raises:
            StorageError: what was changed cannot be read.
        """
        folder = Path(folder)
        # Compacting writes the changed items into a store of the index's own.
        return (folder / STORE).is_dir() or any(True for _ in records(folder / CHANGES / JOURNAL))

    @staticmethod
    def check_replaced(folder: Path | str) -> None:
        """Raise StorageError where a new index would take the place of one with changes, which are nowhere else."""
        if Index.has_changes(folder):
            raise StorageError(
                f"the index in {folder} holds items that were put or deleted since it was first built, and another in "
                "its place would lose that; choose another folder, or delete this one. To build anew with them: "
                f"pertinent index {folder} --compact, and for another kind then: pertinent index "
                f"{Path(folder) / STORE} --out NEW"
            )

    def close(self) -> None:
        """Let others change the saved index; searching goes on."""
        with self._changing:
            if self._writer is not None:
                self._length = self._writer.length
                self._writer.close()
                self._writer = None

    def search(self, vectors: NDArray[np.float32] | torch.Tensor, k: int = 10, where: Where | None = None) -> Hits:
        """The k nearest items of each vector, as the stages of the pipeline rank them.

        Args:
            vectors: `(Q, D)`, or `(D,)` for one.
            k: how many items; no more than there are come back.
            where: which items may be found; stages see no others either. All, when None.

        Raises:
            InputError: another D, values that are not finite, or k < 1.
            UnknownNameError: a label or a key of metadata that no item has.
        """
        view = self._view
        queries = checked_vectors(vectors, view.base.store.dim, "queries", "a query vector")
        if k < 1:
            raise InputError(f"k must be at least 1, got {k}")
        finder = Finder(view, view.allowed(where), where)
        pipeline = view.base.pipeline
        ready = pipeline.queries(queries, finder.items, finder)
        scores, rows = pipeline.rank(ready, finder.items, finder, k)
        ids = [[view.name(row) for row in line] for line in rows.tolist()]
        return Hits(ids, scores, view.base.positions(rows))

    def put(
        self,
        ids: Sequence[str],
        vectors: NDArray[np.float32] | torch.Tensor,
        words: Sequence[Sequence[str]] | None = None,
        places: Sequence[str] | None = None,
        metadata: Sequence[Metadata] | None = None,
    ) -> None:
        """Add items, or replace those of the same ids; on disk when it returns, where the index has a folder.

        Whitenings are applied to them at once; stages that look at the whole collection (`dba`) reach them with
        `compact`.

        Args:
            ids: n names, none twice.
            vectors: `(n, D)` as embedded.
            words: n lists of label words, fine first; no more of them than the collection has levels.
            places: n paths or descriptions, `ids` when None.
            metadata: n flat mappings.

        Raises:
            InputError: counts that differ, what cannot be stored, or the id of a query.
            StorageError: it cannot be written, or another changes the index.
        """
        given = checked_vectors(vectors, self.store.dim, "vectors", "a vector")
        change = Put.of(ids, given, words, places, metadata)
        with self._changing:
            view = self._view
            change = fitted_put(view, change)
            if not change.ids:
                return
            compared = view.base.prepared(change.vectors)
            with recorded(self._writing(), change.encode()):
                new = view.put(change, compared)
                if new.base.live:
                    new.send(range(view.count, new.count))
            self._publish(new)

    def delete(self, ids: Sequence[str]) -> None:
        """Take items away; on disk when it returns, where the index has a folder.

        Raises:
            UnknownNameError: an id that no item has; nothing was deleted.
            InputError: the id of a query, which is no item.
            StorageError: it cannot be written, or another changes the index.
        """
        with self._changing:
            view = self._view
            rows = sorted({row_of_item(view, name) for name in ids})
            if not rows:
                return
            with recorded(self._writing(), Delete(rows).encode()):
                if view.base.live:
                    view.base.structure.remove(view.base.positions(np.array(rows)).tolist())
            self._publish(view.without(rows))

    def claim(self) -> None:
        """Keep others from changing the saved index until `close`; the first change does so by itself.

        Raises:
            StorageError: another changes it, or has changed it since it was opened, or it cannot be written.
        """
        with self._changing:
            self._writing()

    def compact(self) -> None:
        """Build the structure again over what is there now, with all stages, and empty the journal.

        The items move into a store in the index's own folder; their positions stay. Nothing is done where a database
        holds them, or where nothing was changed. Searches go on meanwhile, changes wait.

        Raises:
            InputError: the index was never saved, or nothing is left in it.
            StorageError: it cannot be written, or another changes the index.
        """
        with self._changing:
            view = self._view
            if view.base.live or not view.changed:
                return
            if self.folder is None:
                raise InputError("an index is compacted in its folder; save it first")
            if not view.living:
                raise InputError("no items are left; put some first, or delete the folder of the index")
            self._writing()
            self._write(self.folder, view, anew=True)

    def item(self, position: int) -> Item:
        """What is known of the item at a position, or of a query of the store; of a deleted one too until `compact`.

        Raises:
            InputError: nothing is there.
        """
        view = self._view
        return view.item(row_of_position(view, position))

    def position(self, name: str) -> int | None:
        """Position of the item, or of the query of the store, that has this id now; None where none has."""
        view = self._view
        row = view.row(name)
        return None if row is None else view.base.position(row)

    def vector(self, position: int) -> NDArray[np.float32]:
        """`(D,)` the vector at a position as it was embedded, before any stage.

        Raises:
            InputError: nothing is there.
        """
        view = self._view
        row, start = row_of_position(view, position), len(view.base)
        return np.array(view.base.store.vectors[row] if row < start else view.given[row - start], np.float32)

    def allowed(self, where: Where | None = None) -> NDArray[np.bool_]:
        """`(P,)` whether the item at each position that was ever given may be found.

        Raises:
            UnknownNameError: a label or a key of metadata that no item has.
        """
        view = self._view
        mask = np.zeros(view.base.first + view.count, bool)
        mask[view.base.positions(np.flatnonzero(view.allowed(where)))] = True
        return mask

    def _writing(self) -> Writer | None:
        """The writer of the saved index; None where it has no folder."""
        if self._writer is None and self.folder is not None:
            folder, build = self.folder, self._build
            self._writer = Writer(folder / CHANGES, self._length, lambda: read_facts(folder).get("build") == build)
        return self._writer

    def _publish(self, view: View) -> None:
        if view.base.live and self._writer is not None:
            # Without it the next to open the index sends the change again, which does no harm.
            with contextlib.suppress(StorageError):
                self._writer.append(DONE.encode())
        self._view = view

    def _write(self, folder: Path, view: View, anew: bool = False) -> None:
        mine = self.folder is not None and self.folder.resolve() == folder.resolve() and is_index(folder)
        if mine:
            self._writing()
        else:
            self.check_replaced(folder)
        guard = lock(folder / CHANGES) if not mine and (folder / CHANGES).is_dir() else None
        try:
            if mine or guard is not None:
                clear_unfinished(folder.parent, [folder.name])
            with new_folder(folder, own=OWN) as temporary:
                kept = compacted(view, temporary / STORE) if anew else view
                write(temporary, folder, kept, self.measured)
        finally:
            if guard is not None:
                os.close(guard)
        self.close()
        self.folder, self._build = folder, read_facts(folder)["build"]
        self._length = (folder / CHANGES / JOURNAL).stat().st_size
        if anew:
            self._view = read_index(folder).view
