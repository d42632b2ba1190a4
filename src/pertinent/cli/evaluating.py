"""`pertinent evaluate`: measure a run, a store, two stores, a ground truth or another tool's ranking."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pertinent.cli.using import Fit, Stages, pipeline_of
from pertinent.errors import InputError

if TYPE_CHECKING:
    from pertinent.engine.judging import Trial
    from pertinent.engine.report import Report
    from pertinent.store import EmbeddingStore


def evaluate(
    target: Annotated[Path, typer.Argument(help="A run folder or a store of embeddings with labels: the queries.")],
    gallery: Annotated[Path | None, typer.Option(help="Store to search in; default the queries themselves.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Measure as a paper did; see `list protocols`.")] = None,
    metrics: Annotated[str | None, typer.Option(help="Comma-separated names; see `list metrics`.")] = None,
    similarity: Annotated[str | None, typer.Option(help="cosine (default), dot, euclidean or hamming.")] = None,
    ties: Annotated[str | None, typer.Option(help="expected or index; default expected for hamming.")] = None,
    truth: Annotated[Path | None, typer.Option(help="Ground truth of landmarks: gnd_NAME.pkl, or JSON.")] = None,
    ranking: Annotated[Path | None, typer.Option(help="Another tool's ranking: .npz with ids and scores.")] = None,
    stages: Stages = None,
    fit: Fit = None,
    compare: Annotated[Path | None, typer.Option(help="Folder of an earlier --out on the same queries.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for report, table and curves.")] = None,
    save: Annotated[Path | None, typer.Option("--json", help="Also write the report as JSON here.")] = None,
) -> None:
    """Measure a run on its test split, or any store of labelled embeddings, and print each number's convention."""
    from pertinent.cli import screen
    from pertinent.engine.judging import make_trial
    from pertinent.engine.results import write_results
    from pertinent.engine.run import Run
    from pertinent.files import write_json
    from pertinent.store import EmbeddingStore

    is_run = (target / "recipe.yaml").is_file()
    store = EmbeddingStore.open(Run.open(target).store("best") if is_run else target)
    other = EmbeddingStore.open(gallery) if gallery else None
    trial = make_trial(store, other, protocol, truth)
    names = _metrics(metrics, trial, Run.open(target).recipe().evaluate.metrics if is_run else None)
    if ranking is not None:
        for option, value in {"--similarity": similarity, "--ties": ties, "--stages": stages, "--fit": fit}.items():
            if value is not None:
                raise InputError(f"{option} does not fit --ranking, whose order is given; leave it out")
        reports = _of_ranking(ranking, trial, names, other or store)
    else:
        reports = _of_vectors(trial, names, similarity, ties, pipeline_of(stages, fit, store))
    if stages is not None:
        screen.out.print(next(iter(reports.values())).similarity, soft_wrap=True)
    _show(reports)
    if compare is not None:
        _compare(compare, reports)
    facts = {"store": str(target), "gallery": gallery and str(gallery), "protocol": protocol, "stages": stages}
    facts |= {"truth": truth and str(truth), "ranking": ranking and str(ranking), "encoder": store.encoder}
    if out is not None:
        write_results(out, trial, reports, facts)
        screen.out.print(f"\nreport, table and curves are in {out}", soft_wrap=True)
    if save is not None:
        only = reports.get("")
        write_json(save, only.to_json() if only else {name: report.to_json() for name, report in reports.items()})


def _metrics(given: str | None, trial: Trial, of_run: list[str] | None) -> list[str]:
    from pertinent.engine.recipe import EvaluateSettings

    if given is not None:
        names = [name.strip() for name in given.split(",") if name.strip()]
        if not names:
            raise InputError("--metrics names no metric; see `pertinent list metrics`")
        return names
    if trial.protocol is not None and trial.protocol.metrics:
        return list(trial.protocol.metrics)
    return of_run or EvaluateSettings().metrics


def _of_vectors(
    trial: Trial, names: list[str], similarity: str | None, ties: str | None, pipeline: Any
) -> Mapping[str, Report]:
    from pertinent.engine.evaluate import evaluate_all

    wanted = trial.protocol.similarity if trial.protocol is not None else "cosine"
    if similarity is not None and trial.protocol is not None and similarity != wanted:
        raise InputError(f"the protocol ranks by {wanted}; leave --similarity {similarity} out, or the protocol")
    rule = ties if ties is not None else (trial.protocol.ties if trial.protocol is not None else None)
    return evaluate_all(
        trial.queries,
        trial.gallery,
        relevances=trial.relevances,
        metrics=names,
        similarity=similarity or wanted,
        ties=rule,
        pipeline=pipeline,
    )


def _of_ranking(path: Path, trial: Trial, names: list[str], searched: EmbeddingStore) -> Mapping[str, Report]:
    from pertinent.engine.judging import read_ranking
    from pertinent.engine.ranking import Ranking, evaluate_ranking

    ids, scores = read_ranking(path, len(trial.queries))
    held = searched.ids
    if ids.dtype.kind in "iu":
        ranked = Ranking(ids, len(held), scores)
    else:
        ranked = Ranking.of_ids([[name for name in row if name] for row in ids.astype(str).tolist()], held, scores)
    return {
        name: evaluate_ranking(ranked, relevance=relevance, metrics=names)
        for name, relevance in trial.relevances.items()
    }


def _show(reports: Mapping[str, Report]) -> None:
    from pertinent.cli import screen

    first = next(iter(reports.values()))
    columns = {name or "value": report.mean for name, report in reports.items()}
    screen.out.print(screen.metric_table(columns, conventions=first.convention))
    for title, report in reports.items():
        before = f"{title}: " if title else ""
        for name, count in report.skipped.items():
            if count:
                said = f"{name}: {count} of {report.n_queries} queries have no relevant item and are left out"
                screen.out.print(before + said, soft_wrap=True)
        for note in report.notes():
            screen.out.print(before + note, soft_wrap=True)


def _compare(path: Path, reports: Mapping[str, Report]) -> None:
    from rich.table import Table

    from pertinent.cli import screen
    from pertinent.engine.compare import compare
    from pertinent.engine.results import read_results

    earlier = read_results(path)
    if earlier.keys() != reports.keys():
        known, found = (", ".join(name or "one report" for name in one) for one in (earlier, reports))
        raise InputError(f"{path} holds {known}, this measurement {found}; measure both by the same protocol")
    for title, report in reports.items():
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("metric", str(path), "this", "gain", "95% interval", "p", "better", "worse"):
            table.add_column(f"{title} {column}".strip() if column == "metric" else column)
        for row in compare(earlier[title], report):
            between = f"{100 * row.gain.low:+.2f} to {100 * row.gain.high:+.2f}"
            values = (f"{100 * row.first:.2f}", f"{100 * row.second:.2f}", f"{100 * row.gain.mean:+.2f}")
            table.add_row(row.metric, *values, between, f"{row.p:.4f}", str(row.better), str(row.worse))
        screen.out.print(table)
