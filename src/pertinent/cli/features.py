"""What `pertinent evaluate` measures: a store, a run's store, or pictures that an encoder embeds on the way."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pertinent.errors import DataError, InputError

if TYPE_CHECKING:
    from pertinent.data.table import ImageTable
    from pertinent.models.views import Views
    from pertinent.store import EmbeddingStore


@contextlib.contextmanager
def measured_store(
    target: Path,
    table: ImageTable | None,
    save: Path | None,
    load: Path | None,
    views: Views | None,
    how: dict[str, Any],
) -> Iterator[EmbeddingStore | None]:
    """The store to measure; None in a process that only helps to embed.

    Args:
        target: a store or a run; with a table an encoder or a run, whose best encoder embeds it.
        table: the pictures to embed.
        save: folder that keeps their embeddings.
        load: folder of embeddings kept before, which are taken instead of embedding.
        views: how pictures are looked at, where not as the encoder says.
        how: further arguments of `embed_source`.
    """
    from pertinent.cli.embedding import embed_source
    from pertinent.engine.export import write_npy
    from pertinent.engine.run import Run
    from pertinent.store import EmbeddingStore

    if table is None:
        idle = {"--save-feats": save, "--load-feats": load, "--transform": views}
        idle |= {f"--{name.replace('_', '-')}": value for name, value in how.items()}
        for option, value in idle.items():
            if value is not None:
                raise InputError(f"{option} is about pictures to embed; name them with --data, or leave it out")
        is_run = (target / "recipe.yaml").is_file()
        yield EmbeddingStore.open(Run.open(target).store("best") if is_run else target)
        return
    if load is not None:
        if save is not None or views is not None:
            raise InputError("--load-feats takes embeddings as they are; leave --save-feats and --transform out")
        with tempfile.TemporaryDirectory() as folder:
            yield _loaded(target, table, load, Path(folder))
        return
    with tempfile.TemporaryDirectory() if save is None else contextlib.nullcontext(save) as folder:
        given = {name: value for name, value in how.items() if value is not None}
        store = embed_source(target, table, Path(folder) / "store", views=views, **given)
        if store is not None and save is not None:
            write_npy(store, save / "feats.npy")
        yield store


def _loaded(target: Path, table: ImageTable, folder: Path, room: Path) -> EmbeddingStore:
    """Embeddings that --save-feats kept, or that dirtorch wrote: `feats.bdescs.npy`, and `feats.qdescs.npy`."""
    import numpy as np

    from pertinent.engine.search import open_encoder
    from pertinent.store import EmbeddingStore, StoreLabels

    if (folder / "store").is_dir():
        store = EmbeddingStore.open(folder / "store")
        if store.manifest.get("table") != table.fingerprint():
            raise DataError(f"{folder} holds embeddings of other pictures than --data names; embed them again")
        return store
    names = ["feats.bdescs.npy", *(["feats.qdescs.npy"] if table.probes else [])]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder} holds no {' and no '.join(missing)}, nor a store; make it with --save-feats")
    parts = [np.load(folder / name, allow_pickle=False) for name in names]
    wanted = [len(table) - table.probes, *([table.probes] if table.probes else [])]
    dim = open_encoder(target).dim
    for name, part, count in zip(names, parts, wanted, strict=True):
        if part.shape != (count, dim):
            raise DataError(f"{folder / name} is {part.shape}, expected ({count}, {dim}): one row a picture of --data")
    return EmbeddingStore.write(room / "store", np.concatenate(parts), table.ids, labels=StoreLabels.of(table))
