"""`pertinent evaluate`: measure a run, a store, two stores, a ground truth or another tool's ranking."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pertinent.cli.embedding import BatchSize, Items, Merge, Power, Scales, Transforms, Workers, open_source, views_of
from pertinent.cli.features import measured_store
from pertinent.cli.indexing import Fit, Stages, pipeline_of
from pertinent.errors import InputError

if TYPE_CHECKING:
    from pertinent.engine.judging import Trial
    from pertinent.engine.report import Report
    from pertinent.store import EmbeddingStore


def evaluate(
    target: Annotated[
        Path, typer.Argument(help="A run, or a store of embeddings with labels; with --data a run or an encoder.")
    ],
    gallery: Annotated[Path | None, typer.Option(help="Store to search in; default the queries themselves.")] = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", help="Embed and measure these: DATASET:SPLIT, or a folder.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the data set.")] = None,
    options: Annotated[
        list[str] | None, typer.Option("--option", help="Option of the data set as key=value; may be repeated.")
    ] = None,
    items: Items = None,
    transform: Transforms = None,
    scales: Scales = None,
    merge: Merge = None,
    merge_p: Power = None,
    precision: Annotated[str | None, typer.Option(help="As in `embed`.")] = None,
    device: Annotated[str | None, typer.Option(help="As in `embed`.")] = None,
    batch_size: BatchSize = None,
    workers: Workers = None,
    save_feats: Annotated[Path | None, typer.Option(help="Folder for the embeddings of --data, unwhitened.")] = None,
    load_feats: Annotated[
        Path | None, typer.Option(help="Take them from there, before whitening: of --save-feats, or of dirtorch.")
    ] = None,
    protocol: Annotated[str | None, typer.Option(help="Measure as a paper did; see `list protocols`.")] = None,
    metrics: Annotated[str | None, typer.Option(help="Comma-separated names; see `list metrics`.")] = None,
    similarity: Annotated[str | None, typer.Option(help="cosine (default), dot, euclidean or hamming.")] = None,
    ties: Annotated[str | None, typer.Option(help="expected or index; default expected for hamming.")] = None,
    truth: Annotated[Path | None, typer.Option(help="Ground truth of landmarks: gnd_NAME.pkl, or JSON.")] = None,
    distractors: Annotated[
        Path | None, typer.Option(help="Store of unjudged pictures that join the gallery, such as r1m.")
    ] = None,
    ranking: Annotated[Path | None, typer.Option(help="Another tool's ranking: .npz with ids and scores.")] = None,
    stages: Stages = None,
    fit: Fit = None,
    whiten: Annotated[
        Path | None, typer.Option(help="Learn a PCA whitening from this store; short for a stage.")
    ] = None,
    whitenp: Annotated[float | None, typer.Option(min=0, help="Its power; default 0.25.")] = None,
    whitenv: Annotated[int | None, typer.Option(min=1, help="How many directions it keeps; default all.")] = None,
    aqe: Annotated[
        tuple[int, float] | None, typer.Option(help="K ALPHA of query expansion; short for a stage.")
    ] = None,
    adba: Annotated[
        tuple[int, float] | None, typer.Option(help="K ALPHA of database augmentation; short for a stage.")
    ] = None,
    compare: Annotated[Path | None, typer.Option(help="Folder of an earlier --out on the same queries.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for report, table and curves.")] = None,
    save: Annotated[
        Path | None, typer.Option("--json", "--out-json", help="Also write the report as JSON here.")
    ] = None,
    detailed: Annotated[bool, typer.Option("--detailed", help="With --json: the value of every query too.")] = False,
) -> None:
    """Measure a run on its test split, or any store of labelled embeddings, and print each number's convention.

    With --data an encoder embeds pictures first: any data set, folder or list, not four names only.
    """
    from pertinent.cli import screen
    from pertinent.engine.judging import make_trial
    from pertinent.engine.recipe import EvaluateSettings
    from pertinent.engine.results import write_results
    from pertinent.engine.run import Run
    from pertinent.files import write_json
    from pertinent.store import EmbeddingStore

    if detailed and save is None:
        raise InputError("--detailed is about the file of --json; name one, or leave it out")
    words, fit = stage_words(stages, fit, whiten, whitenp, whitenv, aqe, adba)
    table = None if data is None else open_source(data, root, options or (), items)
    if table is None and (root is not None or options or items):
        raise InputError(
            "--root, --option and --items are about pictures to embed; name them with --data, or leave them out"
        )
    how = {"precision": precision, "device": device, "batch_size": batch_size, "workers": workers}
    views = views_of(transform, scales, merge, merge_p)
    with measured_store(target, table, save_feats, load_feats, views, how) as store:
        if store is None:
            return
        other = EmbeddingStore.open(gallery) if gallery else None
        trial = make_trial(store, other, protocol, truth, EmbeddingStore.open(distractors) if distractors else None)
        is_run = data is None and (target / "recipe.yaml").is_file()
        of_run = Run.open(target).recipe().evaluate if is_run else EvaluateSettings()
        names = _metrics(metrics, trial, of_run.metrics)
        if ranking is not None:
            _refuse({"--similarity": similarity, "--ties": ties, "--stages": words})
            reports = _of_ranking(ranking, trial, names, other or store)
        else:
            reports = _of_vectors(trial, names, similarity, ties, pipeline_of(words, fit, store), of_run.similarity)
        if words is not None:
            screen.out.print(next(iter(reports.values())).similarity, soft_wrap=True)
        if trial.cropped is None:
            screen.out.print("note: nobody knows whether the queries were cut to their boxes", soft_wrap=True)
        elif trial.cropped:
            screen.out.print(f"{trial.cropped:,} pictures were cut to their boxes", soft_wrap=True)
        cropped: dict[str, Any] = {} if trial.cropped == 0 else {"cropped": trial.cropped}
        _show(reports)
        if compare is not None:
            _compare(compare, reports)
        if out is not None:
            paths = {"gallery": gallery, "distractors": distractors, "truth": truth, "ranking": ranking, "fit": fit}
            facts = {name: path and str(path) for name, path in paths.items()} | {"store": str(target), "data": data}
            facts |= {"protocol": protocol, "stages": words, "encoder": store.encoder}
            facts |= {key: store.manifest[key] for key in ("precision", "views") if key in store.manifest}
            facts |= cropped
            write_results(out, trial, reports, facts)
            screen.out.print(f"\nreport, table and curves are in {out}", soft_wrap=True)
        if save is not None:
            written = {name: report.to_json(per_query=detailed) | cropped for name, report in reports.items()}
            write_json(save, written.get("", written))


def stage_words(
    stages: str | None,
    fit: Path | None,
    whiten: Path | None,
    whitenp: float | None,
    whitenv: int | None,
    aqe: tuple[int, float] | None,
    adba: tuple[int, float] | None,
) -> tuple[str | None, Path | None]:
    """Stages in words, and the store that they learn from, of the short options in the order of their authors."""
    short = {"--whiten": whiten, "--whitenp": whitenp, "--whitenv": whitenv, "--aqe": aqe, "--adba": adba}
    given = [option for option, value in short.items() if value is not None]
    if not given:
        return stages, fit
    if stages is not None or fit is not None:
        raise InputError(f"{', '.join(given)} is short for --stages and --fit; write it there, or leave those out")
    if whiten is None and (whitenp is not None or whitenv is not None):
        raise InputError("--whitenp and --whitenv are about --whiten; name the store that it learns from")
    words = []
    if whiten is not None:
        words.append(f"pca_whiten(p={0.25 if whitenp is None else whitenp}, dims={whitenv})")
    for name, pair in {"dba": adba, "alpha_qe": aqe}.items():
        if pair is not None:
            words.append(f"{name}(k={pair[0]}, alpha={pair[1]})")
    return ", ".join(words), whiten


def _refuse(beside_ranking: Mapping[str, str | None]) -> None:
    for option, value in beside_ranking.items():
        if value is not None:
            raise InputError(f"{option} does not fit --ranking, whose order is given; leave it out")


def _metrics(given: str | None, trial: Trial, of_run: list[str]) -> list[str]:
    if given is not None:
        names = [name.strip() for name in given.split(",") if name.strip()]
        if not names:
            raise InputError("--metrics names no metric; see `pertinent list metrics`")
        return names
    if trial.protocol is not None and trial.protocol.metrics:
        return list(trial.protocol.metrics)
    return of_run


def _of_vectors(
    trial: Trial, names: list[str], similarity: str | None, ties: str | None, pipeline: Any, usual: str
) -> Mapping[str, Report]:
    from pertinent.engine.evaluate import evaluate_all

    wanted = trial.protocol.similarity if trial.protocol is not None else usual
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
