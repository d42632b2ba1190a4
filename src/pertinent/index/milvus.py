"""Search in Milvus, embedded or a cluster: a collection with one entity an item."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from pertinent.errors import InputError
from pertinent.functional.neighbours import blocks
from pertinent.index._live import (
    MARK,
    Found,
    Graph,
    Progress,
    Rows,
    check_mark,
    check_vectors,
    check_where,
    is_replaced,
)
from pertinent.index._milvus import LOAD_SECONDS, Address, Server
from pertinent.index._milvus_search import MOST, SECONDS, Search, batch_size, pair
from pertinent.index._where import Value, Where

__all__ = ["MilvusIndex"]

TEXT_BYTES, WORDS = 65_535, 4096


class MilvusIndex:
    """Items in a collection of Milvus, embedded in this process or a cluster; takes changes and filters.

    An entity is `position` (primary key), `id`, `words`, `metadata`, `pairs` (the metadata as words, which filters look
    at) and `vector`. Scores are dot products. Any number of threads may search and change it. The embedded server is
    for small collections and one process. See `docs/databases.md`.

    Args:
        vectors: `(N, D)` float32.
        url: `milvus:///folder/file.db?collection=x`, or `milvus://host:19530/database?collection=x&secure=true`, whose
            token comes from PERTINENT_MILVUS_TOKEN.
        ids: N unique names.
        words: words of each item's labels.
        metadata: of each item.
        structure: `hnsw`, a graph, approximate; `flat`: every entity is compared, exact.
        links: of a vector in the graph.
        build: candidates that are kept while a vector is linked.
        search: candidates that are kept in a search; at least k are.
        replace: true to replace any index that the collection holds, or the identity of the one to replace. A
            collection that holds anything else is never replaced.
        progress: called with the number of entities that are loaded and N.

    Raises:
        InputError: a wrong URL or option, or a text that Milvus cannot hold.
        StorageError: the server cannot be reached or refuses; a collection of that name is there, not to be replaced.
        MissingDependencyError: the driver is not installed.
    """

    live = True
    needs_items = True

    def __init__(
        self,
        vectors: NDArray[np.float32],
        *,
        url: str,
        ids: Sequence[str],
        words: Sequence[Sequence[str]] | None = None,
        metadata: Sequence[Mapping[str, Value]] | None = None,
        structure: str = "hnsw",
        links: int = 16,
        build: int = 64,
        search: int = 64,
        replace: bool | str = False,
        progress: Progress | None = None,
    ) -> None:
        self._hold(url, Graph(structure, links, build, search), uuid4().hex, vectors.shape[1])
        rows = Rows.of(range(len(vectors)), ids, vectors, words=words, metadata=metadata, dim=self.dim)
        self.server.run("looking for the collection", lambda client: self._check_free(client, replace))
        self.server.run("building the collection", lambda client: self._build(client, rows, replace, progress))

    @classmethod
    def open(
        cls,
        folder: Path,  # noqa: ARG003
        vectors: NDArray[np.float32],
        *,
        url: str,
        identity: str,
        **graph: Any,
    ) -> MilvusIndex:
        """Connect to the collection that was built over these vectors, by what `state` told.

        Raises:
            StorageError: the server cannot be reached, or the collection is missing or holds another index.
        """
        index = cls.__new__(cls)
        index._hold(url, Graph(**graph), identity, vectors.shape[1])
        mark = index.server.run("looking for the collection", index._mark)
        check_mark(mark, identity, index.dim, index.address.shown, "collection")
        index.server.run("loading the collection", lambda client: index.server.load())  # noqa: ARG005
        return index

    def _hold(self, url: str, graph: Graph, identity: str, dim: int) -> None:
        self.address = Address.of(url)
        self.server, self.collection = Server(self.address), self.address.collection
        self.graph, self.identity, self.dim = graph, identity, dim

    def search(self, queries: NDArray[np.float32], k: int, where: Where | None = None) -> Found:
        """The k items of the largest dot product with each query, best first, equal scores by position.

        Args:
            queries: `(Q, D)` float32.
            k: how many; where fewer items are found the row ends with position -1 and score -inf.
            where: only among these. Where few entities fulfil it, it is exact whatever the structure.

        Returns:
            scores and positions, `(Q, k)` each, with no more columns than the longest row has.

        Raises:
            InputError: another D, or a text in the filter that cannot be stored.
            StorageError: the server cannot be reached.
        """
        check_vectors(queries, self.dim)
        check_where(where)
        return self.server.run("searching", lambda client: self._searcher(client)(queries, k, where))

    def put(
        self,
        positions: Sequence[int] | NDArray[np.int64],
        ids: Sequence[str],
        vectors: NDArray[np.float32],
        words: Sequence[Sequence[str]] | None = None,
        metadata: Sequence[Mapping[str, Value]] | None = None,
    ) -> None:
        """Add entities, or replace those at the same positions; found from then on.

        Raises:
            InputError: counts that differ, another D, or a text that Milvus cannot hold.
            StorageError: the server cannot be reached; some of them may be stored.
        """
        rows = Rows.of(positions, ids, vectors, words=words, metadata=metadata, dim=self.dim)
        self.server.run("adding entities", lambda client: self._put(client, self.collection, rows))

    def remove(self, positions: Sequence[int] | NDArray[np.int64]) -> None:
        """Delete the entities at some positions; those that are not there are left out."""
        places = [int(place) for place in positions]

        def delete(client: Any) -> None:
            for rows in blocks(len(places), MOST):
                client.delete(self.collection, ids=places[rows], timeout=SECONDS)

        self.server.run("deleting entities", delete)

    def count(self) -> int:
        """How many entities there are."""
        return self.server.run("counting", lambda client: self._searcher(client).count(""))

    def state(self) -> dict[str, Any]:
        """What `open` needs; no password and no token."""
        return {"url": self.address.shown, "identity": self.identity, **vars(self.graph)}

    def _check_free(self, client: Any, replace: bool | str) -> bool:
        """Whether there is a collection that is to be replaced; raises StorageError for one that is not."""
        return is_replaced(self._mark(client), replace, self.address.shown, "collection")

    def _build(self, client: Any, rows: Rows, replace: bool | str, progress: Progress | None) -> None:
        """Beside an older collection, which others can search until the new one takes its name."""
        name = f"pertinent_{self.identity}"
        try:
            self._create(client, name)
            self._put(client, name, rows, progress)
            client.flush(name, timeout=LOAD_SECONDS)
            self._index(client, name)
            if self._check_free(client, replace):
                client.drop_collection(self.collection, timeout=SECONDS)
            client.rename_collection(name, self.collection, timeout=SECONDS)
        except BaseException:
            if client.has_collection(name):
                client.drop_collection(name)
            raise
        self.server.load()

    def _create(self, client: Any, name: str) -> None:
        kind = self.server.driver.DataType
        mark = json.dumps({MARK: {"identity": self.identity, "dim": self.dim, "structure": self.graph.structure}})
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False, description=mark)
        schema.add_field("position", kind.INT64, is_primary=True)
        schema.add_field("id", kind.VARCHAR, max_length=TEXT_BYTES)
        for field in ("words", "pairs"):
            options = {"element_type": kind.VARCHAR, "max_capacity": WORDS, "max_length": TEXT_BYTES}
            schema.add_field(field, kind.ARRAY, **options)
        schema.add_field("metadata", kind.JSON)
        schema.add_field("vector", kind.FLOAT_VECTOR, dim=self.dim)
        # The embedded server keeps no description.
        client.create_collection(
            name, schema=schema, consistency_level="Strong", properties={MARK: mark}, timeout=SECONDS
        )

    def _index(self, client: Any, name: str) -> None:
        chosen = client.prepare_index_params()
        if self.graph.structure == "flat":
            chosen.add_index("vector", index_type="FLAT", metric_type="IP")
        else:
            numbers = {"M": self.graph.links, "efConstruction": self.graph.build}
            chosen.add_index("vector", index_type="HNSW", metric_type="IP", params=numbers)
        client.create_index(name, chosen, sync=False, timeout=LOAD_SECONDS)
        faster = client.prepare_index_params()
        for field in ("words", "pairs"):
            faster.add_index(field, index_type="INVERTED")
        # Filters need none, and Milvus Lite has none for lists of words.
        with contextlib.suppress(self.server.driver.MilvusException):
            client.create_index(name, faster, sync=False, timeout=LOAD_SECONDS)
        client.load_collection(name, timeout=LOAD_SECONDS)

    def _mark(self, client: Any) -> Any:
        """What the collection says of itself; None where there is none, an empty mark where it says nothing."""
        if not client.has_collection(self.collection, timeout=SECONDS):
            return None
        found = client.describe_collection(self.collection, timeout=SECONDS)
        try:
            return json.loads(found.get("description") or found.get("properties", {}).get(MARK) or "{}")
        except ValueError:
            return {}

    def _searcher(self, client: Any) -> Search:
        return Search(client, self.collection, self.graph, self.dim)

    def _put(self, client: Any, name: str, rows: Rows, progress: Progress | None = None) -> None:
        _check_texts(rows)
        done = 0
        for batch in rows.batches(batch_size(self.dim)):
            client.upsert(name, _entities(batch), timeout=SECONDS)
            done += len(batch)
            if progress is not None:
                progress(done, len(rows))


def _entities(rows: Rows) -> list[dict[str, Any]]:
    return [
        {
            "position": place,
            "id": name,
            "words": list(words),
            "pairs": [pair(key, value) for key, value in metadata.items()],
            "metadata": dict(metadata),
            "vector": vector,
        }
        for place, name, words, metadata, vector in zip(
            rows.positions, rows.ids, rows.words, rows.metadata, np.asarray(rows.vectors), strict=True
        )
    ]


def _check_texts(rows: Rows) -> None:
    for name, words, metadata in zip(rows.ids, rows.words, rows.metadata, strict=True):
        texts = [name, *words, *(pair(key, value) for key, value in metadata.items())]
        if max(len(words), len(metadata)) > WORDS:
            raise InputError(f"{name[:100]!r} has more than {WORDS} words or values, which Milvus cannot hold")
        if any(len(text.encode("utf-8", "replace")) > TEXT_BYTES for text in texts):
            raise InputError(f"{name[:100]!r} has a text of more than {TEXT_BYTES} bytes, which Milvus cannot hold")
