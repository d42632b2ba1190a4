"""`pertinent codes`: pack the signs of a store, make codes without training, and say how good codes are."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pertinent.errors import InputError

if TYPE_CHECKING:
    from pertinent.engine.near_codes import NearItems
    from pertinent.functional.code_statistics import CodeStatistics
    from pertinent.store import EmbeddingStore


def codes(
    store: Annotated[Path, typer.Argument(help="A store of embeddings.")],
    baseline: Annotated[
        str | None, typer.Option(help="itq or lsh: make codes of the vectors without training, into --out.")
    ] = None,
    bits: Annotated[int | None, typer.Option(min=1, help="Length of the baseline's codes.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the store of the baseline's codes.")
    ] = None,
    learn_from: Annotated[
        Path | None, typer.Option(help="Store that the baseline learns from; default the store itself.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the baseline; default 0.")] = None,
    radius: Annotated[
        int | None, typer.Option(min=0, help="Also find all items within so many bits of each query.")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help="Store of the queries of --radius; default the store's own, or its items.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--json", help="Also write the statistics, and what --radius found, here.")
    ] = None,
) -> None:
    """Pack the signs of a store's vectors beside them, one bit a number, and print how well they use their bits.

    With --baseline the codes are those of ITQ or LSH instead, in a store of their own.
    """
    from pertinent.cli import screen
    from pertinent.codes import write_codes
    from pertinent.engine.near_codes import items_within
    from pertinent.files import write_json
    from pertinent.functional.code_statistics import code_statistics, quantisation_error
    from pertinent.store import EmbeddingStore

    if queries is not None and radius is None:
        raise InputError("--queries is about --radius; say within how many bits, or leave it out")
    if queries is not None and baseline is not None:
        raise InputError(
            "--queries need codes of their own, of the same --baseline and --learn-from; make both stores of codes, "
            "then search the one for the other"
        )
    opened = EmbeddingStore.open(store)
    asked = None if queries is None else EmbeddingStore.open(queries)
    coded = _with_codes_of(opened, baseline, bits, out, learn_from, seed)
    near = None if radius is None else items_within(coded, radius, asked)
    write_codes(coded)
    screen.out.print(about_codes(coded), soft_wrap=True)
    statistics, lost = code_statistics(coded.items), quantisation_error(coded.items)
    screen.out.print(_table(statistics, lost))
    said: dict[str, Any] = {**statistics.to_json(), "quantisation_error": lost}
    if near is not None and radius is not None:
        found = _told(near, radius, keep=save is not None)
        said["near"] = {"radius": radius, "queries": found}
    if save is not None:
        write_json(save, said)


def about_codes(store: EmbeddingStore) -> str:
    """One line on the codes of a store."""
    width = store.codes.shape[1]
    return f"{len(store):,} codes of {store.dim} bits, {width} byte{'s'[: width != 1]} each, in {store.folder}"


def _with_codes_of(
    store: EmbeddingStore,
    baseline: str | None,
    bits: int | None,
    out: Path | None,
    learn_from: Path | None,
    seed: int | None,
) -> EmbeddingStore:
    """The store itself, or the one that a baseline makes of it."""
    from pertinent.engine.codes_baseline import write_baseline
    from pertinent.store import EmbeddingStore

    if baseline is None:
        given = {"--bits": bits, "--out": out, "--learn-from": learn_from, "--seed": seed}
        idle = [option for option, value in given.items() if value is not None]
        if idle:
            raise InputError(f"{', '.join(idle)}: of codes made by --baseline itq or lsh; name it, or leave this out")
        return store
    if bits is None or out is None:
        raise InputError("--baseline needs --bits, such as 48, and a folder for the codes, --out")
    learned = None if learn_from is None else EmbeddingStore.open(learn_from)
    return write_baseline(store, out, baseline, bits, learn_from=learned, seed=seed or 0)


def _table(found: CodeStatistics, lost: float) -> Any:
    from rich.table import Table

    most = min(float(found.bits), math.log2(found.count))
    rows = [
        ("share of ones in a bit", f"{found.balance.min():.3f} to {found.balance.max():.3f}", "0.5 tells most"),
        ("entropy of a bit", f"{found.bit_entropy:.3f}", "mean over bits, at most 1"),
        ("entropy of a code", f"{found.entropy:.2f} bits", f"at most {most:.2f}, with {found.count:,} items"),
        ("largest correlation", f"{found.correlation:.3f}", "between two bits, 0 is best"),
        ("different codes", f"{found.distinct:,}", f"of {found.count:,} items"),
        ("items that share a code", f"{found.colliding:,}", f"at most {found.largest:,} the same"),
        ("outputs of exactly 0", f"{found.zeros:.2%}", "packed as bit 0"),
        ("quantisation error", f"{lost:.3f}", "1 less the cosine of an output with its signs"),
    ]
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    for row in rows:
        table.add_row(*row)
    return table


def _told(near: Iterable[NearItems], radius: int, *, keep: bool) -> list[dict[str, Any]]:
    """Say how much lies within the radius; what was found, ready for JSON, where it is to be kept."""
    from pertinent.cli import screen

    asked, items, alone, kept = 0, 0, 0, []
    for one in near:
        asked, items, alone = asked + 1, items + len(one.ids), alone + (not one.ids)
        if keep:
            hits = [{"id": name, "bits": far} for name, far in zip(one.ids, one.distances, strict=True)]
            kept.append({"query": one.query, "hits": hits})
    screen.out.print(
        f"within {radius} bits of a query lie {items / max(asked, 1):.4g} items on average; "
        f"{alone:,} of {asked:,} queries find none",
        soft_wrap=True,
    )
    return kept
