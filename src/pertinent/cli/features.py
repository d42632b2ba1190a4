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
    from pertinent.models.encoder import Encoder
    from pertinent.models.views import Views
    from pertinent.store import EmbeddingStore

STORE = "store"


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
        save: folder that keeps their embeddings as they are before the encoder's whitening.
        load: folder of embeddings kept so before, which are taken instead of embedding.
        views: how pictures are looked at, where not as the encoder says.
        how: further arguments of `embed_source`.
    """
    from pertinent.cli.embedding import embed_source
    from pertinent.engine.export import write_feats
    from pertinent.engine.run import Run
    from pertinent.engine.search import open_encoder
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
    if load is not None and (save is not None or views is not None):
        raise InputError("--load-feats takes embeddings as they are; leave --save-feats and --transform out")
    unused = [f"--{name.replace('_', '-')}" for name, value in how.items() if value is not None]
    if load is not None and unused:
        raise InputError(f"--load-feats embeds nothing; leave {', '.join(unused)} out")
    encoder = open_encoder(target)
    given = {name: value for name, value in how.items() if value is not None}
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder)
        if load is not None:
            yield _taken(encoder, table, load, room)
        elif save is not None:
            with _unwhitened(encoder):
                store = embed_source(encoder, table, save / STORE, views=views, **given)
            if store is not None:
                write_feats(store, save)
            yield None if store is None else _whitened(store, encoder, room)
        else:
            yield embed_source(encoder, table, room / STORE, views=views, **given)


@contextlib.contextmanager
def _unwhitened(encoder: Encoder) -> Iterator[None]:
    """Take the whitening out of an encoder for a while."""
    whitening, encoder.whitening = encoder.whitening, None
    try:
        yield
    finally:
        encoder.whitening = whitening


def _taken(encoder: Encoder, table: ImageTable, folder: Path, room: Path) -> EmbeddingStore:
    """Embeddings of a folder, and the encoder's whitening after them, if it has one."""
    from pertinent.cli import screen

    with _unwhitened(encoder):
        kept = _loaded(encoder, table, folder, room)
    after = "" if encoder.whitening is None else ", and the whitening of the encoder after them"
    screen.out.print(f"embeddings of {folder}{after}", soft_wrap=True)
    return _whitened(kept, encoder, room)


def _loaded(encoder: Encoder, table: ImageTable, folder: Path, room: Path) -> EmbeddingStore:
    """Embeddings before the whitening, that --save-feats kept or dirtorch wrote, of an encoder without it."""
    from pertinent.models.views import Views
    from pertinent.store import EmbeddingStore

    if not (folder / STORE).is_dir():
        return _of_dirtorch(encoder, table, folder, room)
    store = EmbeddingStore.open(folder / STORE)
    if store.manifest.get("table") != table.fingerprint():
        raise DataError(f"{folder} holds embeddings of other pictures than --data names; embed them again")
    encoder.views = Views(**store.manifest.get("views", {}))
    if store.encoder != encoder.fingerprint():
        raise DataError(f"{folder} holds embeddings of another encoder; embed again with this one, and --save-feats")
    return store


def _of_dirtorch(encoder: Encoder, table: ImageTable, folder: Path, room: Path) -> EmbeddingStore:
    import numpy as np

    from pertinent.engine.export import FEATS
    from pertinent.store import EmbeddingStore, StoreLabels

    names = FEATS if table.probes else FEATS[:1]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder} holds no {' and no '.join(missing)}, nor a store; make it with --save-feats")
    parts = [np.load(folder / name, allow_pickle=False) for name in names]
    wanted = [len(table) - table.probes, table.probes]
    for name, part, count in zip(names, parts, wanted, strict=False):
        if part.shape != (count, encoder.dim):
            raise DataError(
                f"{folder / name} is {part.shape}, expected ({count}, {encoder.dim}): one row a picture of --data, as "
                f"the encoder gives it before any whitening"
            )
    # Its authors cut every query to its box.
    cropped = {"cropped": len(table.boxes)} if table.boxes else {}
    rows, labels = np.concatenate(parts), StoreLabels.of(table)
    return EmbeddingStore.write(room / STORE, rows, table.ids, labels=labels, extra=cropped)


def _whitened(store: EmbeddingStore, encoder: Encoder, room: Path) -> EmbeddingStore:
    """A store of the same pictures, after the encoder's whitening; the store itself where it has none."""
    import numpy as np
    import torch

    from pertinent.functional.neighbours import blocks
    from pertinent.pipeline import vector_room
    from pertinent.store import BLOCK, EmbeddingStore

    whitening = encoder.whitening
    if whitening is None:
        return store
    every = vector_room((len(store), whitening.dim))
    with torch.no_grad():
        for rows in blocks(len(store), BLOCK):
            every[rows] = whitening(torch.from_numpy(np.array(store.vectors[rows]))).numpy()
    facts: dict[str, Any] = {
        key: store.manifest[key] for key in ("precision", "views", "cropped") if key in store.manifest
    }
    # Of whose encoder dirtorch's files are, nobody can tell.
    name = None if store.encoder is None else encoder.fingerprint()
    return EmbeddingStore.write(
        room / "whitened", every, store.ids, places=store.places, labels=store.labels, encoder=name, extra=facts
    )
