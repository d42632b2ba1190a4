"""`LabelCounter`: how many items carry each label, kept up to date as items come and go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from pertinent.index import Index


class LabelCounter:
    """Counts label words level by level when they are first asked for; the caller sees to it that calls take turns.

    Args:
        index: whose items are counted.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        self._counts: list[Counter[str]] | None = None

    def levels(self) -> list[dict[str, Any]]:
        """Each level's name and its words with their counts, most frequent first."""
        if self._counts is None:
            self._counts = self._counted()
        labels, levels = self.index.store.labels, []
        for level, counter in enumerate(self._counts):
            name = labels.level_names[level] if level < len(labels.level_names) else labels.kind
            counted = [{"name": word, "count": count} for word, count in counter.most_common() if word]
            levels.append({"level": name, "labels": counted})
        return levels

    def change(self, before: Sequence[str] | None, after: Sequence[str] | None) -> None:
        """An item was replaced, added (nothing before) or deleted (nothing after)."""
        if self._counts is None:
            return
        for words, step in ((before, -1), (after, 1)):
            for level, word in enumerate(words or ()):
                self._level(self._counts, level)[word] += step

    def _counted(self) -> list[Counter[str]]:
        labels = self.index.store.labels
        if not self.index.changed and labels.values is not None:
            return self._counted_by_column()
        counts: list[Counter[str]] = [Counter() for _ in labels.class_names]
        for position in np.flatnonzero(self.index.allowed()).tolist():
            for level, word in enumerate(self.index.item(position).words):
                self._level(counts, level)[word] += 1
        return counts

    def _counted_by_column(self) -> list[Counter[str]]:
        labels = self.index.store.labels
        assert labels.values is not None
        values, counts = labels.values[: len(self.index.store.items)], []
        for level, names in enumerate(labels.class_names):
            if labels.kind == "tags":
                numbers = values.astype(bool).sum(axis=0)
            else:
                column = values.reshape(len(values), -1)[:, level]
                numbers = np.bincount(column[column >= 0], minlength=len(names))
            counts.append(Counter(dict(zip(names, numbers.tolist(), strict=True))))
        return counts

    def _level(self, counts: list[Counter[str]], level: int) -> Counter[str]:
        """The counter of a word's level; all tags, and all words where the collection has no labels, are of one."""
        if self.index.store.labels.kind in ("tags", "none", "judged"):
            level = 0
        while len(counts) <= level:
            counts.append(Counter())
        return counts[level]
