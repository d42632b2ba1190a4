"""A store of binary codes made from any store without training: the baselines that learned codes must beat.

They are no stages of a `Pipeline`: what leaves a pipeline is real, of length 1 and compared by cosine, while codes are
counted by Hamming distance, in which equal ones tie. A store of codes is measured as the codes of a network are.
"""

from __future__ import annotations

from pathlib import Path

from pertinent.errors import InputError, UnknownNameError
from pertinent.functional.binary_baselines import binary_codes, fit_itq, fit_lsh
from pertinent.pipeline import vector_room
from pertinent.store import EmbeddingStore

BASELINES = ("itq", "lsh")


def write_baseline(
    store: EmbeddingStore,
    folder: Path | str,
    baseline: str,
    bits: int,
    *,
    learn_from: EmbeddingStore | None = None,
    iterations: int = 50,
    seed: int = 0,
) -> EmbeddingStore:
    """Write the codes that a baseline makes of a store's vectors: a store of -1 and 1, with its ids, places and labels.

    Queries that lie in a store of their own get the codes that fit with the same `learn_from`, options and seed.

    Args:
        store: whose vectors.
        folder: where; an older store there is replaced when the new one is complete.
        baseline: `itq` or `lsh`, see `functional.binary_baselines`.
        bits: K.
        learn_from: a store to learn the map from; None learns from the items of `store` itself, not from its queries.
        iterations: of `itq`.
        seed: of the rotation or the hyperplanes.

    Raises:
        UnknownNameError: no such baseline.
        InputError: bits or vectors that it cannot work with, or the folder of `store` or of `learn_from` itself.
        StorageError: the folder cannot be written.
    """
    if baseline not in BASELINES:
        raise UnknownNameError("baseline", baseline, BASELINES)
    learned_store = store if learn_from is None else learn_from
    if Path(folder).resolve() in (store.folder.resolve(), learned_store.folder.resolve()):
        raise InputError(f"{folder} holds the vectors themselves; write the codes into another folder")
    items = learned_store.items
    learned = fit_itq(items, bits, iterations, seed) if baseline == "itq" else fit_lsh(items, bits, seed)
    codes = binary_codes(store.vectors, learned, vector_room((len(store), bits)))
    options = {"iterations": iterations} if baseline == "itq" else {}
    made = {"name": baseline, "bits": bits, "seed": seed, **options, "vectors_of": store.encoder}
    return EmbeddingStore.write(
        folder, codes, store.ids, places=store.places, labels=store.labels, extra={"baseline": made}
    )
