"""Embedding a table of pictures into a store, in batches, with progress, and resumable."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import torch

from pertinent.data.table import ImageTable
from pertinent.engine.distributed import World
from pertinent.engine.events import Listener, Rate, silent
from pertinent.engine.extract import Extraction
from pertinent.engine.partial import PartialStore
from pertinent.errors import StorageError
from pertinent.models.encoder import Encoder, evaluation_mode
from pertinent.models.views import Views
from pertinent.store import EmbeddingStore


@torch.no_grad()
def embed_table(
    encoder: Encoder,
    table: ImageTable,
    folder: Path | str,
    *,
    batch_size: int = 128,
    skip_damaged: bool = False,
    workers: int = 0,
    precision: torch.dtype = torch.float32,
    listener: Listener = silent,
    extra: dict[str, Any] | None = None,
    world: World | None = None,
) -> EmbeddingStore:
    """Embed every picture of a table and write a store; an interrupted call goes on where it stopped.

    Pictures of one size are embedded together. However often the work is interrupted, and however many processes share
    it (they see the same folder; the first one writes the store), the store is the same to the last byte.

    Args:
        encoder: used in evaluation mode; its mode is left as it was.
        table: N pictures with labels.
        folder: the store. While work goes on, a folder `.NAME.partial` beside it holds what is done.
        batch_size: pictures at once.
        skip_damaged: leave damaged pictures out and list them in the manifest under `damaged`.
        workers: processes that decode.
        precision: of the network; the embeddings are float32.
        listener: hears `embed` events with `done`, `total`, `rate` (pictures/s) and `eta` (s).
        extra: further facts for the manifest.
        world: the processes; None is one alone. Work that was shared out otherwise, among another number of processes
            or in batches of another size, is begun anew.

    Raises:
        ImageError: a damaged picture, unless `skip_damaged`.
        DataError: no picture, or none that can be read.
        StorageError: the folder cannot be written, or holds other files than a store's.
    """
    extraction = Extraction(encoder, batch_size, workers, skip_damaged, precision, hashed=True)
    key = {
        "encoder": encoder.fingerprint(),
        "table": table.fingerprint(),
        "precision": _word(precision),
        "batch_size": batch_size,
    }
    partial = PartialStore(Path(folder), table, world or World(), key, dim=encoder.dim, window=extraction.window)
    partial.open(skip_damaged)
    total = partial.end - partial.start
    rate = Rate(total, partial.count)
    try:
        with evaluation_mode(encoder):
            for window in extraction.windows(table, range(partial.done, partial.end)):
                for rows, vectors in window.embeddings(partial.lacks):
                    partial.add(rows, vectors.numpy(), [window.digests[row] for row in rows])
                    listener({"event": "embed", "done": partial.count, "total": total, **rate.add(len(rows))})
                partial.close(window.damaged)
                if window.damaged:
                    done = {"done": partial.count, "total": total, **rate.add(len(window.damaged))}
                    listener({"event": "embed", **done})
        partial.save()
    except BaseException:
        # Whatever stopped it, what is done is noted, so that the same command goes on from here.
        with contextlib.suppress(StorageError):
            partial.save()
        raise
    return partial.finish(_facts(extraction, table, extra))


def _facts(extraction: Extraction, table: ImageTable, extra: dict[str, Any] | None) -> dict[str, Any]:
    encoder = extraction.encoder
    facts: dict[str, Any] = {"preprocess": encoder.preprocess.fingerprint(), "precision": _word(extraction.precision)}
    if encoder.views != Views():
        facts["views"] = encoder.views.model_dump(mode="json")
    if table.boxes:
        facts["cropped"] = len(table.boxes)
    return {**facts, **(extra or {})}


def _word(precision: torch.dtype) -> str:
    return str(precision).removeprefix("torch.")
