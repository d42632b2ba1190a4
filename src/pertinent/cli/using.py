"""Commands that use embeddings: index, search and report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pertinent.errors import InputError

if TYPE_CHECKING:
    from pertinent.engine.run import Run
    from pertinent.pipeline import Pipeline
    from pertinent.store import EmbeddingStore

Stages = Annotated[
    str | None,
    typer.Option(help="Post-processing, such as 'pca_whiten(dims=512), alpha_qe(k=10)', or an index's folder."),
]
Fit = Annotated[Path | None, typer.Option(help="Store that --stages learn from; default the store itself.")]


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


def pipeline_of(stages: str | None, fit: Path | None, store: EmbeddingStore) -> Pipeline | None:
    """The stages that words name, fitted on `fit` or on the store; None without words."""
    from pertinent.engine.fitting import fitted_pipeline
    from pertinent.store import EmbeddingStore

    if stages is None:
        if fit is not None:
            raise InputError(f"--fit {fit} is what --stages learn from; name the stages, or leave it out")
        return None
    return fitted_pipeline(stages, store, None if fit is None else EmbeddingStore.open(fit))


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
