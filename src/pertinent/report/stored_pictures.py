"""Pictures of stored items: from the data set that they were embedded from, or from where the store says they lie."""

from __future__ import annotations

from PIL import Image

from pertinent.data.images import decode
from pertinent.data.places import picture_file
from pertinent.data.table import ImageTable
from pertinent.errors import DataError, StorageError

MOST = 2**28
"""Bytes of the largest file that a page shows; of a larger one too little is read to be a picture."""


class StoredPictures:
    """Reads pictures of stored items for a page.

    Args:
        table: the data set's pictures, read by id; None reads them where they lie.
        name: what to call the data set in errors.
    """

    def __init__(self, table: ImageTable | None = None, name: str = "the source") -> None:
        self.table, self.name = table, name
        self._rows = {} if table is None else {name: row for row, name in enumerate(table.ids)}

    def read(self, item: str, where: str) -> Image.Image | None:
        """The picture of an item by its id and its path; None where nothing can be read at the path.

        Raises:
            StorageError: the data set no longer holds the item.
        """
        if self.table is not None:
            if item not in self._rows:
                raise StorageError(f"{self.name} no longer holds {item!r}; embed and index it again")
            return self.table.read(self._rows[item])
        found = picture_file(where, MOST)
        try:
            return None if found is None else decode(found[0], where)
        except DataError:
            return None
