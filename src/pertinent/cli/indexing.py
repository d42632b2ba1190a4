"""The command that builds an index, and what its words mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pertinent.errors import ConfigError, InputError, suggest

if TYPE_CHECKING:
    from pertinent.engine.tuning import Measured
    from pertinent.index import Index
    from pertinent.pipeline import Pipeline
    from pertinent.store import EmbeddingStore

Stages = Annotated[
    str | None,
    typer.Option(help="Post-processing, such as 'pca_whiten(dims=512), alpha_qe(k=10)', or an index's folder."),
]
Fit = Annotated[Path | None, typer.Option(help="Store that --stages learn from; default the store itself.")]
AUTO = "auto"
# What an index gives to a kind itself.
GIVEN = ("vectors", "url", "ids", "words", "metadata", "progress")


def index(
    store: Annotated[Path, typer.Argument(help="A store of embeddings; with --compact an index.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the index; default STORE-index.")] = None,
    kind: Annotated[
        str, typer.Option(help="See `pertinent list indexes`; auto chooses by size; a database by its URL.")
    ] = "exact",
    option: Annotated[
        list[str] | None, typer.Option(help="Option of the kind as key=value, such as rerank=100; may be repeated.")
    ] = None,
    stages: Stages = None,
    fit: Fit = None,
    recall: Annotated[
        float | None,
        typer.Option(help="Tune the search until it finds this share of the true 10 nearest, such as .98."),
    ] = None,
    metadata: Annotated[
        Path | None, typer.Option(help="CSV or JSON lines with `id` and what else is known of items.")
    ] = None,
    compact: Annotated[bool, typer.Option(help="Build an index again over what was put and deleted since.")] = False,
) -> None:
    """Build a searchable index over a store of embeddings, with stages of post-processing if you like."""
    from pertinent.engine.metadata import read_metadata
    from pertinent.engine.tuning import tune
    from pertinent.index import Index
    from pertinent.store import EmbeddingStore

    if compact:
        _compact(store, out, kind, option, stages, fit, recall, metadata)
        return
    opened = EmbeddingStore.open(store)
    folder = out or store.with_name(f"{store.name}-index")
    noted = read_metadata(metadata) if metadata else None
    # What cannot be written is better said before the work.
    Index.check_replaced(folder)
    pipeline = pipeline_of(stages, fit, opened)
    chosen = _chosen(opened, pipeline, tuned=recall is not None) if kind == AUTO else kind
    built = _built(opened, chosen, option or (), pipeline, noted, folder)
    measured = None if recall is None else tune(built, recall)
    if measured is not None and kind == AUTO and built.kind != "exact" and not measured.reached:
        _say(f"{built.kind} finds {measured.chosen_by:.4f} at best, less than {recall:g}: taking exact")
        built = _built(opened, "exact", (), pipeline, noted, folder)
        measured = tune(built, measured.wished)
    built.save(folder)
    _say(f"{built.kind} index of {len(built):,} items in {folder}")
    if pipeline is not None:
        _say(f"stages {pipeline.words}")
    if measured is not None:
        _show(measured)


def _chosen(store: EmbeddingStore, pipeline: Pipeline | None, tuned: bool) -> str:
    from pertinent.engine.indexing import choose, dim_of

    choice = choose(len(store) - store.labels.probes, dim_of(store, pipeline), tuned=tuned)
    _say(f"auto takes {choice.kind}: {choice.why}")
    return choice.kind


def _built(
    store: EmbeddingStore,
    kind: str,
    words: Sequence[str],
    pipeline: Pipeline | None,
    metadata: dict[str, Any] | None,
    folder: Path,
) -> Index:
    from pertinent.index import Index

    options = _own(folder, kind) | kind_options(kind, words)
    return Index.build(store, kind, pipeline=pipeline, metadata=metadata, **options)


def _own(folder: Path, kind: str) -> dict[str, Any]:
    """What lets a database replace the index that this folder is about, and no other."""
    from pertinent.index._saved import read_facts

    if "://" not in kind or not (folder / "index.json").is_file():
        return {}
    identity = read_facts(folder)["state"].get("identity")
    return {} if identity is None else {"replace": identity}


def _compact(folder: Path, out: Path | None, kind: str, *others: Any) -> None:
    from pertinent.index import Index

    if out is not None or kind != "exact" or any(value not in (None, []) for value in others):
        raise InputError("--compact builds an index again as it was, in its place; leave all other options out")
    opened = Index.open(folder)
    opened.compact()
    opened.close()
    _say(f"{opened.kind} index of {len(opened):,} items in {folder}")


def pipeline_of(stages: str | None, fit: Path | None, store: EmbeddingStore) -> Pipeline | None:
    """The stages that words name, fitted on `fit` or on the store; None without words."""
    from pertinent.engine.fitting import fitted_pipeline
    from pertinent.store import EmbeddingStore

    if stages is None:
        if fit is not None:
            raise InputError(f"--fit {fit} is what --stages learn from; name the stages, or leave it out")
        return None
    return fitted_pipeline(stages, store, None if fit is None else EmbeddingStore.open(fit))


def kind_options(kind: str, words: Sequence[str]) -> dict[str, Any]:
    """Options of a kind of index from `key=value` words; raises ConfigError for what the kind does not take."""
    from pertinent.config import apply_words, check_value
    from pertinent.index import INDEXES

    kind = kind.partition("://")[0]
    given = apply_words({}, words)
    types = INDEXES.types(kind) if given else {}
    known = [name for name in INDEXES.options(kind) if name not in GIVEN]
    problems = [f"{key}: unknown option{suggest(key, known)}" for key in given if key not in known]
    problems += [
        f"{key}: {wrong}" for key, value in given.items() if key in known and (wrong := check_value(types[key], value))
    ]
    if problems:
        raise ConfigError(problems, source=f"index kind {kind}")
    return given


def _show(measured: Measured) -> None:
    effort = "".join(f" with {option}={value}" for option, value in measured.effort.items())
    chosen = f"; {measured.chosen_by:.4f} of the half that chose this" if effort else ""
    _say(
        f"recall@10 {measured.recall:.4f}{effort}, of {measured.queries:,} held-out {measured.held_out}{chosen}"
        + ("" if measured.reached else f"; {measured.wished:g} was wished and cannot be reached, this is the best")
    )
    _say(f"{measured.ms_a_query:.2f} ms a query on one thread, {measured.cpu_ms_a_query:.2f} ms of CPU")
    _say(
        f"memory {measured.structure_bytes / 1e6:.1f} MB, and {measured.vectors_bytes / 1e6:.1f} MB of vectors that "
        "are read from disk as they are needed"
    )


def _say(line: str) -> None:
    from pertinent.cli import screen

    screen.out.print(line, soft_wrap=True)
