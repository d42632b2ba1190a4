"""iNaturalist 2018 in two levels, species and super-category (Van Horn et al., CVPR 2018; HAPPIER's iNat-base)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pertinent.data.datasets._inat import EXPECTED, INaturalist, write_example
from pertinent.data.table import ImageTable

__all__ = ["INatBase"]


class INatBase:
    """iNaturalist-base: photographs of species in super-categories (a tree of 2 levels).

    The layout is HAPPIER's: `train2018.json` (or `categories.json`), the lists `Inaturalist_train_set1.txt` and
    `..._test_set1.txt` in `Inat_dataset_splits` (or beside it), whose lines end in `Group/number/picture`, and the
    pictures under `train_val2018/`. The species of test are never seen in training. Species are numbered in the order
    of their published numbers, over all 8,142 of them. The super-category is the folder that the species lies in.

    Args:
        root: the data set's folder, or the folder of `Inaturalist`.
        holdout: share of the training species that become the split `val`, to choose by; then `train` has the others,
            and `trainval` all.

    Raises:
        DataError: a list or the file of species is missing, or a line is wrong; names it.
        InputError: the share is not 0 to below 1.
    """

    expected: Mapping[str, int] = EXPECTED

    def __init__(self, root: Path | str | None, *, holdout: float = 0.0) -> None:
        self._reader = INaturalist(root, "inat_base", full=False, holdout=holdout)
        self.splits: Sequence[str] = self._reader.splits
        self.expected = self._reader.published(type(self).expected)

    def split(self, name: str) -> ImageTable:
        """Read one split; ids are `Group/number/picture`.

        Raises:
            DataError: listed pictures are missing.
        """
        return self._reader.split(name)

    @classmethod
    def example(cls, root: Path) -> None:
        """Write a tiny copy of the layout: 4 training and 2 test species in 2 kingdoms, 2 pictures of each."""
        write_example(root)
