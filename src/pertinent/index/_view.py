"""What an index holds at one moment: what was built, what was added since, and which of all this is still there.

Rows number what is held: the store's from 0, then the added ones. Positions are what the world sees, and stay the same
when `compact` leaves out rows.

Letters: S rows of the store, N of them items, n added rows, R rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError, UnknownNameError
from pertinent.index._base import Base, Both, Item, Mask, Vectors
from pertinent.index._changes import Added, Put
from pertinent.index._names import near
from pertinent.index._where import Where


@dataclass(frozen=True)
class View:
    """What is there at one moment; never changes, so a reader that holds one is not disturbed by a writer.

    Attributes:
        base: what was built.
        added: items that came later, of which this view sees the first `count`.
        count: n.
        alive: `(S + n,)` the rows that may be found: no queries only, nothing deleted or replaced.
        living: how many these are.
    """

    base: Base
    added: Added
    count: int
    alive: Mask
    living: int

    @classmethod
    def of(cls, base: Base) -> View:
        """A view of what was built, without changes."""
        alive = np.zeros(len(base), bool)
        alive[: len(base.items)] = True
        added = Added(base.store.dim, base.items.shape[1])
        return cls(base, added, 0, alive, len(base.items))

    @property
    def changed(self) -> bool:
        """Whether anything was put or deleted since the structure was built."""
        return bool(self.count) or self.living < len(self.base.items)

    @cached_property
    def given(self) -> Vectors:
        """`(n, D)` added vectors as embedded."""
        return self.added.given[: self.count]

    @cached_property
    def compared(self) -> Vectors:
        """`(n, K)` added vectors as they are compared."""
        return self.added.compared[: self.count]

    def row(self, name: str) -> int | None:
        """Row that an id names now; a query only has one too."""
        for added in reversed(self.added.rows.get(name, ())):
            if added < self.count:
                row = added + len(self.base)
                return row if self.alive[row] else None
        found = self.base.ids.find(name)
        return found if found is not None and (found >= len(self.base.items) or self.alive[found]) else None

    def name(self, row: int) -> str:
        """Id of a row; that of -1 is empty."""
        if row < 0:
            return ""
        return self.base.ids[row] if row < len(self.base) else self.added.ids[row - len(self.base)]

    def place(self, row: int) -> str:
        """Path or description of a row."""
        return self.base.places[row] if row < len(self.base) else self.added.places[row - len(self.base)]

    def vectors(self, rows: NDArray[np.int64]) -> Vectors:
        """`(R, D)` vectors of rows as embedded."""
        return Both(self.base.store.vectors, len(self.base), self.given)[rows]

    def item(self, row: int) -> Item:
        """What is known of a row."""
        base, added = self.base, self.added
        if row < len(base):
            return Item(base.ids[row], base.places[row], base.store.labels.words(row), base.metadata.item(row))
        row -= len(base)
        return Item(added.ids[row], added.places[row], list(added.words[row]), dict(added.metadata[row]))

    def put(self, put: Put, compared: Vectors) -> View:
        """The view once items are put; the added ones grow, of which this view sees no more than before."""
        replaced = [row for name in put.ids if (row := self.row(name)) is not None]
        self.added.cut(self.count)
        self.added.extend(put, compared)
        alive = np.ones(len(self.base) + len(self.added), bool)
        alive[: len(self.alive)] = self.alive
        return replace(self, count=len(self.added), alive=alive, living=int(np.count_nonzero(alive))).without(replaced)

    def without(self, rows: list[int]) -> View:
        """The view once rows are deleted."""
        alive = self.alive.copy()
        alive[rows] = False
        return replace(self, alive=alive, living=int(np.count_nonzero(alive)))

    def send(self, added: range) -> None:
        """Let a structure that takes changes itself have some of the added items, and forget all that are gone."""
        base, here = self.base, [row for row in added if self.alive[len(self.base) + row]]
        if here:
            numbers = [base.first + row for row in here]
            facts = [[column[row] for row in here] for column in (self.added.words, self.added.metadata)]
            base.structure.put(numbers, [self.added.ids[row] for row in here], self.compared[here], *facts)
        gone = np.flatnonzero(~self.alive)
        gone = gone[(gone < len(base.items)) | (gone >= len(base))]
        if len(gone):
            base.structure.remove(base.positions(gone).tolist())

    def allowed(self, where: Where | None) -> Mask:
        """`(S + n,)` the rows that a search may find.

        Raises:
            UnknownNameError: a label or a key of metadata that no item has. One whose items were all deleted since is
                none of these: it finds nothing until `compact` forgets it.
            InputError: no item has any.
        """
        if not where:
            return self.alive
        allowed = self.alive.copy()
        for word in where.labels:
            allowed &= self._labelled(word)
        for key in where.metadata:
            allowed &= self._having(key, where)
        rows = [row for name in where.ids_not if (row := self.row(name)) is not None]
        allowed[rows] = False
        return allowed

    def _labelled(self, word: str) -> Mask:
        mask = self._mask(self.base.labelled(word), self.added.by_word.get(word))
        mask[len(self.base.items) : len(self.base)] = False  # queries are no items
        if not mask.any():
            known = self._words()
            if not known:
                raise InputError(f"unknown label {word[:100]!r}; no item of this index has a label")
            raise UnknownNameError("label", word[:100], near(word, known))
        return mask

    def _words(self) -> set[str]:
        """The words of the items that are there."""
        added = np.flatnonzero(self.alive[len(self.base) :])
        return self.base.words(self.alive[: len(self.base)]) | {
            word for row in added.tolist() for word in self.added.words[row] if word
        }

    def _having(self, key: str, where: Where) -> Mask:
        metadata, wanted = self.base.metadata, where.values(key)
        known = {*metadata.values, *self.added.by_value}
        if not known:
            raise InputError(
                f"unknown key of metadata {key[:100]!r}; this index has no metadata, build it with some: "
                "pertinent index STORE --metadata FILE"
            )
        if key not in known:
            raise UnknownNameError("key of metadata", key[:100], known)
        built = metadata.having(key, wanted) if key in metadata.values else None
        later = self.added.by_value.get(key, {})
        return self._mask(built, [row for value in wanted for row in later.get(value, ())])

    def _mask(self, built: Mask | None, later: list[int] | None) -> Mask:
        mask = np.zeros(len(self.alive), bool)
        if built is not None:
            mask[: len(self.base)] = built
        rows = np.array(later or (), np.int64)
        mask[len(self.base) + rows[rows < self.count]] = True
        return mask
