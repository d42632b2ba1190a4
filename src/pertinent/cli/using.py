"""Commands that use models: embed, index, search and report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pertinent.errors import DataError, InputError, StorageError

if TYPE_CHECKING:
    from pertinent.data.table import ImageTable
    from pertinent.engine.run import Run
    from pertinent.models.encoder import Encoder
    from pertinent.pipeline import Pipeline
    from pertinent.store import EmbeddingStore

Stages = Annotated[
    str | None,
    typer.Option(help="Post-processing, such as 'pca_whiten(dims=512), alpha_qe(k=10)', or an index's folder."),
]
Fit = Annotated[Path | None, typer.Option(help="Store that --stages learn from; default the store itself.")]


def embed(
    model: Annotated[Path, typer.Argument(help="A run folder or an encoder folder such as RUN/best.")],
    source: Annotated[str, typer.Argument(help="A folder of pictures, or DATASET:SPLIT with --root.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the store to write.")],
    root: Annotated[Path | None, typer.Option(help="Folder of the data set.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures at once.")] = 64,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode pictures.")] = 0,
    on_error: Annotated[str, typer.Option(help="raise, or skip damaged pictures and list them.")] = "raise",
) -> None:
    """Embed a folder of pictures, or a split of a data set, into a store; goes on where it was interrupted.

    Several processes share the work under torchrun or accelerate launch.
    """
    from pertinent.cli import screen
    from pertinent.engine.distributed import World
    from pertinent.engine.embed import embed_table
    from pertinent.engine.events import silent

    if on_error not in ("raise", "skip"):
        raise InputError(f"--on-error must be raise or skip, got {on_error!r}")
    world = World.join()
    encoder = _load_encoder(model)
    if world.device is not None:
        encoder = encoder.to(world.device)
    table = _open_source(source, root)
    with screen.Screen() as listener:
        store = embed_table(
            encoder,
            table,
            out,
            batch_size=batch_size,
            workers=workers,
            skip_damaged=on_error == "skip",
            listener=listener if world.leads else silent,
            world=world,
        )
    if not world.leads:
        return
    for text in store.manifest["damaged"]:
        screen.out.print(f"left out: {text}", soft_wrap=True)
    screen.out.print(f"{len(store):,} embeddings of {store.dim} numbers in {out}", soft_wrap=True)


def index(
    store: Annotated[Path, typer.Argument(help="A store of embeddings.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the index; default STORE-index.")] = None,
    kind: Annotated[str, typer.Option(help="See `pertinent list indexes`.")] = "exact",
    stages: Stages = None,
    fit: Fit = None,
) -> None:
    """Build a searchable index over a store of embeddings, with stages of post-processing if you like."""
    from pertinent.cli import screen
    from pertinent.index import Index
    from pertinent.store import EmbeddingStore

    opened = EmbeddingStore.open(store)
    folder = out or store.with_name(f"{store.name}-index")
    pipeline = pipeline_of(stages, fit, opened)
    Index.build(opened, kind, pipeline=pipeline).save(folder)
    screen.out.print(f"{kind} index of {len(opened):,} items in {folder}", soft_wrap=True)
    if pipeline is not None:
        screen.out.print(f"stages {pipeline.words}", soft_wrap=True)


def search(
    target: Annotated[Path, typer.Argument(help="A run folder, or an index folder with --model.")],
    pictures: Annotated[list[Path], typer.Argument(help="One or more pictures to search for.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many results.")] = 10,
    model: Annotated[Path | None, typer.Option(help="Encoder folder, where the target is an index.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines, one a picture.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Also write a page of the results here (one picture, a run).")
    ] = None,
) -> None:
    """Find the pictures most like yours: paths, scores and labels."""
    from pertinent.cli import screen
    from pertinent.engine.run import Run
    from pertinent.engine.search import open_searcher

    if html is not None and len(pictures) > 1:
        raise InputError(f"--html shows one picture, got {len(pictures)}")
    # Whatever the page needs is asked for before the work.
    run = Run.open(target) if html is not None else None
    searcher = open_searcher(target, model)
    results = searcher.search(pictures, k)
    for picture, result in zip(pictures, results, strict=True):
        if as_json:
            screen.out.out(json.dumps({"query": str(picture), "hits": result}, ensure_ascii=False), highlight=False)
        else:
            _show_hits(picture, result)
    if html is not None and run is not None:
        from pertinent.report.search_page import write_search_page

        write_search_page(run, pictures[0], results[0], html)
        screen.out.print(f"page {html}", soft_wrap=True)


def report(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    compare: Annotated[list[Path] | None, typer.Option(help="Another run to show beside it; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="HTML file; default RUN/report.html.")] = None,
) -> None:
    """Write the self-contained HTML report of a run."""
    from pertinent.cli import screen
    from pertinent.engine.run import Run
    from pertinent.report.collect import report_run

    paths = [run, *(compare or [])]
    names = [path.resolve().name for path in paths]
    # Runs of one name in different folders are told apart by their paths.
    names = [name if names.count(name) == 1 else str(path) for name, path in zip(names, paths, strict=True)]
    if len(set(names)) < len(names):
        raise InputError(f"a run is given twice: {', '.join(names)}; compare different runs")
    opened, *others = [Run.open(path) for path in paths]
    path = report_run(opened, dict(zip(names[1:], others, strict=True)), names[0] if others else None, out)
    screen.out.print(f"report {path}", soft_wrap=True)


def show_run(run: Run) -> None:
    """Print a run's metrics before and after training."""
    from pertinent.cli import screen
    from pertinent.engine.measure import load_evaluation

    before, after = (load_evaluation(run.evaluation(name)) for name in ("before", "best"))
    columns = {"before": before["mean"], "after": after["mean"]}
    screen.out.print(screen.metric_table(columns, conventions=after["convention"]))


def _load_encoder(path: Path) -> Encoder:
    from pertinent.models.encoder import Encoder

    return Encoder.load(path / "best" if (path / "recipe.yaml").is_file() else path)


def pipeline_of(stages: str | None, fit: Path | None, store: EmbeddingStore) -> Pipeline | None:
    """The stages that words name, fitted on `fit` or on the store; None without words."""
    from pertinent.engine.fitting import fitted_pipeline
    from pertinent.store import EmbeddingStore

    if stages is None:
        if fit is not None:
            raise InputError(f"--fit {fit} is what --stages learn from; name the stages, or leave it out")
        return None
    return fitted_pipeline(stages, store, None if fit is None else EmbeddingStore.open(fit))


def _open_source(source: str, root: Path | None) -> ImageTable:
    from pertinent.data.datasets import DATASETS

    if Path(source).is_dir():
        if root is not None:
            raise InputError(f"{source} is a folder by itself; leave out --root, or give DATASET:SPLIT with it")
        return _open_folder(Path(source))
    name, colon, split = source.partition(":")
    if not colon:
        raise StorageError(f"{source} is no folder; give a folder of pictures, or DATASET:SPLIT such as grocery:val")
    table: ImageTable = DATASETS.build(name, root=root).split(split)
    return table


def _open_folder(root: Path) -> ImageTable:
    """The pictures under a folder, with labels where its layout gives them."""
    from pertinent.cli import screen
    from pertinent.data.datasets.folder import Folder

    try:
        return Folder(root).split("all")
    except DataError as error:
        table = Folder.unlabelled(root)
        screen.err.print(f"note: embedding without labels, for they are not clear: {error}", soft_wrap=True)
        return table


def _show_hits(picture: Path, hits: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from pertinent.cli import screen

    table = Table(box=None, pad_edge=False, header_style="bold", title=str(picture), title_justify="left")
    table.add_column("score", justify="right")
    table.add_column("label", overflow="fold")
    table.add_column("picture", overflow="fold")
    for hit in hits:
        table.add_row(f"{hit['score']:.4f}", " < ".join(hit["labels"]), hit["path"])
    screen.out.print(table)
